"""kvnode: a multi-master replicated key-value store with CRDT merge.

The names below are the public API. They are loaded on first use, so that ``import kvnode.core``
costs no gRPC (about 120 ms) and the pure core stays importable without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from kvnode.client.client import Client
    from kvnode.client.operations import Delete, Increment, Operation, Put
    from kvnode.client.values import (
        BatchReceipt,
        ConflictError,
        DataType,
        Dot,
        KeyState,
        OperationReceipt,
        Receipt,
        StoredValue,
        ValueTypeError,
    )
    from kvnode.errors import (
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
    )

__version__: Final = "0.1.0"

_HOMES: Final = {
    "Client": "kvnode.client.client",
    "Delete": "kvnode.client.operations",
    "Increment": "kvnode.client.operations",
    "Operation": "kvnode.client.operations",
    "Put": "kvnode.client.operations",
    "BatchReceipt": "kvnode.client.values",
    "ConflictError": "kvnode.client.values",
    "DataType": "kvnode.client.values",
    "Dot": "kvnode.client.values",
    "KeyState": "kvnode.client.values",
    "OperationReceipt": "kvnode.client.values",
    "Receipt": "kvnode.client.values",
    "StoredValue": "kvnode.client.values",
    "ValueTypeError": "kvnode.client.values",
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
}

__all__ = [
    "BatchReceipt",
    "Client",
    "ConflictError",
    "DataDamaged",
    "DataType",
    "DeadlineExceeded",
    "Delete",
    "Dot",
    "FailedPrecondition",
    "Increment",
    "InvalidArgument",
    "KeyNotFound",
    "KeyState",
    "KvnodeError",
    "NodeFailure",
    "NodeUnavailable",
    "Operation",
    "OperationReceipt",
    "OutcomeUnknown",
    "Put",
    "Receipt",
    "RequestRefused",
    "ResourceExhausted",
    "StoredValue",
    "ValueTypeError",
]


def __getattr__(name: str) -> object:
    """The public name, imported from its home on first use."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'kvnode' has no attribute {name!r}")
    found: object = getattr(import_module(home), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """What completion in a REPL offers: the public names too."""
    return sorted({*globals(), *__all__})
