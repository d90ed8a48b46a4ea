"""States that are filled in place are those that would be put together from parts."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from kvnode.core.context import entry_token
from kvnode.core.entry import Entry, visible_types
from kvnode.core.hlc import time_ms
from kvnode.core.limits import INT64_MAX, Limits
from kvnode.core.types import G_COUNTER, LWW_REGISTER, PN_COUNTER, SIBLINGS, pncounter, siblings
from kvnode.rpc.kv_codec import KvCodec
from kvnode.rpc.kv_reading import States
from kvnode.v1 import kv_pb2 as pb
from kvnode.v1 import types_pb2
from tests.core.memory_node import SECRET
from tests.core.test_entry import NOW, WRITTEN, any_entry

NODES = {0: "", 1: "ewr", 2**63 + 1: "Zürich", 2**64 - 1: "n" * 64}
CODEC = KvCodec(SECRET, Limits(), lambda origin: NODES.get(origin, ""))
keys = st.binary(min_size=1, max_size=480)


def stored(value: bytes, origin: int, seq: int, hlc: int, deadline: int) -> types_pb2.StoredValue:
    return types_pb2.StoredValue(
        value=value,
        dot=types_pb2.Dot(origin=origin, seq=seq),
        time_ms=time_ms(hlc),
        node=NODES.get(origin, ""),
        expires_ms=deadline,
    )


def counter(value: int) -> types_pb2.CounterValue:
    if abs(value) <= INT64_MAX or value == -INT64_MAX - 1:
        return types_pb2.CounterValue(value=value)
    most = INT64_MAX if value > 0 else -INT64_MAX - 1
    return types_pb2.CounterValue(value=most, exact=str(value))


def put_together(key: bytes, entry: Entry, now: int) -> types_pb2.KeyState:
    shown = visible_types(entry, now)
    state = types_pb2.KeyState(key=key, context=entry_token(key, entry, SECRET, now))
    if G_COUNTER in shown:
        state.g_counter.CopyFrom(counter(pncounter.value(entry[G_COUNTER])))
    if PN_COUNTER in shown:
        state.pn_counter.CopyFrom(counter(pncounter.value(entry[PN_COUNTER])))
    if LWW_REGISTER in shown:
        hlc, origin, seq, value, *deadline = entry[LWW_REGISTER]
        state.lww_register.CopyFrom(stored(value, origin, seq, hlc, *deadline or [0]))
    if SIBLINGS in shown:
        held = siblings.shown(entry[SIBLINGS], now)
        for dot, (hlc, value, *deadline) in sorted(
            held.items(), key=lambda row: (row[1][0], row[0])
        ):
            state.siblings.values.append(stored(value, *dot, hlc, *deadline or [0]))
    return state


@given(keys, any_entry, st.sampled_from([NOW, NOW + 1]))
@example(b"k", WRITTEN[0], NOW)
@example(b"k", WRITTEN[1], NOW)
@example(b"k", {}, NOW)
@example(b"k", {PN_COUNTER: {(1, 1): (0, 0, 5, 0, 9, (1, 2), (0, 0))}}, NOW)
@example(b"k", {G_COUNTER: {(1, 1): (1, 1, 0, 0, 9, (0, 0), (0, 0))}}, NOW)
def test_a_state_filled_in_place_has_the_same_bytes(key: bytes, entry: Entry, now: int) -> None:
    filled = types_pb2.KeyState()
    size = CODEC.fill_state(filled, key, entry, now)
    assert filled.SerializeToString() == put_together(key, entry, now).SerializeToString()
    assert filled.ByteSize() <= size
    assert CODEC.state(key, entry, now) == filled


@given(st.lists(st.tuples(keys, any_entry), max_size=12), st.integers(0, 2_000))
def test_an_answer_is_full_exactly_where_its_states_exceed_their_bound(
    rows: list[tuple[bytes, Entry]], bytes_max: int
) -> None:
    response = pb.BatchGetResponse()
    states = States(response.states, CODEC, NOW, bytes_max)
    size = 0
    for count, (key, entry) in enumerate(rows, 1):
        size += put_together(key, entry, NOW).ByteSize()
        assert states.add(key, entry) == (size > bytes_max)
        assert len(response.states) == count
