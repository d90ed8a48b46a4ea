"""Conflicts: several siblings, several types, and what regions together do to a counter.

What another region wrote comes from an impostor, as a block like any node's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from kvnode.core.context import entry_token
from kvnode.core.errors import Reason
from tests.node.process import NodeProcess

from .api import G_COUNTER, LWW_REGISTER, PN_COUNTER, SIBLINGS, Api, increment, put, refusal
from .conftest import CLUSTER, PEERS
from .impostor import Impostor

Start = Callable[..., tuple[NodeProcess, Api]]
INT64_MAX = 2**63 - 1
ORIGINS = itertools.count(1000)


@pytest.fixture(scope="module")
def region_s_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A node that hears from another region. It logs no error and stops well."""
    process = NodeProcess(tmp_path_factory.mktemp("region") / "data", "--cluster", CLUSTER, *PEERS)
    try:
        api = Api(process.ready().address)
        yield api
        api.close()
        process.stop()
    finally:
        process.kill()


@pytest.fixture
def other(region_s_node: Api) -> Iterator[tuple[Api, Impostor]]:
    """The node, without keys, and an impostor it has not met."""
    yield region_s_node, Impostor(next(ORIGINS))
    for state in region_s_node.scan():
        for kind in (G_COUNTER, PN_COUNTER, LWW_REGISTER, SIBLINGS):
            region_s_node.delete(state.key, type=kind)
    assert region_s_node.names() == []


def test_conflicts_are_listed_in_key_order_in_pages(api: Api, key: bytes) -> None:
    names = [key + b"/%02d" % number for number in range(9)]
    for name in names:
        api.put(name, b"1", blind=True)
    for name in names[::2]:
        api.put(name, b"2", blind=True)
    for limit in (1, 2, 0):
        found = api.conflicts(prefix=key + b"/", limit=limit)
        assert [state.key for state in found] == names[::2]
        assert all(len(state.siblings.values) == 2 for state in found)
    assert api.conflicts(prefix=key + b"/08")[0] == api.get(names[8])


def test_a_resolved_conflict_is_no_longer_listed(api: Api, key: bytes) -> None:
    for value in (b"1", b"2"):
        api.put(key, value, blind=True)
    (state,) = api.conflicts(prefix=key)
    api.put(key, b"both", context=state.context)
    assert api.conflicts(prefix=key) == []
    assert api.values(key) == [b"both"]


def test_conflicts_on_disk_are_listed_and_resolved(start: Start) -> None:
    process, api = start()
    for name in (b"a", b"b", b"c"):
        api.write(put(name, b"1", blind=True), put(name, b"2", blind=True))
    process.stop()
    _, api = start()
    assert [state.key for state in api.conflicts()] == [b"a", b"b", b"c"]
    api.put(b"b", b"resolved")
    api.write(put(b"bb", b"1", blind=True), put(b"bb", b"2", blind=True))
    for limit in (1, 0):
        assert [state.key for state in api.conflicts(limit=limit)] == [b"a", b"bb", b"c"]
    assert [state.key for state in api.conflicts(prefix=b"b")] == [b"bb"]


def test_one_key_under_two_types_shows_both(other: tuple[Api, Impostor]) -> None:
    api, region = other
    api.increment(b"k", 5)
    region.push(api, region.block([4, b"k", b"text", []]))
    state = api.get(b"k")
    assert state.pn_counter.value == 5
    assert state.siblings.values[0].value == b"text"
    assert state.siblings.values[0].node == "impostor"
    assert [found.key for found in api.conflicts()] == [b"k"]
    cells = [cell.type for cell in api.inspect(b"k").cells if cell.visible]
    assert cells == [PN_COUNTER, SIBLINGS]


def test_a_type_conflict_is_deleted_type_by_type(other: tuple[Api, Impostor]) -> None:
    api, region = other
    api.increment(b"k", 5)
    region.push(api, region.block([4, b"k", b"text", []], [3, b"k", b"register"]))
    both = api.get(b"k").context
    for fields in ({}, {"context": both}):
        found = refusal(lambda fields=fields: api.delete(b"k", **fields))  # type: ignore[misc]
        assert found.info.reason == Reason.TYPE_CONFLICT
        assert found.info.metadata["types"] == "PN_COUNTER,LWW_REGISTER,SIBLINGS"
    assert refusal(lambda: api.increment(b"k", type=G_COUNTER)).info.reason == Reason.TYPE_CONFLICT
    assert api.increment(b"k", 1).result.counter.value == 6
    api.delete(b"k", type=PN_COUNTER, context=both)
    assert api.get(b"k").pn_counter.value == 1
    api.delete(b"k", type=PN_COUNTER)
    api.delete(b"k", type=SIBLINGS, context=both)
    state = api.get(b"k")
    assert not state.HasField("pn_counter")
    assert not state.HasField("siblings")
    api.delete(b"k", context=state.context)
    assert api.names() == []


def test_both_counters_under_one_key_need_a_type(other: tuple[Api, Impostor]) -> None:
    api, region = other
    api.increment(b"k", 5)
    region.push(api, region.block([1, b"k", 1, 7, 0]))
    assert refusal(lambda: api.increment(b"k")).info.reason == Reason.TYPE_CONFLICT
    assert api.increment(b"k", type=G_COUNTER).result.counter.value == 8
    assert api.increment(b"k", type=PN_COUNTER).result.counter.value == 6


def test_sums_that_regions_take_beyond_64_bits_are_exact(other: tuple[Api, Impostor]) -> None:
    api, region = other
    api.increment(b"k", INT64_MAX)
    api.increment(b"low", -INT64_MAX)
    region.push(api, region.block([2, b"k", 1, INT64_MAX, 0], [2, b"low", 2, 0, INT64_MAX]))
    high, low = (state.pn_counter for state in api.batch_get(b"k", b"low").states)
    assert (high.value, high.exact) == (INT64_MAX, str(2 * INT64_MAX))
    assert (low.value, low.exact) == (-(2**63), str(-2 * INT64_MAX))
    assert refusal(lambda: api.increment(b"k")).info.reason == Reason.COUNTER_OVERFLOW
    api.delete(b"k")
    assert api.increment(b"k").result.counter.value == 1


def test_a_context_may_name_what_has_not_arrived(other: tuple[Api, Impostor]) -> None:
    """Read at one node, written at another that lacks what was read: it goes when it comes."""
    api, region = other
    read_there = entry_token(
        b"k", {4: ({(region.origin, 1): (1, b"old")}, ())}, CLUSTER.encode(), 0
    )
    api.put(b"k", b"new", context=read_there)
    (cell,) = (cell for cell in api.inspect(b"k").cells if cell.type == SIBLINGS)
    assert [(dot.origin, dot.seq) for dot in cell.awaited] == [(region.origin, 1)]
    region.push(api, region.block([4, b"k", b"old", []]))
    assert api.values(b"k") == [b"new"]
    assert not any(cell.awaited for cell in api.inspect(b"k").cells)


def test_a_local_write_beats_the_register_it_has_seen(other: tuple[Api, Impostor]) -> None:
    """However far ahead the other region's clock is."""
    api, region = other
    far = (4_000_000_000_000 << 16) + 5
    region.push(api, region.block([3, b"k", b"future"], hlc=far))
    assert api.get(b"k").lww_register.time_ms == far >> 16
    api.put(b"k", b"mine", type=LWW_REGISTER)
    assert api.get(b"k").lww_register.value == b"mine"


def test_more_siblings_than_the_limit_come_in_and_can_be_resolved(
    other: tuple[Api, Impostor],
) -> None:
    """Replication never refuses; only adding one more does."""
    api, region = other
    region.push(api, region.block(*([4, b"k", b"%d" % number, []] for number in range(150))))
    assert len(api.values(b"k")) == 150
    found = refusal(lambda: api.put(b"k", b"more", blind=True))
    assert found.info.reason == Reason.TOO_MANY_SIBLINGS
    api.put(b"k", b"one", context=api.get(b"k").context)
    assert api.values(b"k") == [b"one"]


def test_a_counter_of_thousands_of_slots_is_deletable_by_context(
    other: tuple[Api, Impostor],
) -> None:
    """What deleting and counting anew leaves behind over the years; collected only later."""
    api, region = other
    spent = [number for birth in range(1, 4001) for number in (2**60, birth << 40, 0, 0)]
    region.push(api, region.block([2, b"k", spent]))
    api.increment(b"k", 5)
    api.delete(b"k", context=api.get(b"k").context)
    assert api.names() == []


def test_a_batch_over_both_kinds_of_conflict_is_whole_or_not(other: tuple[Api, Impostor]) -> None:
    api, region = other
    api.increment(b"k", 5)
    region.push(api, region.block([4, b"k", b"text", []]))
    before = api.everything()
    found = refusal(
        lambda: api.write(put(b"new", b"v"), increment(b"k"), put(b"k", b"v", type=LWW_REGISTER))
    )
    assert found.info.reason == Reason.TYPE_CONFLICT
    assert api.everything() == before
