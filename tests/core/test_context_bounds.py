"""A context with a time that no node wrote at is its own writer's problem and nobody else's."""

from __future__ import annotations

import msgpack
import pytest

from kvnode.core.accepted import Accepted
from kvnode.core.context import cell_token, decode_token
from kvnode.core.errors import Reason, Refused
from kvnode.core.hlc import AHEAD_MAX, HLC_MAX, LOGICAL_BITS
from kvnode.core.operations import Delete, Increment, Put
from kvnode.core.replica import Request
from kvnode.core.types import LWW_REGISTER
from tests.core.memory_node import SECRET, TOKEN_BYTES_MAX, WALL_MS, MemoryNode

NOW = WALL_MS << LOGICAL_BITS


@pytest.mark.parametrize("hlc", [HLC_MAX, HLC_MAX - 10, NOW + 2 * AHEAD_MAX])
def test_a_stamp_from_nowhere_is_refused_and_others_in_the_round_are_not(hlc: int) -> None:
    node = MemoryNode(1)
    token = cell_token(b"r", LWW_REGISTER, [hlc, 7, 7], SECRET)
    context = decode_token(b"r", token, SECRET, TOKEN_BYTES_MAX)
    poisoned, innocent = node.commit(
        [Request([Delete(b"r", context=context)]), Request([Increment(b"c", 1)])]
    ).outcomes
    assert isinstance(poisoned, Refused)
    assert poisoned.reason is Reason.BAD_CONTEXT
    assert isinstance(innocent, Accepted)
    assert node.replica.durable.hlc < NOW + AHEAD_MAX


def test_a_stamp_of_a_fast_node_is_believed() -> None:
    node = MemoryNode(1)
    hlc = NOW + AHEAD_MAX // 2
    token = cell_token(b"r", LWW_REGISTER, [hlc, 7, 7], SECRET)
    context = decode_token(b"r", token, SECRET, TOKEN_BYTES_MAX)
    node.write(Put(b"r", b"later", LWW_REGISTER, context))
    assert node.entry(b"r")[LWW_REGISTER][0] > hlc


@pytest.mark.parametrize(
    "rows",
    [
        7,
        [[9, [1]]],
        [[3, [1]]],
        [[3, [1, 2, "x"]]],
        [[4, [1]]],
        [[4, [-1, 1]]],
        [[2, [1, 2, 3]]],
        [3],
        [[True, [1]]],
        {"a": 1},
    ],
)
def test_a_well_sealed_context_of_unknown_form_is_refused(rows: object) -> None:
    """Who has the secret can seal anything; it must not be a bug's way out."""
    sealed = cell_token(b"k", 0, [], SECRET)
    assert sealed
    token = seal(b"k", msgpack.packb(rows))
    with pytest.raises(Refused) as refused:
        decode_token(b"k", token, SECRET, TOKEN_BYTES_MAX)
    assert refused.value.reason is Reason.BAD_CONTEXT


def seal(key: bytes, packed: bytes) -> bytes:
    """A token with any payload and the right hash."""
    from kvnode.core.context import VERSION, _mac

    payload = VERSION + packed
    return payload + _mac(key, payload, SECRET)
