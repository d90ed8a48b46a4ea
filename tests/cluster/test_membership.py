"""Nodes come and go by the command line: join, replace, forget, leave, over real processes."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kvnode import Client
from kvnode.cli.commands import run
from tests.cli.commands import Done

from .convergence import assert_same, wait_for
from .members_rig import Members, exported

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

Ask = Callable[..., Done]


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Members]:
    """Founders a, b and c, and an address for a newcomer d."""
    with Members(tmp_path, "abc", "d") as members:
        members.found()
        yield members


@pytest.fixture
def ask(
    nodes: Members, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Ask:
    """``ask("a", "forget", "c")``: a command, asked of node a, with no terminal."""

    def ask_node(node: str, *arguments: str) -> Done:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
        capsysbinary.readouterr()
        code = run([*arguments, "-e", nodes.addresses[node]])
        out, err = capsysbinary.readouterr()
        return Done(code, out, err.decode())

    return ask_node


class Load:
    """One thread that increments ``count`` at a node until the block ends."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.acknowledged = 0

    def _run(self) -> None:
        while not self._stop.is_set():
            self._client.increment("count", 1)
            self.acknowledged += 1

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def names_of(nodes: Members, node: str) -> list[tuple[str, str]]:
    """Name and place of every identity this node knows."""
    return sorted((row.name, row.place) for row in nodes.members(node).members)


def test_a_node_joins_while_others_write(nodes: Members, ask: Ask) -> None:
    nodes.start_newcomer("d")
    nodes.wait_place("d", "joining")
    assert "kvnode join d=" in nodes.waits("d")
    nodes.assert_takes_no_calls("d", "JOINING")
    where = f"d={nodes.addresses['d']}"
    with Load(nodes.client["a"]) as load:
        preview = ask("b", "join", where, "--preview")
        assert (preview.code, preview.err) == (0, "")
        assert f"node d ({nodes.origin('d')})" in preview.out.decode()
        admitting = preview.out.decode().strip().rpartition(": ")[2]
        assert sorted(admitting.split(", ")) == ["a", "b", "c"]
        assert nodes.row("b", nodes.origin("d")) is None, "a preview changed something"

        unasked = ask("b", "join", where)
        assert unasked.code == 2
        assert "--yes" in unasked.err
        assert "--preview" in unasked.err
        assert nodes.row("b", nodes.origin("d")) is None, "it was done without being confirmed"

        done = ask("b", "join", where, "--yes", "--json")
        assert json.loads(done.out)["done"] is True
        nodes.wait_place("d", "serving")
        seen = load.acknowledged
        wait_for(lambda: load.acknowledged > seen, "a write after the join")
    nodes.wait_same_members("abcd")
    nodes.client["d"].increment("count", 1)
    states = assert_same(nodes.clients("abcd"))
    assert states[b"count"].pn_counter == load.acknowledged + 1


def test_trap_24_a_joining_node_answers_no_read_before_it_has_what_all_had(
    nodes: Members, ask: Ask
) -> None:
    """Trap 24: half of the data looks like other data. While a member that must admit the
    newcomer is away, the newcomer goes on refusing, also after a restart.
    """
    nodes.client["a"].put("k", "v")
    nodes.stop("c")
    nodes.start_newcomer("d")
    nodes.wait_place("d", "joining")
    join = ("join", f"d={nodes.addresses['d']}")
    wait_for(
        lambda: b"c (not reachable now)" in ask("a", *join, "--preview").out,
        "a preview that says who is missing",
    )
    assert ask("a", *join, "--yes").code == 0
    wait_for(lambda: nodes.waits("d") == "has to catch up with c", "only c is missing")
    nodes.assert_takes_no_calls("d", "JOINING")
    nodes.stop("d")
    nodes.start_newcomer("d")
    nodes.wait_place("d", "joining")
    nodes.assert_takes_no_calls("d", "JOINING")
    nodes.start("c")
    nodes.wait_place("d", "serving")
    assert nodes.client["d"].get("k").one().value == b"v"


def test_what_is_no_newcomer_is_not_taken_in(nodes: Members, ask: Ask) -> None:
    before = names_of(nodes, "a")
    nobody = ask("a", "join", f"d={nodes.addresses['d']}", "--yes")
    assert nobody.code == 5
    assert "no node that can be taken in waits at" in nobody.err
    assert (
        "Start it with an empty data directory: kvnode serve --join --cluster default --name d "
        f"--listen {nodes.addresses['d']} --data DIRECTORY\n"
    ) in nobody.err

    member = ask("a", "join", f"b={nodes.addresses['b']}", "--yes")
    assert member.code == 5
    assert "belongs to a cluster already" in member.err

    nodes.start_newcomer("d", called="b")
    nodes.wait_place("d", "joining")
    other = ask("a", "join", f"d={nodes.addresses['d']}", "--yes")
    assert other.code == 5
    assert "is node 'b', not 'd'" in other.err
    taken = ask("a", "join", f"b={nodes.addresses['d']}", "--yes")
    assert taken.code == 5
    assert "there is a member 'b' already" in taken.err
    assert "kvnode replace b" in taken.err

    running = ask("a", "replace", "b", "--address", nodes.addresses["d"], "--yes")
    assert running.code == 5
    assert "is running: stop it first" in running.err
    unknown = ask("a", "replace", "x", "--yes")
    assert "there is no member 'x': there are" in unknown.err
    assert names_of(nodes, "a") == before
    assert nodes.place("b") == "serving"


def test_a_newcomer_of_another_cluster_is_told_how_to_be_started(nodes: Members, ask: Ask) -> None:
    """Not the command that has just failed: the cluster is what was missing in it."""
    where = nodes.addresses["d"]
    nodes.node["d"] = nodes.run(nodes.data("d"), "d", where, "--join", "--cluster", "other")
    nodes.wait_place("d", "joining")
    refused = ask("a", "join", f"d={where}", "--yes")
    assert refused.code == 5
    assert refused.err == (
        f"Error: no node that can be taken in waits at {where}: node 'a' is of cluster 'default',"
        " this one ('d') of 'other'. Start it with an empty data directory: kvnode serve --join"
        f" --cluster default --name d --listen {where} --data DIRECTORY\n"
    )


def test_peers_say_that_another_node_has_a_peer_s_address(nodes: Members, ask: Ask) -> None:
    """What that node would have to be told says nothing about the peer."""
    nodes.stop("c")
    nodes.run(nodes.data("d"), "tokyo", nodes.addresses["c"], "--join")

    def problem() -> str:
        rows = json.loads(ask("a", "peers", "--json").out)
        (found,) = [row["problem"] for row in rows if row["name"] == "c"]
        return str(found)

    wait_for(lambda: problem() == "node 'tokyo' answers there, not 'c'", "a knows who answers", 30)


def test_trap_3_a_wiped_node_is_replaced_and_counts_in_a_slot_of_its_own(
    nodes: Members, ask: Ask
) -> None:
    """Traps 1, 3 and 24: it finds that it is another one, answers nothing until somebody has said
    that it takes the old one's place, and its increments add to what peers hold of the old one.
    """
    nodes.client["c"].increment("count", 5)
    nodes.client["c"].put("text", "from c")
    assert_same(nodes.clients("abc"))
    old = nodes.origin("c")
    nodes.stop("c")
    shutil.rmtree(nodes.data("c"))
    nodes.start("c")
    wait_for(lambda: "kvnode replace c" in nodes.waits("c"), "c knows it is displaced")
    assert nodes.place("c") == "joining"
    nodes.assert_takes_no_calls("c", "JOINING")
    assert nodes.origin("c") != old

    asked = ask("a", "replace", "c", "--preview")
    assert (asked.code, asked.err) == (0, ""), "a node that was just stopped is said to run"
    preview = asked.out.decode()
    assert f"takes the place of {old}" in preview
    assert "those up to 2" in preview
    found = nodes.row("a", old)
    assert found
    assert found.place == "serving", "a preview changed something"
    replaced = ask("a", "replace", "c", "--yes")
    assert (replaced.code, replaced.err) == (0, "")
    nodes.wait_place("c", "serving")
    nodes.wait_same_members("abc")
    found = nodes.row("b", old)
    assert found
    assert (found.place, f"{found.successor:016x}") == ("forgotten", nodes.origin("c"))
    assert nodes.client["c"].increment("count", 1).counter == 6
    states = assert_same(nodes.clients("abc"))
    assert states[b"count"].pn_counter == 6
    assert states[b"text"].one().value == b"from c"


def test_a_forgotten_node_that_returns_is_told_so_and_gives_nothing(
    nodes: Members, ask: Ask
) -> None:
    """What it had told nobody is lost to the cluster and found by ``kvnode export``."""
    nodes.client["c"].put("told", "v")
    assert_same(nodes.clients("abc"))
    nodes.stop("a", "b")
    nodes.client["c"].put("untold", "v")
    nodes.stop("c")
    nodes.start("a", "b")
    nodes.wait_place("a", "serving")
    wait_for(
        lambda: all(
            peer.state == "connected" for peer in nodes.client["a"].admin.status().peers[:1]
        ),
        "a and b are connected",
    )
    before = names_of(nodes, "a")
    preview = ask("a", "forget", "c", "--preview", "--json")
    assert json.loads(preview.out)["done"] is False
    assert "it was heard" not in preview.out.decode(), "c was not heard since the start"
    running = ask("a", "forget", "b", "--preview").out.decode()
    assert re.search(
        r"^it was heard \d+\.\d s ago; if it runs, it stops serving as soon as it hears of it$",
        running,
        re.MULTILINE,
    )
    assert names_of(nodes, "a") == before
    itself = ask("a", "forget", "a", "--yes")
    assert itself.code == 6
    assert "kvnode leave" in itself.err

    assert ask("a", "forget", "c", "--yes").code == 0
    nodes.wait_same_members("ab")
    assert names_of(nodes, "b") == [("a", "serving"), ("b", "serving"), ("c", "forgotten")]
    nodes.start("c")
    nodes.wait_place("c", "forgotten")
    nodes.assert_takes_no_calls("c", "FORGOTTEN")
    assert "kvnode export" in nodes.waits("c")
    nodes.client["b"].put("later", "v")
    states = assert_same(nodes.clients("ab"))
    assert states.keys() == {b"told", b"later"}
    nodes.stop("c", trouble="forgotten")
    assert [line["key"] for line in exported(nodes.data("c"))] == [{"utf8": "untold"}]


def test_a_node_that_leaves_hands_over_what_it_has(nodes: Members, ask: Ask) -> None:
    nodes.client["c"].put("last", "from c")
    nodes.client["c"].increment("count", 3)
    assert ask("c", "leave", "--preview").code == 0
    assert nodes.place("c") == "serving"
    left = ask("c", "leave", "--yes")
    assert (left.code, left.err) == (0, "")
    assert b"all it had is on a, b" in left.out
    nodes.wait_place("c", "forgotten")
    nodes.assert_takes_no_calls("c", "FORGOTTEN")
    assert ask("c", "get", "last").err.startswith(
        "Error: node 'c' has left the cluster: stop it; its data directory can be deleted"
    )
    states = assert_same(nodes.clients("ab"))
    assert states[b"last"].one().value == b"from c"
    assert states[b"count"].pn_counter == 3
    nodes.wait_same_members("ab")
    nodes.stop("c", trouble="forgotten")
    nodes.client["a"].put("later", "v")
    assert b"later" in assert_same(nodes.clients("ab"))


def test_members_as_json_says_who_waits_for_whom(nodes: Members, ask: Ask) -> None:
    found = json.loads(ask("a", "members", "--json").out)
    assert (found["name"], found["place"], found["waits"]) == ("a", "serving", "")
    rows = {row["name"]: row for row in found["members"]}
    assert rows.keys() == {"a", "b", "c"}
    assert rows["b"]["origin"] == nodes.origin("b")
    assert rows["b"]["address"] == nodes.addresses["b"]
    nodes.stop("b", "c")
    assert ask("a", "forget", "c", "--yes").code == 0
    rows = {row["name"]: row for row in json.loads(ask("a", "members", "--json").out)["members"]}
    assert rows["c"]["place"] == "forgotten"
    assert rows["c"]["waits_for"] == ["b"]
    assert not rows["c"]["complete"]
    text = ask("a", "members").out.decode()
    assert "forgotten" in text
