"""``kvnode serve`` as a process: what it prints, what it refuses to start with, how it stops."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kvnode.cli.serve import STOP_SIGNALS, StopSignal
from tests.rpc.api import Api

from .conftest import Start
from .process import COMMAND, NodeProcess, is_free, until

Connect = Callable[[NodeProcess], Api]


def refused(process: NodeProcess) -> str:
    """The one line it says on standard error before it exits with 1."""
    code = process.ended()
    assert code == 1, process.stderr
    assert process.output == b""
    (line,) = process.stderr.splitlines()
    assert line.startswith("Error: "), line
    return line


def contents(folder: Path) -> dict[str, bytes]:
    """Every file in it."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_the_ready_line_is_the_only_output(start: Start, tmp_path: Path) -> None:
    process = start("data", "--name", "paris").ready()
    assert process.name == "paris"
    assert process.address.startswith("127.0.0.1:")
    assert process.serving_from == str(tmp_path / "data")
    process.stop()
    assert process.output.count(b"\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_it_cleanly_with_its_data(
    start: Start, connect: Connect, number: int
) -> None:
    process = start("data").ready()
    api = connect(process)
    api.put(b"k", b"v")
    api.increment(b"n", 5)
    origin = api.status().origin
    process.process.send_signal(number)
    assert process.ended() == 0, process.stderr
    assert process.trouble == []
    again = connect(start("data").ready())
    assert again.values(b"k") == [b"v"]
    assert again.get(b"n").pn_counter.value == 5
    assert again.status().origin == origin
    assert again.increment(b"n", 1).result.counter.value == 6


def test_a_terminal_that_closes_is_no_matter_under_nohup(tmp_path: Path) -> None:
    process = NodeProcess(tmp_path / "data", command=("nohup", *COMMAND)).ready()
    try:
        process.process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.process.wait(0.5)
        process.stop()
    finally:
        process.kill()


def test_signals_until_it_has_ended_stop_it_once(start: Start) -> None:
    """Also one that comes when there is nothing left to stop."""
    process = start("data").ready()
    while process.process.poll() is None:
        process.process.terminate()
    assert process.ended() == 0
    assert process.trouble == []


def test_a_signal_that_comes_as_the_next_are_being_ignored_is_no_trouble(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python has noticed it, and finds that it is to be ignored when it gets to it."""
    said: list[object] = []
    ignored: list[int] = []
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    set_handler = signal.signal

    def ignoring(number: int, handler: Any) -> Any:
        before = set_handler(number, handler)
        if handler is signal.SIG_IGN:
            notice(number)
            ignored.append(number)
        return before

    try:
        with StopSignal() as stop:
            notice = what_notices_signals()
            monkeypatch.setattr(sys, "unraisablehook", said.append)
            monkeypatch.setattr(signal, "signal", ignoring)
            signal.raise_signal(signal.SIGTERM)
            monkeypatch.undo()
            assert stop.asked
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert ignored == [*STOP_SIGNALS]
    assert said == []


def what_notices_signals() -> Callable[[int], None]:
    """What Python has the kernel call, while it has a handler for SIGTERM."""
    library = ctypes.CDLL(None)
    library.signal.restype = ctypes.c_void_p
    library.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    address = library.signal(signal.SIGTERM, None)  # tells what it replaces
    library.signal(signal.SIGTERM, address)
    return ctypes.CFUNCTYPE(None, ctypes.c_int)(address)


def test_it_ends_after_the_last_call(tmp_path: Path) -> None:
    """Handlers that gRPC cancelled may take some steps more than the node itself."""
    script = """if True:
        import asyncio
        from kvnode.cli.main import main
        from kvnode.node.node import Node

        close = Node.close

        async def call():
            try:
                for _ in range(50):
                    await asyncio.sleep(0)
                print("ended")
            except asyncio.CancelledError:
                print("cut short")

        async def closing(node):
            await close(node)
            node.last = asyncio.create_task(call())

        Node.close = closing
        main()
    """
    process = NodeProcess(tmp_path / "data", command=(sys.executable, "-c", script))
    try:
        process.ready().stop()
    finally:
        process.kill()
    assert process.output.splitlines()[1:] == [b"ended"]


def test_a_signal_ends_a_start_that_waits_for_room_on_the_disk(tmp_path: Path) -> None:
    """Its address is another one, which has to be written first; the signal comes once only."""
    script = """if True:
        from kvnode.cli.main import main
        from kvnode.storage.interfaces import DiskFullError
        from kvnode.storage.log import LmdbLog

        def full(log, name, value):
            raise DiskFullError("no room")

        LmdbLog.put_record = full
        main()
    """
    NodeProcess(tmp_path / "data").ready().stop()
    process = NodeProcess(tmp_path / "data", command=(sys.executable, "-c", script))
    try:
        until(lambda: "cannot be written: no room" in process.stderr, "it has said so")
        process.process.terminate()
        assert process.process.wait(20) == 0
    finally:
        process.kill()
    assert "Traceback" not in process.stderr


def test_without_options_it_is_a_node_with_a_folder_that_it_names(
    tmp_path: Path, connect: Connect
) -> None:
    if not is_free(7080):
        pytest.skip("port 7080, the default, is taken on this machine")
    folder = tmp_path / "empty"
    folder.mkdir()
    process = NodeProcess.bare(folder)
    try:
        process.ready()
        assert (process.name, process.address) == ("node1", "127.0.0.1:7080")
        assert process.serving_from == str(folder / "kvnode-data")
        assert connect(process).put(b"k", b"v").result.dot.seq == 1
        assert sorted(entry.name for entry in folder.iterdir()) == ["kvnode-data"]
        process.stop()
    finally:
        process.kill()


def test_a_second_process_on_the_directory_is_refused_and_the_first_goes_on(
    start: Start, connect: Connect
) -> None:
    first = start("data").ready()
    api = connect(first)
    api.put(b"k", b"v")
    line = refused(start("data"))
    assert f"process {first.process.pid}" in line
    assert str(first.data) in line
    assert api.put(b"k", b"w").result.dot.seq == 2
    first.stop()
    assert connect(start("data").ready()).values(b"k") == [b"w"]


def test_a_port_in_use_is_named(start: Start) -> None:
    process = start("data").ready()
    assert process.address in refused(start("other", listen=process.address))
    process.stop()


def test_a_new_node_that_cannot_listen_leaves_no_directory(
    start: Start, connect: Connect, tmp_path: Path
) -> None:
    """And takes none away: neither an empty one, nor one that has data."""
    process = start("data").ready()
    (tmp_path / "empty").mkdir()
    for name in ("other", "empty"):
        assert process.address in refused(start(name, listen=process.address))
    assert not (tmp_path / "other").exists()
    assert list((tmp_path / "empty").iterdir()) == []
    assert "nowhere.invalid:7080" in refused(start("other", listen="nowhere.invalid:7080"))
    assert not (tmp_path / "other").exists()
    third = start("third").ready()
    connect(third).put(b"k", b"v")
    third.stop()
    assert process.address in refused(start("third", listen=process.address))
    assert connect(start("third").ready()).values(b"k") == [b"v"]
    process.stop()


def test_a_foreign_folder_is_refused_and_not_touched(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "pictures").mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    assert "notes.txt" in refused(start("data"))
    assert contents(folder) == {"notes.txt": b"mine"}
    assert sorted(entry.name for entry in folder.iterdir()) == ["notes.txt", "pictures"]


def test_a_file_instead_of_a_folder_is_refused(start: Start, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("mine")
    refused(start("data"))
    assert (tmp_path / "data").read_text() == "mine"


def test_another_node_s_directory_is_refused(start: Start) -> None:
    start("data", "--name", "one", "--cluster", "red").ready().stop()
    assert "'one'" in refused(start("data", "--name", "two", "--cluster", "red"))
    assert "'red'" in refused(start("data", "--name", "one", "--cluster", "blue"))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a node that has stopped."""
    process = NodeProcess(tmp_path_factory.mktemp("stopped") / "data")
    try:
        api = Api(process.ready().address)
        api.put(b"k", b"v")
        api.close()
        process.stop()
    finally:
        process.kill()
    return process.data


DAMAGE: dict[str, Callable[[Path], object]] = {
    "identity is gone": lambda data: (data / "v1/identity.json").unlink(),
    "identity is empty": lambda data: (data / "v1/identity.json").write_bytes(b""),
    "identity is another thing": lambda data: (data / "v1/identity.json").write_text("[1]"),
    "log is gone": lambda data: (data / "v1/log/data.mdb").unlink(),
    "state is gone": lambda data: (data / "v1/state/data.mdb").unlink(),
    "log is text": lambda data: (data / "v1/log/data.mdb").write_bytes(b"text " * 5000),
    "state is text": lambda data: (data / "v1/state/data.mdb").write_bytes(b"text " * 5000),
    "log is empty": lambda data: os.truncate(data / "v1/log/data.mdb", 0),
    "log is cut": lambda data: os.truncate(data / "v1/log/data.mdb", 4096),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_directory_is_refused_and_not_touched(
    start: Start, stopped: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(stopped, folder)
    DAMAGE[name](folder)
    before = contents(folder)
    line = refused(start("data"))
    assert str(folder) in line
    after = contents(folder)
    for files in (before, after):
        for lock in ("LOCK", "v1/log/lock.mdb", "v1/state/lock.mdb"):
            files.pop(lock, None)
    assert after == before


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--peer", "tokyo"], "tokyo"),
        (["--peer", "tokyo=nowhere"], "nowhere"),
        (["--peer", "a=127.0.0.1:1", "--peer", "a=127.0.0.1:2"], "'a'"),
        (["--config", "missing.toml"], "missing.toml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_option_is_named(
    start: Start, tmp_path: Path, options: list[str], named: str
) -> None:
    assert named in refused(start("data", *options))
    assert not (tmp_path / "data").exists()


def test_an_unknown_option_is_a_usage_error(start: Start) -> None:
    process = start("data", "--durability", "none")
    assert process.ended() == 2
    assert "--durability" in process.stderr


def test_settings_of_a_file_hold_and_flags_win(
    start: Start, connect: Connect, tmp_path: Path
) -> None:
    file = tmp_path / "node.toml"
    file.write_text('name = "file"\ncluster = "file"\nvalue_bytes_max = 10\nlisten = "nowhere:x"')
    process = start("data", "--config", str(file), "--name", "flag").ready()
    api = connect(process)
    status = api.status()
    assert (status.name, status.cluster) == ("flag", "file")
    assert api.put(b"k", b"v" * 10).result.dot.seq == 1
    with pytest.raises(Exception, match="at most 10 bytes"):
        api.put(b"k", b"v" * 11)
    process.stop()
