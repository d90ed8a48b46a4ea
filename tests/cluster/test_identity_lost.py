"""A directory that was copied, put back or wiped never harms the others (P8, trap 1).

Every test ends with exact counters on all nodes: nothing lost, nothing counted twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvnode import Client, NodeUnavailable

from .convergence import assert_same, wait_equal, wait_for
from .members_rig import PATIENCE_S, Members, exported

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Members]:
    """Founders a, b and c, and an address for a copy."""
    with Members(tmp_path, "abc", "x") as members:
        members.found()
        yield members


def wait_returned(nodes: Members, name: str, old: str) -> None:
    """It serves under a new identity, and all agree that the old one is gone."""
    wait_for(
        lambda: nodes.origin(name) != old and nodes.place(name) == "serving",
        f"{name} serves under a new identity",
        PATIENCE_S,
    )
    nodes.wait_same_members("abc")
    found = nodes.row("a", old)
    assert found
    assert found.place == "forgotten"


def count(client: Client, key: str = "count") -> int | None:
    """The counter's sum."""
    return client.get(key).pn_counter


def test_trap_1_a_copy_that_was_put_back_returns_as_another_and_fetches_its_own_writes(
    nodes: Members,
) -> None:
    """What it wrote after the copy was made comes back from the others, before any call is taken.

    riak_kv 679 and 1094: a restored node that went on under its actor id lost the new writes.
    """
    nodes.client["c"].increment("count", 5)
    wait_equal(nodes.clients("abc").values())
    nodes.stop("c")
    copy = nodes.copy("c")
    nodes.start("c")
    nodes.wait_place("c", "serving")
    nodes.client["c"].increment("count", 100)
    nodes.client["c"].put("text", "after the copy")
    wait_equal(nodes.clients("abc").values())
    old = nodes.origin("c")
    nodes.stop("c")
    nodes.put_back("c", copy)
    nodes.start("c")
    first = first_answer(nodes, "c")
    assert first == 105, "a call was answered with the state of the copy"
    wait_returned(nodes, "c", old)
    assert nodes.client["c"].increment("count", 1000).counter == 1105
    states = assert_same(nodes.clients("abc"))
    assert states[b"count"].pn_counter == 1105
    assert states[b"text"].one().value == b"after the copy"
    assert not [path for path in nodes.data("c").iterdir() if path.name.startswith("aside")]


def first_answer(nodes: Members, name: str) -> int | None:
    """The first sum of ``count`` that the node shows, asked again and again from its start."""
    answers: list[int | None] = []

    def answered() -> bool:
        client = Client(nodes.addresses[name], timeout_s=0.5)
        with client, contextlib.suppress(NodeUnavailable):
            answers.append(count(client))
        return bool(answers)

    wait_for(answered, f"{name} answers", PATIENCE_S)
    return answers[0]


def test_trap_1_an_old_state_that_lost_only_what_it_had_received_is_found_out(
    nodes: Members,
) -> None:
    """It has all its own writes, and inode and time are the original's. But it told others that it
    had what it lacks now: they may have collected or cut relying on that.
    """
    nodes.client["c"].increment("count", 5)
    wait_equal(nodes.clients("abc").values())
    nodes.stop("c")
    copy = nodes.copy("c")
    nodes.start("c")
    nodes.wait_place("c", "serving")
    nodes.client["a"].increment("count", 100)
    wait_equal(nodes.clients("abc").values())
    wait_for(lambda: told(nodes, "a", "c"), "c has told a that it has it")
    old = nodes.origin("c")
    nodes.stop("c")
    nodes.put_back("c", copy, unnoticed=True)
    nodes.start("c")
    wait_returned(nodes, "c", old)
    assert "tells of more than it has now" in nodes.node["c"].stderr
    assert nodes.client["c"].increment("count", 1000).counter == 1105
    assert assert_same(nodes.clients("abc"))[b"count"].pn_counter == 1105


def test_trap_1_it_is_found_out_too_when_all_were_restarted_meanwhile(nodes: Members) -> None:
    """What a node has told is known to the others for as long as they rely on it."""
    nodes.stop("c")
    copy = nodes.copy("c")
    nodes.start("c")
    nodes.wait_place("c", "serving")
    nodes.client["a"].increment("count", 100)
    wait_equal(nodes.clients("abc").values())
    for name in "ab":
        wait_for(lambda name=name: told(nodes, name, "c"), f"{name} knows")  # type: ignore[misc]
    old = nodes.origin("c")
    nodes.stop("a", "b", "c")
    nodes.put_back("c", copy, unnoticed=True)
    nodes.start("a", "b", "c")
    wait_returned(nodes, "c", old)
    assert assert_same(nodes.clients("abc"))[b"count"].pn_counter == 100


def told(nodes: Members, teller: str, about: str) -> bool:
    """Whether ``teller`` knows that ``about`` has all it has itself."""
    peers = nodes.client[teller].admin.status().peers
    return all(not peer.behind_ops for peer in peers if peer.name == about)


def test_trap_1_a_clone_of_a_running_node_ends_and_is_never_used(nodes: Members) -> None:
    """The original goes on undisturbed."""
    nodes.client["c"].increment("count", 5)
    wait_equal(nodes.clients("abc").values())
    origin = nodes.origin("c")
    copy = nodes.copy("c")
    peers = [f"--peer={name}={nodes.addresses[name]}" for name in "ab"]
    clone = nodes.run(copy, "c", nodes.addresses["x"], *peers)
    written: int | None = 5
    while clone.process.poll() is None:
        written = nodes.client["c"].increment("count", 1).counter
    assert clone.ended() == 1
    assert not clone.output, "the clone said that it served"
    assert "which is running: delete it" in clone.stderr

    assert nodes.origin("c") == origin
    assert assert_same(nodes.clients("abc"))[b"count"].pn_counter == written
    for name in "abc":
        assert [row.place for row in nodes.members(name).members] == ["serving"] * 3
    nodes.stop("a", "b", "c")  # so that nobody could tell any more
    again = nodes.run(copy, "c", nodes.addresses["x"], *peers)
    assert again.ended() == 1
    assert "is a copy of the directory of node 'c'" in again.stderr
    assert "Traceback" not in again.stderr


def test_trap_1_two_histories_are_never_merged_and_no_acknowledged_write_is_lost(
    nodes: Members,
) -> None:
    """An old copy wrote while the others were down, under numbers that were taken."""
    c = nodes.client["c"]
    c.increment("count", 5)
    c.put("s", "one")
    wait_equal(nodes.clients("abc").values())
    nodes.stop("c")
    copy = nodes.copy("c")
    nodes.start("c")
    nodes.wait_place("c", "serving")
    c.increment("count", 100)
    c.put("s", "two")
    wait_equal(nodes.clients("abc").values())
    old = nodes.origin("c")
    innocent = {name: nodes.origin(name) for name in "ab"}
    nodes.stop("a", "b", "c")
    nodes.put_back("c", copy, unnoticed=True)
    nodes.start("c")
    nodes.wait_place("c", "serving")
    c.increment("count", 1000)
    c.put("s", "three")
    c.put("outdone", "by c", lww=True)
    c.put("register", "by c", lww=True)
    c.increment("other", 3)
    assert count(c) == 1005
    nodes.stop("c")
    # "outdone" is written once more, later, by those who know nothing of c's; what a and b write
    # builds on the history that wins, so it does not fit at c, and neither is to blame for that
    nodes.start("a", "b")
    nodes.wait_place("a", "serving")
    nodes.client["a"].put("outdone", "by a", lww=True)
    nodes.wait_place("b", "serving")
    nodes.client["b"].put("innocent", "by b")
    nodes.start("c")
    wait_returned(nodes, "c", old)
    wait_for(lambda: "issued again: 4 operations" in nodes.node["c"].stderr, "it is done")
    states = assert_same(nodes.clients("abc"))
    assert states[b"count"].pn_counter == 1105
    assert states[b"other"].pn_counter == 3
    assert sorted(one.value for one in states[b"s"].siblings) == [b"three", b"two"]
    assert states[b"outdone"].one().value == b"by a"
    assert states[b"register"].one().value == b"by c"
    assert states[b"innocent"].one().value == b"by b"
    assert {name: nodes.origin(name) for name in "ab"} == innocent, "an innocent node was retired"
    assert not [path for name in "ab" for path in nodes.data(name).glob("aside-*")]
    log = nodes.node["c"].stderr
    assert "1 register writes were outdone" in log
    assert f"two histories of this node's origin (block {old}:" in log

    aside = nodes.data("c") / "aside-1"
    assert [line["key"]["utf8"] for line in exported(aside, "--after", "2")] == [
        "count",
        "s",
        "outdone",
        "register",
        "other",
    ]
    nodes.stop("c", trouble="does not fit|two histories")
    assert nodes.identity(nodes.data("c"))["aside"] == []
    nodes.start("c")
    nodes.wait_place("c", "serving")
    assert nodes.client["c"].increment("other", 1).counter == 4
    again = assert_same(nodes.clients("abc"))
    assert again[b"count"] == states[b"count"], "a restart issued it once more"
    assert again[b"s"] == states[b"s"]
