"""Members that took different histories of one cloned directory come together again.

Every test ends with exact counters on all nodes: nothing lost, nothing counted twice.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvnode.client.operator import Operator

from .convergence import assert_same, wait_equal, wait_for
from .members_rig import PATIENCE_S, Members

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(240)]

BOTH = 5
FIRST, SECOND = 100, 1_000
"""What the two copies counted, and their keys below."""


def clone(nodes: Members, first: str, second: str) -> tuple[Path, Path]:
    """Two copies of c write while only some of the others are up; all are stopped then.

    Returns the directories of the copies.
    """
    nodes.client["c"].increment("count", BOTH)
    wait_equal(nodes.clients(nodes.founders).values())
    nodes.stop(*nodes.founders)
    copy = nodes.copy("c")
    write(nodes, first, FIRST)
    kept = nodes.folder / "first copy"
    nodes.data("c").rename(kept)
    copy.rename(nodes.data("c"))
    unnoticed(nodes)
    write(nodes, second, SECOND)
    return kept, nodes.data("c")


def unnoticed(nodes: Members) -> None:
    """The copy in c's place looks as if it were the original."""
    nodes.put_back("c", nodes.copy("c", "moved"), unnoticed=True)


def write(nodes: Members, names: str, amount: int) -> None:
    """c counts so much, also in a register and as a sibling, and each of the others by one."""
    nodes.start("c", *names)
    for name in "c" + names:
        nodes.wait_place(name, "serving")
    c = nodes.client["c"]
    c.increment("count", amount)
    c.put("both", f"{amount}")
    c.increment("deleted", amount)
    wait_equal(nodes.clients("c" + names).values())
    for name in names:
        nodes.client[name].increment("count", 1)
        nodes.client[name].put(f"of {name}", "v")
        nodes.client[name].put("both", f"{amount} and {name}")
    nodes.client[names[0]].delete("deleted")
    wait_equal(nodes.clients("c" + names).values())
    nodes.stop("c", *names)


def wait_together(nodes: Members, names: str) -> None:
    """One settled roster, all serve, all are equal."""
    for name in names:
        nodes.wait_place(name, "serving")
    nodes.wait_same_members(names)


def changed(nodes: Members, names: str, before: dict[str, str]) -> str:
    """Who has another identity than before."""
    return "".join(name for name in names if nodes.origin(name) != before[name])


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Members]:
    """Founders a, b and c."""
    with Members(tmp_path, "abc") as members:
        members.found()
        yield members


def test_the_losing_member_makes_its_own_writes_and_those_of_the_lost_clone_again(
    nodes: Members,
) -> None:
    """Both copies are gone; a has the one history, b the other."""
    for directory in clone(nodes, "a", "b"):
        shutil.rmtree(directory)
    before = {name: nodes.origin(name) for name in "ab"}
    nodes.start("a", "b")
    nodes.wait_place("a", "serving")
    nodes.wait_place("b", "serving")
    wait_for(
        lambda: bool(nodes.client["a"].admin.status().forks), "they do not understand each other"
    )
    forget(nodes, "c")
    wait_for(lambda: bool(changed(nodes, "ab", before)), "one of them gives in", PATIENCE_S)
    wait_together(nodes, "ab")
    loser = changed(nodes, "ab", before)
    assert loser in ("a", "b"), "both gave in"
    wait_for(lambda: "issued again:" in nodes.node[loser].stderr, "it is done", PATIENCE_S)
    states = assert_same(nodes.clients("ab"))
    assert states[b"count"].pn_counter == BOTH + FIRST + SECOND + 2
    assert states[b"of a"].one().value == states[b"of b"].one().value == b"v"
    assert sorted(one.value for one in states[b"both"].siblings) == [b"100 and a", b"1000 and b"]
    assert not (states.get(b"deleted") and states[b"deleted"].pn_counter)
    nodes.stop(*"ab", trouble="does not fit|two histories|other history")
    nodes.start("a", "b")
    wait_together(nodes, "ab")
    assert assert_same(nodes.clients("ab")) == states, "a restart issued it once more"


def forget(nodes: Members, name: str) -> None:
    """As ``kvnode forget NAME --yes`` at a."""
    with Operator(nodes.addresses["a"], timeout_s=30.0) as operator:
        assert operator.forget(name, preview=False).done


def test_a_clone_that_comes_back_itself_makes_its_history_again_and_nobody_else_does(
    tmp_path: Path,
) -> None:
    """a and b have the one history, d the other, and the copy that wrote that one is there."""
    with Members(tmp_path, "abcd") as nodes:
        nodes.found()
        clone(nodes, "ab", "d")
        before = {name: nodes.origin(name) for name in "abcd"}
        nodes.start("a", "b", "c", "d")
        wait_for(lambda: changed(nodes, "abcd", before) == "cd", "both have gone", PATIENCE_S)
        wait_together(nodes, "abcd")
        for name in "cd":
            node = nodes.node[name]
            wait_for(lambda node=node: "issued again:" in node.stderr, "it is done", PATIENCE_S)  # type: ignore[misc]
        states = assert_same(nodes.clients("abcd"))
        assert states[b"count"].pn_counter == BOTH + FIRST + SECOND + 3
        for name in "abd":
            assert states[f"of {name}".encode()].one().value == b"v"
        assert b"1000 and d" in {one.value for one in states[b"both"].siblings}
