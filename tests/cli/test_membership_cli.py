"""``members``, ``join``, ``replace``, ``forget``, ``leave``: what they ask, what they say."""

from __future__ import annotations

import json

import pytest

from kvnode.cli.commands import run
from kvnode.v1.membership_pb2 import ChangeResponse, MembersResponse, MemberStatus
from tests.cli.commands import Cli
from tests.client.scripted import reply, scripted_node

PLAN = ChangeResponse(lines=["node c is no member any more", "its writes up to 7 are here"])
DONE = ChangeResponse(lines=PLAN.lines, done=True)
CHANGES = (
    ("join", "d=127.0.0.1:7084"),
    ("replace", "c"),
    ("replace", "c", "--address", "127.0.0.1:7083"),
    ("forget", "c"),
    ("leave",),
)
MEMBERS = MembersResponse(
    cluster_id=bytes(16),
    name="a",
    place="joining",
    waits="has to catch up with b",
    unmet=["z"],
    members=[
        MemberStatus(origin=1, name="a", address="h:1", place="joining", waits_for=["b"]),
        MemberStatus(origin=2, name="b", address="h:2", place="serving"),
        MemberStatus(origin=3, name="c", place="forgotten", limit=7, waits_for=["a"]),
        MemberStatus(origin=4, name="d", place="forgotten", limit=9),
        MemberStatus(origin=5, name="e", place="forgotten", limit=2, complete=True),
    ],
)


@pytest.mark.parametrize("change", CHANGES)
def test_a_preview_asks_for_nothing_else(
    change: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    with scripted_node(reply(PLAN)) as node:
        assert run([*change, "--preview", "-e", node.address]) == 0
        assert [request.preview for _, request in node.calls] == [True]
    assert capfd.readouterr().out.splitlines() == list(PLAN.lines)


@pytest.mark.parametrize("change", CHANGES)
def test_without_a_terminal_nothing_is_done_that_was_not_confirmed(
    change: tuple[str, ...], cli: Cli
) -> None:
    with scripted_node(reply(PLAN), reply(DONE)) as node:
        done = cli(*change, "-e", node.address)
        assert [request.preview for _, request in node.calls] == [True]
    assert done.code == 2
    assert "add --yes, or --preview" in done.err
    assert done.out.decode().splitlines() == list(PLAN.lines)


@pytest.mark.parametrize("change", CHANGES)
def test_yes_asks_once_and_says_what_was_done(
    change: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    with scripted_node(reply(DONE)) as node:
        assert run([*change, "--yes", "-e", node.address]) == 0
        assert [request.preview for _, request in node.calls] == [False]
    assert capfd.readouterr().out.splitlines()[:-1] == list(DONE.lines)


def test_json_is_one_object(capfd: pytest.CaptureFixture[str]) -> None:
    with scripted_node(reply(PLAN)) as node:
        assert run(["forget", "c", "--preview", "--json", "-e", node.address]) == 0
    assert json.loads(capfd.readouterr().out) == {"lines": list(PLAN.lines), "done": False}
    with scripted_node(reply(DONE)) as node:
        assert run(["forget", "c", "--yes", "--json", "-e", node.address]) == 0
    assert json.loads(capfd.readouterr().out) == {"lines": list(PLAN.lines), "done": True}


@pytest.mark.parametrize("word", ["d", "=127.0.0.1:1", "d=", "d=host"])
def test_a_new_node_is_a_name_and_an_address(word: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["join", word, "--yes"]) == 2
    assert f"{word!r} is no NAME=HOST:PORT" in capfd.readouterr().err


def test_members_says_who_waits_for_whom(capfd: pytest.CaptureFixture[str]) -> None:
    with scripted_node(reply(MEMBERS)) as node:
        assert run(["members", "-e", node.address]) == 0
    *table, unmet, own = capfd.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split() for line in table}
    assert rows["a"][-2:] == ["joining", "b"]
    assert rows["b"][-1] == "serving"
    assert rows["c"][-2:] == ["forgotten", "a"]
    assert " ".join(rows["d"]).endswith("forgotten its writes up to 9")
    assert rows["e"][-1] == "forgotten"
    assert unmet.startswith("z was never met")
    assert own == "a is joining: has to catch up with b"


def test_members_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    with scripted_node(reply(MEMBERS)) as node:
        assert run(["members", "--json", "-e", node.address]) == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["place"], found["unmet"]) == ("joining", ["z"])
    assert found["members"][2]["origin"] == f"{3:016x}"
    assert found["members"][2]["limit"] == 7
