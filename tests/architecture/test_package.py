"""What is checked in and what is shipped: generated code is fresh, the wheel holds kvnode only."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, cwd: Path = ROOT) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_generated_code_is_fresh(tmp_path: Path) -> None:
    """``python proto/generate.py`` would change nothing."""
    pytest.importorskip("grpc_tools")
    run("proto/generate.py", "--into", str(tmp_path))
    made = {
        file.relative_to(tmp_path / "kvnode/v1"): file.read_bytes()
        for file in sorted((tmp_path / "kvnode/v1").iterdir())
    }
    assert len(made) == 3 * len(list((ROOT / "proto/kvnode/v1").glob("*.proto")))
    kept = {
        file.relative_to(ROOT / "kvnode/v1"): file.read_bytes()
        for file in sorted((ROOT / "kvnode/v1").glob("*_pb2*"))
    }
    assert made.keys() == kept.keys()
    stale = [str(name) for name in made if made[name] != kept[name]]
    assert not stale, f"run proto/generate.py: {stale}"


def test_the_wheel_holds_kvnode_and_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    run("-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        info = next(name.split("/")[0] for name in names if ".dist-info/" in name)
        metadata = archive.read(f"{info}/METADATA").decode()
        entry_points = archive.read(f"{info}/entry_points.txt").decode()
    assert {name.split("/")[0] for name in names} == {"kvnode", info}
    assert "kvnode/py.typed" in names
    assert "kvnode/v1/kv_pb2.pyi" in names
    assert not [name for name in names if name.endswith((".proto", ".mdb", ".pyc"))]
    assert "kvnode = kvnode.cli.main:main" in entry_points
    assert "License-Expression: Apache-2.0" in metadata
    assert any(name.endswith("licenses/LICENSE") for name in names)
    shipped = {name for name in names if name.startswith("kvnode/") and name.endswith(".py")}
    assert shipped == {
        str(file.relative_to(ROOT))
        for file in (ROOT / "kvnode").rglob("*.py")
        if "__pycache__" not in file.parts
    }


def test_the_core_can_be_imported_without_grpc_and_lmdb() -> None:
    """It runs in a simulator, and ``kvnode get`` must start quickly."""
    code = (
        "import sys, kvnode.core.replica, kvnode.core.context, kvnode.core.limits;"
        "print(sorted({'grpc', 'lmdb', 'asyncio', 'google'} & sys.modules.keys()))"
    )
    assert run("-c", code).strip() == "[]"


@pytest.mark.slow
def test_ruff_finds_nothing() -> None:
    pytest.importorskip("ruff")
    run("-m", "ruff", "check", "--no-cache", ".")
    run("-m", "ruff", "format", "--no-cache", "--check", ".")


@pytest.mark.slow
def test_mypy_finds_nothing(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    run("-m", "mypy", "--cache-dir", str(tmp_path))
