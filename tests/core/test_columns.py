"""Operations in columns are the same operations: equal blocks, equal states, equal refusals.

Two nodes get the same requests, one in columns and one operation by operation. The keys are few
and hold all there is: nothing, each type, several at once, deleted, expired, from elsewhere, and
the sums are near their limits, so that what the quick ways leave to the general one comes too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kvnode.core.errors import Refused
from kvnode.core.limits import Limits
from kvnode.core.operations import Delete, Increment, Increments, Operation, Put, Puts
from kvnode.core.replica import Request
from kvnode.core.types import G_COUNTER, LWW_REGISTER, NAMES, PN_COUNTER, SIBLINGS
from kvnode.core.types.slots import INT64_MAX
from tests.core.memory_node import WALL_MS, MemoryNode

KEYS = [b"a", b"b", b"c"]
keys = st.sampled_from(KEYS)
values = st.sampled_from([b"", b"1", b"22"])
counter_types = st.sampled_from([0, G_COUNTER, PN_COUNTER])
put_types = st.sampled_from([SIBLINGS, LWW_REGISTER])
deadlines = st.sampled_from([0, 0, WALL_MS - 1, WALL_MS + 1_000])
amounts = st.sampled_from([1, 2, 5, -1, -3, INT64_MAX, -INT64_MAX, INT64_MAX - 3])
ids = st.sampled_from([b"", b"", b"", b"1" * 16, b"2" * 16])


@st.composite
def puts(draw: st.DrawFn) -> Puts:
    rows = draw(st.lists(st.tuples(keys, values), min_size=1, max_size=6))
    columns = [key for key, _ in rows], [value for _, value in rows]
    return Puts(*columns, draw(put_types), draw(deadlines))


@st.composite
def increments(draw: st.DrawFn) -> Increments:
    rows = draw(st.lists(st.tuples(keys, amounts), min_size=1, max_size=8))
    columns = [key for key, _ in rows], [amount for _, amount in rows]
    return Increments(*columns, draw(counter_types))


nothing = st.none()
singles: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Put, keys, values, put_types, nothing, st.just(False), deadlines, nothing),  # noqa: FBT003
    st.builds(Put, keys, values, st.just(SIBLINGS), nothing, st.just(True), deadlines, nothing),  # noqa: FBT003
    st.builds(Increment, keys, amounts, counter_types),
    st.builds(Delete, keys, st.sampled_from([0, *NAMES]), nothing, nothing),
)
batches: st.SearchStrategy[Sequence[Operation]] = st.one_of(
    puts(), increments(), st.lists(singles, min_size=1, max_size=3)
)
requests = st.tuples(batches, ids)
rounds = st.tuples(
    st.lists(requests, max_size=4),
    st.lists(st.lists(singles, min_size=1, max_size=3), max_size=2),
    st.sampled_from([WALL_MS, WALL_MS + 2_000, WALL_MS - 5_000]),
    st.sampled_from(["", "", "", "the clock is off"]),
    st.booleans(),
)


def told(outcome: Any) -> object:
    """What became of a request, without the sums that columns of puts do not list."""
    if isinstance(outcome, Refused):
        return outcome.reason, outcome.message, outcome.facts, outcome.operation
    counted = [total for total in outcome.counters if total is not None]
    return outcome.origin, outcome.first_seq, outcome.hlc, counted, outcome.repeated


@settings(max_examples=400, deadline=None)
@given(st.lists(rounds, min_size=1, max_size=5), st.booleans())
def test_columns_are_what_their_operations_are(played: list[Any], again: bool) -> None:  # noqa: FBT001
    one, other, peer = MemoryNode(1), MemoryNode(1), MemoryNode(2)
    for asked, elsewhere, wall_ms, lww_refusal, saved in played:
        blocks = []
        for operations in elsewhere:
            try:
                peer.write(*operations)
            except Refused:
                continue
            blocks.append(peer.last_block)
        columns = [Request(batch, id_, again=again) for batch, id_ in asked]
        single = [Request(list(batch), id_, again=again) for batch, id_ in asked]
        a = one.commit(columns, blocks, wall_ms=wall_ms, lww_refusal=lww_refusal)
        b = other.commit(single, blocks, wall_ms=wall_ms, lww_refusal=lww_refusal)
        assert [told(outcome) for outcome in a.outcomes] == [told(out) for out in b.outcomes]
        assert [block.raw for block in a.records] == [block.raw for block in b.records]
        assert a.overlay == b.overlay
        assert a.after.hlc == b.after.hlc
        assert one.encoded() == other.encoded()
        if saved:
            one.checkpoint()
            other.checkpoint()
    one.restart()
    assert one.encoded() == other.encoded(), "the log leads to the same"


@settings(max_examples=500)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 50)), min_size=1, max_size=4),
    st.lists(st.sampled_from([1, 2, INT64_MAX]), min_size=4, max_size=4),
    st.sampled_from([0, 1, 2, 3, 4, 5, 99]),
    st.sampled_from([0, 0, 1, -5, 2**70]),
    st.sampled_from([None, None, (0, 5), (480, 5), (481, 5), (1, 51)]),
    st.sampled_from([None, None, 0, -1, -INT64_MAX, -INT64_MAX - 1, INT64_MAX + 1]),
)
def test_columns_have_the_limits_of_their_operations(
    sizes: list[tuple[int, int]],
    numbers: list[int],
    kind: int,
    deadline: int,
    odd_size: tuple[int, int] | None,
    odd_number: int | None,
) -> None:
    limits = Limits(value_bytes_max=50, batch_bytes_max=600)
    if odd_size is not None:
        sizes[-1] = odd_size
    if odd_number is not None:
        numbers[len(sizes) - 1] = odd_number
    named, stored = [bytes(key) for key, _ in sizes], [bytes(value) for _, value in sizes]
    for columns in (
        Puts(named, stored, kind, deadline),
        Increments(named, numbers[: len(named)], kind),
    ):
        assert checked(limits, columns) == checked(limits, list(columns))


def checked(limits: Limits, operations: Sequence[Operation]) -> object:
    try:
        return limits.check(operations, b"")
    except Refused as refusal:
        return refusal.reason, refusal.message, refusal.facts
