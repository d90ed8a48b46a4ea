"""Who may import whom, what must not be in the core, and how large a file may get.

The table is that of STYLE.md, "Rooms of the house". It is what keeps the core a function of its
arguments, so that the same code runs in a node, in the model tests and in a simulator.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINES_MAX = 400

# Room -> our own rooms it may import from. A name at the top of the package is a room of its own.
MAY_IMPORT = {
    "core": {"core"},
    "storage": {"storage", "core"},
    "config": {"config", "core"},
    "errors": {"errors", "core"},
    "v1": {"v1"},
    "tls": {"tls"},
    "rpc": {"rpc", "core", "errors", "tls", "v1"},
    "node": {"node", "rpc", "storage", "core", "config", "errors", "tls", "v1", "kvnode"},
    # of the core only the reasons, which are part of the wire's contract
    "client": {"client", "errors", "tls", "v1", "core.errors"},
    # it prints what the node refuses at start, and never touches a store itself
    "cli": {
        "cli",
        "client",
        "node",
        "config",
        "errors",
        "v1",
        "kvnode",
        "core.errors",
        "storage.interfaces",
    },
    "resolvers": {"client"},
    "testing": {"testing", "client", "config", "node"},
    "__main__": {"cli"},
    "kvnode": {"client", "errors", "core.errors", "resolvers"},
}

# Packages from elsewhere that a room may import besides the standard library.
FOREIGN = {
    "core": {"msgpack", "xxhash"},
    "storage": {"lmdb", "msgpack", "sortedcontainers", "xxhash"},
    "config": set(),
    "errors": {"grpc"},
    "tls": {"grpc"},
    "rpc": {"grpc", "grpc_health", "grpc_reflection", "grpc_status", "google", "prometheus_client"},
    "node": set(),
    "client": {"grpc", "grpc_status", "google"},
    "resolvers": set(),
    "testing": {"pytest"},
    "cli": {"click", "rich", "google"},
    "__main__": set(),
    "kvnode": set(),
    "v1": {"grpc", "google"},
}

# Standard modules that read a clock, the disk, the network or chance, or that run things.
IMPURE = {
    "asyncio", "concurrent", "datetime", "fcntl", "io", "logging", "multiprocessing", "os",
    "pathlib", "queue", "random", "secrets", "select", "selectors", "shutil", "signal", "socket",
    "sqlite3", "ssl", "subprocess", "sys", "tempfile", "threading", "time", "uuid", "warnings",
}  # fmt: skip
IMPURE_CALLS = {"open", "print", "input", "eval", "exec", "__import__", "hash", "id"}
"""``hash`` and ``id`` differ from process to process."""


class Import(NamedTuple):
    """One imported module, absolute."""

    file: Path
    line: int
    module: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.module}"


def sources(*folders: str) -> list[Path]:
    return sorted(
        file
        for folder in folders
        for file in (ROOT / folder).rglob("*.py")
        if "__pycache__" not in file.parts
    )


def imports(file: Path) -> Iterator[Import]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            assert node.module
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                is_module = (ROOT / Path(*whole.split("."))).with_suffix(".py").exists()
                is_package = (ROOT / Path(*whole.split("."))).is_dir()
                yield Import(file, node.lineno, whole if is_module or is_package else node.module)


def room_of(file: Path) -> str:
    """The room a file of the package stands in."""
    parts = file.relative_to(ROOT / "kvnode").parts
    if len(parts) > 1:
        return parts[0]
    return "kvnode" if parts[0] == "__init__.py" else parts[0].removesuffix(".py")


def allowed(room: str, module: str) -> bool:
    if module == "__future__":
        return True
    top, _, rest = module.partition(".")
    if top != "kvnode":
        return top in sys.stdlib_module_names or top in FOREIGN[room]
    target = rest.split(".")[0] or "kvnode"
    return target in MAY_IMPORT[room] or rest in MAY_IMPORT[room]


def test_every_room_is_in_the_table() -> None:
    rooms = {room_of(file) for file in sources("kvnode")}
    assert rooms <= MAY_IMPORT.keys() == FOREIGN.keys(), rooms - MAY_IMPORT.keys()


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    files = [file for file in sources("kvnode") if room_of(file) == room]
    assert files
    wrong = [str(i) for file in files for i in imports(file) if not allowed(room, i.module)]
    assert not wrong, "\n".join(wrong)


def test_the_core_reads_no_clock_no_disk_no_network_and_no_chance() -> None:
    files = sources("kvnode/core")
    wrong = [str(i) for file in files for i in imports(file) if i.module.split(".")[0] in IMPURE]
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id in IMPURE_CALLS:
                    wrong.append(f"{file.relative_to(ROOT)}:{node.lineno} calls {node.func.id}")
            elif isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.Global):
                wrong.append(f"{file.relative_to(ROOT)}:{node.lineno} {type(node).__name__}")
    assert not wrong, "\n".join(wrong)


def test_only_cluster_control_and_tests_know_of_the_folders_around_the_package() -> None:
    wrong = [
        str(i)
        for file in sources("kvnode")
        for i in imports(file)
        if i.module.split(".")[0] in ("cluster", "bench", "tests", "proto")
    ]
    wrong += [
        str(i)
        for file in sources("cluster")
        for i in imports(file)
        if i.module.split(".")[0] in ("tests", "bench")
    ]
    assert not wrong, "\n".join(wrong)


def test_no_file_is_longer_than_it_can_be_read() -> None:
    """When one grows, there is a second noun in it. Generated code aside."""
    long = {
        str(file.relative_to(ROOT)): lines
        for file in sources("kvnode", "cluster", "bench", "tests", "proto")
        if "v1" not in file.relative_to(ROOT).parts
        and (lines := len(file.read_text().splitlines())) > LINES_MAX
    }
    assert not long


WORDLESS = ("util", "utils", "helper", "helpers", "common", "manager", "data", "info", "misc")


def test_modules_and_classes_have_names_that_say_something() -> None:
    wrong = []
    for file in sources("kvnode", "cluster", "bench", "tests"):
        if set(file.stem.removeprefix("test_").split("_")) & set(WORDLESS):
            wrong.append(str(file.relative_to(ROOT)))
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef) and node.name.lower().endswith(WORDLESS):
                wrong.append(f"{file.relative_to(ROOT)}:{node.lineno} class {node.name}")
            if isinstance(node, ast.FunctionDef) and node.name.startswith(("do_", "_do_")):
                wrong.append(f"{file.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert not wrong, "\n".join(wrong)


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(file.relative_to(ROOT))
        for file in sources("kvnode", "cluster", "bench", "tests", "proto")
        if "v1" not in file.relative_to(ROOT).parts
        and file.stat().st_size
        and not ast.get_docstring(ast.parse(file.read_text()))
    ]
    assert not silent


def test_a_rule_that_is_broken_is_found(tmp_path: Path) -> None:
    """The canary of this file."""
    assert not allowed("core", "grpc")
    assert not allowed("core", "kvnode.storage.log")
    assert not allowed("client", "kvnode.core.replica")
    assert not allowed("storage", "kvnode.node.engine")
    assert allowed("core", "kvnode.core.dots")
    file = tmp_path / "late.py"
    file.write_text("def f() -> None:\n    import time\n")
    assert [found.module for found in imports(file)] == ["time"]


def test_a_node_takes_time_chance_and_threads_from_its_ambient_only() -> None:
    """Else a simulation of it would not be the same run twice."""
    wild = {"time", "random", "secrets", "threading", "uuid", "concurrent"}
    calls = {"to_thread", "run_in_executor"}
    for file in sources("kvnode/node"):
        if file.name in ("ambient.py", "worker.py"):
            continue
        tree = ast.parse(file.read_text())
        found = {each.module.partition(".")[0] for each in imports(file)} & wild
        called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & calls
        assert not found | called, f"{file.relative_to(ROOT)}: {sorted(found | called)}"
