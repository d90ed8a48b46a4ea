"""``import kvnode``: the names are API, and importing is cheap."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import kvnode

ROOT = Path(kvnode.__file__).parents[1]


def test_the_public_names_are_these() -> None:
    """A name that goes or comes is a decision, not an accident."""
    assert sorted(kvnode.__all__) == [
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
        "BEGINNING",
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


@pytest.mark.parametrize("name", kvnode.__all__)
def test_every_public_name_can_be_loaded_and_is_listed(name: str) -> None:
    assert getattr(kvnode, name) is not None
    assert name in dir(kvnode)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'kvnode' has no attribute 'Cleint'"):
        importlib.import_module("kvnode").Cleint  # noqa: B018 - it is looked for


def test_the_resolvers_need_no_import_of_their_own() -> None:
    code = "import kvnode; print(kvnode.resolvers.latest.__name__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "latest"


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert kvnode.__version__ == project["version"]


@pytest.mark.parametrize(
    "module", ["kvnode", "kvnode.core", "kvnode.cli.commands", "kvnode.testing.plugin"]
)
def test_importing_does_not_load_grpc(module: str) -> None:
    """gRPC takes longer to import than everything else together."""
    code = f"import sys, {module}; print([m for m in ('grpc', 'rich') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_client_does_not_load_what_only_errors_and_tables_need() -> None:
    code = (
        "import sys; from kvnode import Client; Client().close();"
        "late = ('rich', 'google.rpc.error_details_pb2', 'grpc_status', 'lmdb');"
        "print([m for m in late if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
