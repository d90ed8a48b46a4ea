"""The README's commands do what it shows."""

from __future__ import annotations

import os
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any, get_args

import pytest

import kvnode
from cluster.processes import LocalCluster
from kvnode import Client, KvnodeError, Value
from kvnode.testing import LocalNodes
from tests.cluster.convergence import wait_for
from tests.node.process import NodeProcess

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
DEADLINE_S = 60.0
"""Writes take a moment to arrive: a command is repeated until it shows what it should."""

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

SAME = (
    (r"\b[0-9a-f]{16}:\d+", "DOT"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\+\d\d:\d\d", "TIME"),
    (r"(?m)^context \S+", "context TOKEN"),
    (r"─+", "─"),
    (r"(?m)[ \t]+$", ""),
    (r" {2,}", "  "),
)


def normal(text: str) -> str:
    """The text without what differs from run to run."""
    for pattern, replacement in SAME:
        text = re.sub(pattern, replacement, text)
    return text.strip()


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", README)


def tour() -> Iterator[tuple[str, str]]:
    """Each command of the tour with the output shown below it."""
    for block in blocks("console")[1:]:
        for part in re.split(r"(?m)^\$ ", block)[1:]:
            command, _, shown = part.partition("\n")
            yield command, shown


def test_the_tour_shows_what_really_happens() -> None:
    if (ROOT / ".kvnode-cluster").exists():
        pytest.skip("a local cluster is up: ./cluster/local down")
    environment = {**os.environ, "COLUMNS": "120", "TZ": "UTC"}
    environment["PATH"] = os.environ["PATH"].replace(f"{ROOT}/.venv/bin:", "")
    steps = 0
    ports: dict[str, str] = {}
    try:
        for command, shown in tour():
            if command.startswith("export PATH="):
                environment["PATH"] = f"{ROOT}/.venv/bin:{environment['PATH']}"
                continue
            printed = run(command, shown, environment, ports)
            assert normal(printed) == normal(shown), f"$ {command}"
            steps += 1
    finally:
        subprocess.run(["./cluster/local", "down"], cwd=ROOT, capture_output=True, check=False)
    assert steps >= 19
    assert not (ROOT / ".kvnode-cluster").exists()


def run(command: str, shown: str, environment: dict[str, str], ports: dict[str, str]) -> str:
    """What the command prints; reads are repeated until they print what is shown.

    ``ports`` maps the addresses shown to those `up` really found free.
    """
    for written, real in ports.items():
        command = command.replace(written, real)
    repeatable = re.search(r" (get|siblings|conflicts) ?", command)
    end = monotonic() + DEADLINE_S
    while True:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        printed = done.stdout
        if command == "./cluster/local up":
            ports.update(zip(ports_in(shown), ports_in(printed), strict=True))
        for written, real in ports.items():
            printed = printed.replace(real, written)
        if not repeatable or normal(printed) == normal(shown) or monotonic() > end:
            assert done.returncode == 0 or repeatable, done.stderr
            return printed
        sleep(0.05)


def ports_in(text: str) -> list[str]:
    """The addresses in the text."""
    return re.findall(r"127\.0\.0\.1:\d+", text)


def test_the_python_example_runs(tmp_path: Path) -> None:
    example = blocks("python")[0]
    with LocalCluster(2, directory=tmp_path) as cluster:
        endpoints = ",".join(cluster.endpoints.values())
        program = example.replace("127.0.0.1:7101,127.0.0.1:7102", endpoints)
        with Client(endpoints) as client:
            client.put("cart:ada", "tea", blind=True)
            client.put("cart:ada", "cake", blind=True)
        scope: dict[str, object] = {}
        exec(compile(program, "README.md", "exec"), scope)
    merged = scope["merged"]
    assert isinstance(merged, Value)
    assert merged.value == b"cake + tea"
    assert scope["state"], "the scan found nothing"


def read_model() -> str:
    """The example of a watch."""
    return next(block for block in blocks("python") if "db.watch(" in block)


def chapter() -> list[str]:
    """The pieces of the client's chapter, one program."""
    _, _, after = README.partition("\n## The Python client\n")
    return re.findall(r"(?ms)^```python\n(.*?)^```", after.partition("\n## ")[0])


def test_the_clients_tables_name_all_there_is() -> None:
    """Every method, level and exception of the public surface has its row."""
    _, _, after = README.partition("\n## The Python client\n")
    rows = [line for line in after.partition("\n## ")[0].splitlines() if line.startswith("|")]
    named = {word for row in rows for word in re.findall(r"`([^`]+)`", row.split("|")[1])}
    assert {name for name in dir(Client) if not name.startswith("_")} <= named
    levels = {*get_args(get_args(kvnode.Durability)[0]), *get_args(kvnode.Consistency)}
    said = " ".join(named)
    assert not {level for level in levels if f'"{level}"' not in said}
    exceptions = {
        name
        for name in kvnode.__all__
        if isinstance(each := getattr(kvnode, name), type) and issubclass(each, KvnodeError)
    }
    assert exceptions <= named


def test_the_read_model_follows(tmp_path: Path) -> None:
    example = read_model()
    with LocalCluster(2, directory=tmp_path / "cluster") as cluster:
        endpoints = ",".join(cluster.endpoints.values())
        program = example.replace("127.0.0.1:7101,127.0.0.1:7102", endpoints)
        for cart in ("tea", "cake", ""):  # killed and started again, it goes on
            with Client(endpoints) as client:
                if cart:
                    client.put("cart:ada", cart)
                else:
                    client.delete("cart:ada")
            with subprocess.Popen(
                [sys.executable, "-c", program],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            ) as process:
                try:
                    wait_for(partial(shows, tmp_path, cart), "the table follows")
                finally:
                    process.kill()


def shows(folder: Path, cart: str) -> bool:
    """Whether that is the one row of the table; "" of an empty one."""
    return carts(folder) == ({b"cart:ada": cart} if cart else {})


def carts(folder: Path) -> dict[bytes, str]:
    """The table, empty while there is none."""
    try:
        with closing(sqlite3.connect(folder / "carts.sqlite", timeout=30)) as file:
            return dict(file.execute("SELECT key, cart FROM carts"))
    except sqlite3.OperationalError:
        return {}


def test_the_client_chapter_is_a_program_that_runs(capsys: pytest.CaptureFixture[str]) -> None:
    with LocalNodes(3) as nodes:
        program = "".join(chapter())
        for number, address in enumerate(nodes.endpoints.values(), start=7101):
            program = program.replace(f"127.0.0.1:{number}", address)
        scope: dict[str, Any] = {}
        exec(compile(program, "README.md", "exec"), scope)
        shown = capsys.readouterr().out
        assert shown.startswith("2\n52.52,13.40\n")
        assert "b'cake,tea,milk'" in shown or "b'cake,milk,tea'" in shown
        assert "b'basket:bob:tea' (2,)\n" in shown
        assert "basket:bob:cake" not in shown
        assert "acknowledged=5000" in shown
        scope["db"].close()
    with LocalNodes(3) as nodes:
        scope["test_carts_merge"](nodes)


LISTED = """
import kvnode
from kvnode import Client, Counter, Increment, Operation, Put

def counted(counter: Counter, operations: list[Operation]) -> None:
    print(counter.add(), Client().write(operations))

found = [Increment("a"), Put("b", "c")]
counted(Client().counter("k"), found)
print(Client().get("k", resolve=kvnode.resolvers.latest))
"""
"""Public names are what one writes down, and a list of operations is one."""


def test_the_examples_are_typed(tmp_path: Path) -> None:
    """A user's strict mypy finds nothing in them, and something where a conflict is forgotten."""
    pytest.importorskip("mypy")
    program = tmp_path / "program.py"
    for text, finding in (
        (blocks("python")[0], ""),
        ("".join(chapter()), ""),
        (read_model(), ""),
        ("from kvnode import Client\nprint(Client().get('k').value)\n", "union-attr"),
        ("from kvnode import Clint\n", "attr-defined"),
        ("import kvnode\nkvnode.Clint\n", "attr-defined"),
        (LISTED, ""),
    ):
        program.write_text(text)
        command = [
            "mypy",
            "--strict",
            "--config-file",
            "pyproject.toml",
            "--cache-dir",
            str(tmp_path),
        ]
        done = subprocess.run(
            [sys.executable, "-m", *command, str(program)],
            cwd=ROOT,
            env={**os.environ, "MYPYPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (finding in done.stdout) if finding else done.returncode == 0, done.stdout


def test_the_examples_of_running_tests_select_some() -> None:
    examples = re.findall(r"`\./tests/run ([^`]+)`", README)
    assert examples
    for example in examples:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "--collect-only", "-q", *shlex.split(example)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{example}: {done.stdout[-300:]}"


def test_the_demo_holds_on_the_first_flights() -> None:
    done = subprocess.run(
        ["./cluster/demo", "--flights", "3000"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"differences +0 in ", done.stdout), done.stdout
    assert "Everything holds" in done.stdout


def test_paths_named_in_the_readme_exist() -> None:
    named = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert named
    missing = [path for path in named if not (ROOT / path).exists()]
    assert not missing


def test_certificates_made_as_shown_let_their_holders_in(tmp_path: Path) -> None:
    (script,) = blocks("sh")
    subprocess.run(["sh", "-ec", script], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    node = NodeProcess(tmp_path / "data", "--tls", str(tmp_path / "paris")).ready()
    try:
        with Client(node.address.replace("127.0.0.1", "localhost"), tls=tmp_path / "app") as db:
            db.put("k", "v")
        node.stop()
    finally:
        node.kill()
