"""Processes for one test each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.rpc.api import Api

from .process import NodeProcess

Start = Callable[..., NodeProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts processes in the folder named; whatever happens, none is left."""
    processes: list[NodeProcess] = []

    def run(folder: str, *options: str, listen: str = "127.0.0.1:0") -> NodeProcess:
        processes.append(NodeProcess(tmp_path / folder, *options, listen=listen))
        return processes[-1]

    try:
        yield run
    finally:
        for process in processes:
            process.kill()


@pytest.fixture
def connect() -> Iterator[Callable[[NodeProcess], Api]]:
    """The API of a running process."""
    apis: list[Api] = []

    def run(process: NodeProcess) -> Api:
        apis.append(Api(process.address))
        return apis[-1]

    try:
        yield run
    finally:
        for api in apis:
            api.close()
