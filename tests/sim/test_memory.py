"""The directory in memory can be called as the one on disk: a node cannot tell them apart."""

from __future__ import annotations

import inspect

import pytest

from kvnode.storage.directory import DataDirectory
from tests.sim.memory import MemoryDirectory

METHODS = [
    name
    for name, _ in inspect.getmembers(MemoryDirectory, inspect.isfunction)
    if not name.startswith("_")
]


@pytest.mark.parametrize("name", METHODS)
def test_methods_take_what_those_on_disk_take(name: str) -> None:
    def shape(of: type) -> list[tuple[str, inspect._ParameterKind, object]]:
        parameters = inspect.signature(getattr(of, name)).parameters.values()
        return [(each.name, each.kind, each.default) for each in parameters]

    assert shape(MemoryDirectory) == shape(DataDirectory)
