"""kvnode: a multi-master replicated key-value store with CRDT merge.

The names below are the public API. They are loaded on first use, so that ``import kvnode.core``
costs no gRPC (about 120 ms) and the pure core stays importable without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from kvnode import resolvers
    from kvnode.client.admin import Admin, AsyncAdmin
    from kvnode.client.aio import AsyncClient
    from kvnode.client.aio_bulk import AsyncBulk
    from kvnode.client.aio_handles import AsyncCounter, AsyncRegister, AsyncSiblings
    from kvnode.client.batch import AsyncBatch, Batch
    from kvnode.client.bulk import Bulk
    from kvnode.client.changes import BEGINNING, Change, KeyWrite, Step, WriteKind
    from kvnode.client.client import Client
    from kvnode.client.gathering import BulkError, BulkFailure, BulkLimits, Progress
    from kvnode.client.handles import Counter, Register, Siblings
    from kvnode.client.levels import Consistency, Durability
    from kvnode.client.operations import Delete, Increment, Operation, Put
    from kvnode.client.resolving import Resolver
    from kvnode.client.sessions import Session
    from kvnode.client.values import (
        Absent,
        BatchReceipt,
        Conflict,
        ConflictError,
        DataType,
        Dot,
        Freshness,
        KeyState,
        ManyReceipt,
        NotReplicated,
        OperationReceipt,
        Outcome,
        Receipt,
        StoredValue,
        Value,
        ValueTypeError,
    )
    from kvnode.client.watching import AsyncWatch, Watch
    from kvnode.core.errors import Reason
    from kvnode.errors import (
        Behind,
        DataDamaged,
        DeadlineExceeded,
        FailedPrecondition,
        InvalidArgument,
        KeyNotFound,
        KvnodeError,
        NodeFailure,
        NodeUnavailable,
        OutcomeUnknown,
        RequestRefused,
        ResourceExhausted,
        WatchBehind,
    )

__version__: Final = "0.1.0"

_HOMES: Final = {
    "Admin": "kvnode.client.admin",
    "AsyncAdmin": "kvnode.client.admin",
    "AsyncClient": "kvnode.client.aio",
    "AsyncBulk": "kvnode.client.aio_bulk",
    "AsyncCounter": "kvnode.client.aio_handles",
    "AsyncRegister": "kvnode.client.aio_handles",
    "AsyncSiblings": "kvnode.client.aio_handles",
    "AsyncBatch": "kvnode.client.batch",
    "Batch": "kvnode.client.batch",
    "Bulk": "kvnode.client.bulk",
    "BEGINNING": "kvnode.client.changes",
    "Change": "kvnode.client.changes",
    "KeyWrite": "kvnode.client.changes",
    "Step": "kvnode.client.changes",
    "WriteKind": "kvnode.client.changes",
    "Client": "kvnode.client.client",
    "BulkError": "kvnode.client.gathering",
    "BulkFailure": "kvnode.client.gathering",
    "BulkLimits": "kvnode.client.gathering",
    "Progress": "kvnode.client.gathering",
    "Counter": "kvnode.client.handles",
    "Register": "kvnode.client.handles",
    "Siblings": "kvnode.client.handles",
    "Consistency": "kvnode.client.levels",
    "Durability": "kvnode.client.levels",
    "Delete": "kvnode.client.operations",
    "Increment": "kvnode.client.operations",
    "Operation": "kvnode.client.operations",
    "Put": "kvnode.client.operations",
    "Resolver": "kvnode.client.resolving",
    "Session": "kvnode.client.sessions",
    "Absent": "kvnode.client.values",
    "BatchReceipt": "kvnode.client.values",
    "Conflict": "kvnode.client.values",
    "ConflictError": "kvnode.client.values",
    "DataType": "kvnode.client.values",
    "Dot": "kvnode.client.values",
    "Freshness": "kvnode.client.values",
    "KeyState": "kvnode.client.values",
    "ManyReceipt": "kvnode.client.values",
    "NotReplicated": "kvnode.client.values",
    "OperationReceipt": "kvnode.client.values",
    "Outcome": "kvnode.client.values",
    "Receipt": "kvnode.client.values",
    "StoredValue": "kvnode.client.values",
    "Value": "kvnode.client.values",
    "ValueTypeError": "kvnode.client.values",
    "AsyncWatch": "kvnode.client.watching",
    "Watch": "kvnode.client.watching",
    "Reason": "kvnode.core.errors",
    "Behind": "kvnode.errors",
    "DataDamaged": "kvnode.errors",
    "DeadlineExceeded": "kvnode.errors",
    "FailedPrecondition": "kvnode.errors",
    "InvalidArgument": "kvnode.errors",
    "KeyNotFound": "kvnode.errors",
    "KvnodeError": "kvnode.errors",
    "NodeFailure": "kvnode.errors",
    "NodeUnavailable": "kvnode.errors",
    "OutcomeUnknown": "kvnode.errors",
    "RequestRefused": "kvnode.errors",
    "ResourceExhausted": "kvnode.errors",
    "WatchBehind": "kvnode.errors",
}

__all__ = [
    "BEGINNING",
    "Absent",
    "Admin",
    "AsyncAdmin",
    "AsyncBatch",
    "AsyncBulk",
    "AsyncClient",
    "AsyncCounter",
    "AsyncRegister",
    "AsyncSiblings",
    "AsyncWatch",
    "Batch",
    "BatchReceipt",
    "Behind",
    "Bulk",
    "BulkError",
    "BulkFailure",
    "BulkLimits",
    "Change",
    "Client",
    "Conflict",
    "ConflictError",
    "Consistency",
    "Counter",
    "DataDamaged",
    "DataType",
    "DeadlineExceeded",
    "Delete",
    "Dot",
    "Durability",
    "FailedPrecondition",
    "Freshness",
    "Increment",
    "InvalidArgument",
    "KeyNotFound",
    "KeyState",
    "KeyWrite",
    "KvnodeError",
    "ManyReceipt",
    "NodeFailure",
    "NodeUnavailable",
    "NotReplicated",
    "Operation",
    "OperationReceipt",
    "Outcome",
    "OutcomeUnknown",
    "Progress",
    "Put",
    "Reason",
    "Receipt",
    "Register",
    "RequestRefused",
    "Resolver",
    "ResourceExhausted",
    "Session",
    "Siblings",
    "Step",
    "StoredValue",
    "Value",
    "ValueTypeError",
    "Watch",
    "WatchBehind",
    "WriteKind",
    "resolvers",
]

if not TYPE_CHECKING:  # a type checker that saw it would take any name for one of ours

    def __getattr__(name: str) -> object:
        """The public name, imported from its home on first use."""
        if name == "resolvers":
            return import_module("kvnode.resolvers")
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module 'kvnode' has no attribute {name!r}")
        found: object = getattr(import_module(home), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    """What completion in a REPL offers: the public names too."""
    return sorted({*globals(), *__all__})
