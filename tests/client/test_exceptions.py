"""Exceptions cross processes: a pool sends them home by pickling."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import kvnode
from kvnode import (
    Behind,
    BulkError,
    BulkFailure,
    Conflict,
    ConflictError,
    Dot,
    InvalidArgument,
    KvnodeError,
    NotReplicated,
    OutcomeUnknown,
    Progress,
    Put,
    Receipt,
    RequestRefused,
    StoredValue,
)

STORED = StoredValue(b"tea", Dot(1, 2), 1000, "EWR", 2000)
UNKNOWN = OutcomeUnknown("no reply", request_id=bytes(16), endpoint="e:1", write="put of key 'k'")
REFUSED = InvalidArgument("an empty key", reason="BAD_KEY", facts={"a": "b"}, retry_after_s=1.5)
FAILURES = (BulkFailure(3, Put("k", "v"), UNKNOWN), BulkFailure(4, Put("", "v"), REFUSED))


def not_replicated() -> NotReplicated:
    """With the receipt that a client gives it."""
    error = NotReplicated("only here", {"wanted": "2"})
    error.receipt = Receipt(Dot(1, 2), b"ctx", None, {1: 2}, repeated=False, endpoint="e:1")
    return error


MADE: dict[type[KvnodeError], KvnodeError] = {
    Behind: Behind("not yet", {"missing": "1:2"}),
    BulkError: BulkError(FAILURES, Progress(5, 3, 2)),
    ConflictError: ConflictError(Conflict(b"k", b"ctx", siblings=(STORED, STORED)), written=True),
    NotReplicated: not_replicated(),
    OutcomeUnknown: UNKNOWN,
}
"""Those that are not made as the others are."""

PUBLIC = [
    each
    for name in kvnode.__all__
    if isinstance(each := getattr(kvnode, name), type) and issubclass(each, BaseException)
]
COPIES: list[Callable[[Any], Any]] = [
    copy.copy,
    copy.deepcopy,
    *(
        lambda error, protocol=protocol: pickle.loads(pickle.dumps(error, protocol))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    ),
]


def made(kind: type[KvnodeError]) -> KvnodeError:
    """One of the kind, with something in every attribute."""
    if kind in MADE:
        return MADE[kind]
    if issubclass(kind, RequestRefused):
        return kind("no", reason="BAD_KEY", facts={"a": "b"}, retry_after_s=1.5)
    return kind("no")


def told(found: Any) -> Any:
    """All that it tells; exceptions are equal only to themselves."""
    if isinstance(found, BaseException):
        return type(found), str(found), found.args, told(vars(found))
    if isinstance(found, BulkFailure):
        return found.number, found.operation, told(found.error)
    if isinstance(found, dict):
        return {name: told(each) for name, each in found.items()}
    return [told(each) for each in found] if type(found) is tuple else found


@pytest.mark.parametrize("kind", PUBLIC)
def test_a_copy_tells_all_that_the_exception_told(kind: type[KvnodeError]) -> None:
    error = made(kind)
    for again in COPIES:
        found = again(error)
        assert found is not error
        assert told(found) == told(error)
