"""Reads that tell values alone: what is told is what the states show, and no conflict is hidden."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kvnode.client.reads import brief_column
from kvnode.client.states import key_state_of, value_of
from kvnode.client.values import Conflict, Value
from kvnode.core.entry import HEAD_BYTES, Entry, Held, encode_entry
from kvnode.core.errors import Reason
from kvnode.core.limits import INT64_MAX
from kvnode.core.types.slots import NO_DOT
from kvnode.rpc.kv_reading import SEE_STATE, Columns
from kvnode.v1 import kv_pb2 as pb
from kvnode.v1 import types_pb2
from tests.core.test_entry import NOW, WRITTEN, any_entry

from .api import CALL_S, G_COUNTER, LWW_REGISTER, PN_COUNTER, SIBLINGS, Api, refusal
from .impostor import Impostor
from .test_expiry import ORIGINS, Start, write_expired
from .test_states import CODEC, keys

MEBIBYTE = 1 << 20
rows = st.lists(st.tuples(keys, any_entry, st.booleans()), min_size=1, max_size=12)
"""Keys, what is under them, and whether that is held packed."""


def held(entry: Entry, *, packed: bool) -> Held:
    return encode_entry(entry)[HEAD_BYTES:] if packed else entry


def one(amount: int) -> dict[tuple[int, int], tuple[object, ...]]:
    """A counter of one slot."""
    return {(1, 1): (max(amount, 0), max(-amount, 0), 0, 0, 9, NO_DOT, NO_DOT)}


def brief(*found: tuple[bytes, Held], now: int = NOW) -> pb.BatchGetResponse:
    """As it arrives."""
    response = pb.BatchGetResponse()
    columns = Columns(response, CODEC, now, MEBIBYTE * 1_000)
    for key, entry in found:
        assert not columns.add(key, entry)
    columns.fill()
    return pb.BatchGetResponse.FromString(response.SerializeToString())


def shown(key: bytes, entry: Entry, now: int) -> bytes | int | Conflict | None:
    """What a caller sees who asks for the state."""
    state = key_state_of(CODEC.state(key, entry, now))
    if isinstance(state, Conflict):
        return state
    return state.value if isinstance(state, Value) else None


@given(rows, st.sampled_from([NOW, NOW + 1]))
@example([(b"k", WRITTEN[0], True), (b"l", WRITTEN[1], True), (b"m", {}, False)], NOW)
@example([(b"k", {PN_COUNTER: one(INT64_MAX)}, False)], NOW)
@example([(b"k", {PN_COUNTER: one(INT64_MAX + 1), G_COUNTER: one(1)}, True)], NOW)
@example([(b"k", {PN_COUNTER: one(-INT64_MAX - 1)}, False)], NOW)
@example([(b"k", {PN_COUNTER: one(-INT64_MAX - 2)}, False), (b"l", WRITTEN[0], False)], NOW)
def test_what_is_told_briefly_is_what_the_states_show(
    found: list[tuple[bytes, Entry, bool]], now: int
) -> None:
    """Of any entries, held as they may be: the same value, the same conflict, or nothing."""
    reply = brief(*((key, held(entry, packed=packed)) for key, entry, packed in found), now=now)
    told = [value_of(each, ()) for each in brief_column(reply, len(found))]
    states = [shown(key, entry, now) for key, entry, _ in found]
    assert told == states
    assert list(map(type, told)) == list(map(type, states))


@pytest.mark.parametrize(("entry", "kind"), [
    ({}, 0),
    ({LWW_REGISTER: (NOW, 1, 1, None)}, 0),
    ({LWW_REGISTER: (NOW, 1, 1, b"v", NOW)}, 0),
    ({SIBLINGS: ({(1, 1): (NOW, b"v", NOW)}, frozenset())}, 0),
    ({SIBLINGS: ({}, frozenset({(1, 1)}))}, 0),
    ({PN_COUNTER: {(1, 1): (5, 0, 5, 0, 9, (1, 2), NO_DOT)}}, 0),
    ({G_COUNTER: one(5)}, G_COUNTER),
    ({PN_COUNTER: one(-5)}, PN_COUNTER),
    ({PN_COUNTER: {(1, 1): (5, 5, 0, 0, 9, NO_DOT, NO_DOT)}}, PN_COUNTER),
    ({LWW_REGISTER: (NOW, 1, 1, b"")}, LWW_REGISTER),
    ({LWW_REGISTER: (NOW, 1, 1, b"v", NOW + 1)}, LWW_REGISTER),
    ({SIBLINGS: ({(1, 1): (NOW, b"v")}, frozenset())}, SIBLINGS),
    ({SIBLINGS: ({(1, 1): (NOW, b"v"), (2, 1): (NOW, b"w", NOW)}, frozenset())}, SIBLINGS),
    ({SIBLINGS: ({(1, 1): (NOW, b"v"), (2, 1): (NOW, b"v")}, frozenset())}, SEE_STATE),
    ({G_COUNTER: one(5), PN_COUNTER: one(5)}, SEE_STATE),
    ({G_COUNTER: one(5), LWW_REGISTER: (NOW, 1, 1, None)}, G_COUNTER),
    ({LWW_REGISTER: (NOW, 1, 1, b"v"), PN_COUNTER: one(5)}, SEE_STATE),
    ({PN_COUNTER: one(INT64_MAX + 1)}, SEE_STATE),
])  # fmt: skip
@pytest.mark.parametrize("packed", [False, True])
def test_every_kind_has_its_place(entry: Entry, kind: int, *, packed: bool) -> None:
    """A state is made of none but those that are more than one value, or too large a sum."""
    reply = brief((b"k", held(entry, packed=packed)))
    assert list(reply.kinds) == [kind]
    counted, seen = kind in (G_COUNTER, PN_COUNTER), kind == SEE_STATE
    assert (len(reply.sums), len(reply.states)) == (counted, seen)
    assert len(reply.values) == (kind in (LWW_REGISTER, SIBLINGS))
    if seen:
        assert reply.states[0] == CODEC.state(b"k", entry, NOW)


@given(rows, st.integers(0, 2_000))
@example([(b"k", WRITTEN[0], True)] * 9, 50)
@example([(b"k", WRITTEN[1], False)] * 9, 50)
@example([(b"k", {PN_COUNTER: one(INT64_MAX)}, False)] * 9, 50)
@example([(b"k", {}, False)] * 60, 20)
def test_an_answer_is_full_before_it_exceeds_its_bound(
    found: list[tuple[bytes, Entry, bool]], bytes_max: int
) -> None:
    response = pb.BatchGetResponse()
    columns = Columns(response, CODEC, NOW, bytes_max)
    full = [columns.add(key, held(entry, packed=packed)) for key, entry, packed in found]
    columns.fill()
    assert full == sorted(full), "what is full stays full"
    whole_bytes = response.ByteSize()
    heads_bytes = 10
    assert full[-1] or whole_bytes <= bytes_max + heads_bytes
    if not response.states:
        assert not full[-1] or whole_bytes + 12 * len(found) > bytes_max, "full too soon"


# ---- of a node


def ask(api: Api, asked: Sequence[bytes], **fields: object) -> pb.BatchGetResponse:
    request = pb.BatchGetRequest(keys=asked, brief=True, **fields)  # type: ignore[arg-type]
    response: pb.BatchGetResponse = api.kv.BatchGet(request, timeout=CALL_S)
    return response


def test_a_node_tells_values_in_the_order_asked(api: Api, key: bytes) -> None:
    api.put(key + b"1", b"sibling")
    api.put(key + b"2", b"register", type=LWW_REGISTER)
    api.increment(key + b"3", -3)
    api.increment(key + b"4", 4, type=G_COUNTER)
    api.put(key + b"5", b"one")
    api.put(key + b"5", b"two", blind=True)
    api.put(key + b"6", b"gone")
    api.delete(key + b"6")
    write_expired(api, key + b"7")
    api.put(key + b"8", b"later", ttl_ms=3_600_000)
    numbers = b"842516737"
    asked = [key + bytes([number]) for number in numbers]
    reply = ask(api, asked)
    kinds = {
        ord("1"): SIBLINGS, ord("2"): LWW_REGISTER, ord("3"): PN_COUNTER, ord("4"): G_COUNTER,
        ord("5"): SEE_STATE, ord("6"): 0, ord("7"): 0, ord("8"): SIBLINGS,
    }  # fmt: skip
    assert list(reply.kinds) == [kinds[number] for number in numbers]
    assert list(reply.values) == [b"later", b"register", b"sibling"]
    assert list(reply.sums) == [4, -3]
    whole = api.batch_get(*asked)
    assert list(reply.states) == [whole.states[3]]
    assert reply.session == whole.session


def test_it_tells_a_type_conflict_and_a_sum_beyond_64_bits(api: Api, key: bytes) -> None:
    high, two, most = (key + end for end in (b"1", b"2", b"3"))
    for each, amount in ((high, INT64_MAX), (two, 5), (most, INT64_MAX)):
        api.increment(each, amount)
    region = Impostor(next(ORIGINS))
    region.push(api, region.block([2, high, 1, INT64_MAX, 0], [4, two, b"text", []]))
    reply = ask(api, [high, two, most])
    assert list(reply.kinds) == [SEE_STATE, SEE_STATE, PN_COUNTER]
    assert list(reply.sums) == [INT64_MAX]
    assert reply.states[0].pn_counter.exact == str(2 * INT64_MAX)
    assert reply.states[1] == api.get(two)
    assert reply.states[1].siblings.values[0].value == b"text"


def test_values_that_one_answer_cannot_hold_are_refused(api: Api, key: bytes) -> None:
    large = [key + bytes([number]) for number in range(3)]
    for each in large:
        api.put(each, bytes(MEBIBYTE))
    assert len(ask(api, large[:2]).values) == 2
    assert len(ask(api, large[:1]).values) == 1
    refused = refusal(lambda: ask(api, large))
    assert refused.info.reason == Reason.BATCH_TOO_LARGE
    assert refused.info.metadata["limit"] == str(3 * MEBIBYTE)


def test_one_key_is_told_however_large(api: Api, key: bytes) -> None:
    """There would be no other way to get it."""
    for _ in range(3):
        api.put(key, bytes(MEBIBYTE), blind=True)
    (state,) = ask(api, [key]).states
    assert len(state.siblings.values) == 3
    assert list(api.batch_get(key).states) == [state]
    assert refusal(lambda: ask(api, [key, key])).info.reason == Reason.BATCH_TOO_LARGE
    api.delete(key)  # other tests scan this node


def test_values_on_disk_are_told_as_well_and_no_damaged_one(start: Start, tmp_path: Path) -> None:
    asked = [b"absent", b"two", b"sum", b"large", b"register", b"sibling"]
    process, api = start()
    api.put(b"sibling", b"a sibling")
    api.put(b"register", b"a register", type=LWW_REGISTER)
    api.put(b"large", bytes(1_000))
    api.increment(b"sum", 5)
    api.put(b"two", b"one")
    api.put(b"two", b"another", blind=True)
    process.stop()  # writes a checkpoint: then nothing is in memory
    process, api = start()
    reply = ask(api, asked)
    assert list(reply.kinds) == [0, SEE_STATE, PN_COUNTER, SIBLINGS, LWW_REGISTER, SIBLINGS]
    assert list(reply.values) == [bytes(1_000), b"a register", b"a sibling"]
    assert list(reply.sums) == [5]
    assert list(reply.states) == [api.get(b"two")]
    process.stop()
    file = tmp_path / "own" / "v1" / "state" / "data.mdb"
    file.write_bytes(file.read_bytes().replace(b"a register", b"A register"))
    process, api = start()
    refused = refusal(lambda: ask(api, asked))
    assert refused.info.reason == Reason.STATE_DAMAGED
    assert "register" in refused.message
    assert list(ask(api, [b"sum", b"sibling"]).values) == [b"a sibling"]


def test_it_says_how_old_that_is_and_comes_after_what_it_is_asked_to(api: Api, key: bytes) -> None:
    after = api.put(key, b"v").session
    reply = ask(api, [key], options=pb.ReadOptions(after=after, freshness=True))
    assert list(reply.values) == [b"v"]
    assert {each.node for each in reply.freshness} == {"impostor", "shared"}
    never = types_pb2.VersionVector(entries=[types_pb2.Dot(origin=1, seq=9)])
    options = pb.ReadOptions(after=never)
    request = pb.BatchGetRequest(keys=[key], brief=True, options=options)
    refused = refusal(lambda: api.kv.BatchGet(request, timeout=0.5))
    assert refused.info.reason == Reason.BEHIND


def test_a_state_is_told_only_where_it_is_asked_for(api: Api, key: bytes) -> None:
    """Who does not ask for brevity gets what it always got."""
    api.put(key, b"v")
    reply = api.batch_get(key)
    assert {field.name for field, _ in reply.ListFields()} == {"states", "session"}
