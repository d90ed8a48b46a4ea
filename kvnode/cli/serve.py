"""``kvnode serve``: run a node until a signal or a failure ends it."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import click

from kvnode.cli.output import write
from kvnode.config import Config, ConfigError, documentation, load, to_toml

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The last one comes when a terminal is closed, unless it is to be ignored (nohup)."""

SWITCH_INTERVAL_S = 0.0005
"""Python's default of 5 ms lets a checkpoint's encoding hold up the event loop that long."""

GARBAGE_LOOKS = (2_000, 10, 1_000)
"""When Python looks for cycles: after so many new objects, again at what so many looks left, and at
all there is after so many of these. By default that is 700, 10 and 10: each 200,000 objects under
load, of which almost all are entries that wait for a checkpoint and are in no cycle, and a look at
them all kept everybody waiting for a tenth of a second. Cycles are few: five small objects that
gRPC leaves with each call (``rpc/handlers.py`` sees to it that there is no request among them).
When nobody writes, all is looked at once (``memory.py``)."""


def _peers(pairs: tuple[str, ...]) -> dict[str, str] | None:
    if not pairs:
        return None
    peers: dict[str, str] = {}
    for pair in pairs:
        name, equals, address = pair.partition("=")
        if not equals:
            raise ConfigError(f"{pair!r} is no peer: NAME=HOST:PORT is expected")
        if name in peers:
            raise ConfigError(f"peer {name!r} is given twice: {peers[name]} and {address}")
        peers[name] = address
    return peers


def _help(name: str) -> str:
    """A setting's documentation and, if it says something, its default."""
    default = getattr(Config(), name)
    return documentation(name) + (f"  [default: {default}]" if default else "")


@click.command(
    epilog="""\b
Examples:
  kvnode serve
  kvnode serve --name paris --listen 127.0.0.1:7081 --data ./paris \\
               --peer tokyo=127.0.0.1:7082
  kvnode serve --name paris --print-config > paris.toml
  kvnode serve --config paris.toml

\b
The configuration file has the same names (name, listen, data, cluster, a
table [peers]) and all limits: --print-config shows them."""
)
@click.option("--name", metavar="NAME", help=_help("name"))
@click.option("--listen", metavar="HOST:PORT", help=_help("listen"))
@click.option("--data", metavar="DIR", help=_help("data"))
@click.option("--cluster", metavar="NAME", help=_help("cluster"))
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="NAME=HOST:PORT",
    help=f"Repeatable. {_help('peers')}",
)
@click.option("--advertise", metavar="HOST:PORT", help=_help("advertise"))
@click.option("--tls", metavar="DIR", help=_help("tls"))
@click.option("--metrics", metavar="HOST:PORT", help=_help("metrics"))
@click.option("--join", is_flag=True, default=None, help=_help("join"))
@click.option("--found", is_flag=True, default=None, help=_help("found"))
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file with any setting; flags win over it.",
)
@click.option(
    "--print-config",
    is_flag=True,
    help="Print all settings as they would hold, as such a file, and stop.",
)
@click.option("--verbose", is_flag=True, help="Log more, to standard error.")
def serve(
    *,
    name: str | None,
    listen: str | None,
    data: str | None,
    cluster: str | None,
    peers: tuple[str, ...],
    advertise: str | None,
    tls: str | None,
    metrics: str | None,
    join: bool | None,
    found: bool | None,
    file: Path | None,
    print_config: bool,
    verbose: bool,
) -> None:
    """Run a node until it gets SIGINT, SIGTERM or SIGHUP.

    Without options: a single node on 127.0.0.1:7080 with its data in ./kvnode-data. Prints one
    line when it is ready; logs go to standard error. Exit code 0 after a clean stop, 1 if the
    node cannot start or go on.
    """
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("grpc._cython.cygrpc").addFilter(_no_cancelled_calls)
    from kvnode.cli.memory import limit_pools
    from kvnode.node.listening import check_listening
    from kvnode.storage.interfaces import DiskFullError, StorageError

    try:
        config = load(
            file,
            name=name,
            listen=listen,
            data=data,
            cluster=cluster,
            peers=_peers(peers),
            advertise=advertise,
            tls=tls,
            metrics=metrics,
            join=join,
            found=found,
        )
        if print_config:
            write(to_toml(config).encode())
            return
        check_listening(config)
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        limit_pools()
        gc.set_threshold(*GARBAGE_LOOKS)
        with StopSignal() as stop:
            failure, port = asyncio.run(_run(config, stop))
            while not stop.asked and type(failure).__name__ == "Reborn":  # imported only by _run
                logging.getLogger(__name__).warning("starting again: %s", failure)
                listen = f"{config.listen.rpartition(':')[0]}:{port}"  # others know it by now
                failure, port = asyncio.run(_run(replace(config, listen=listen), stop))
    except (ConfigError, StorageError, DiskFullError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if failure and not stop.asked:
        raise click.ClickException(f"the node stopped: {failure}")


def _no_cancelled_calls(record: logging.LogRecord) -> bool:
    """Calls that end with the node (a health watch, a peer's push stream) are no errors."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


class StopSignal:
    """That the process was asked to end. The first signal counts, those after it are ignored."""

    def __init__(self) -> None:
        self.asked = False
        self.wake: Callable[[], object] = lambda: None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        for number in STOP_SIGNALS:  # not a loop's own handlers, which end with the loop
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.asked:  # else the process is ending, whatever else is sent to it
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked:
            return
        self.asked = True
        with _no_word_of_ignored_signals():
            for number in STOP_SIGNALS:  # another one must not kill what is ending cleanly
                signal.signal(number, signal.SIG_IGN)
        self.wake()


@contextmanager
def _no_word_of_ignored_signals() -> Iterator[None]:
    """Python prints a traceback, an OSError, for one that came just before it was ignored."""
    hook = sys.unraisablehook

    def others(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, OSError):
            hook(unraisable)

    sys.unraisablehook = others
    try:
        yield
        signal.pthread_sigmask(signal.SIG_BLOCK, ())  # what came is looked at now
    finally:
        sys.unraisablehook = hook


async def _run(config: Config, stop_signal: StopSignal) -> tuple[BaseException | None, int]:
    """Why the node stopped, and the port it had."""
    from kvnode.cli.memory import give_back_rest, no_look_for_cycles

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    stop_signal.wake = lambda: loop.call_soon_threadsafe(stop.set)
    if stop_signal.asked:
        stop.set()
    with no_look_for_cycles():
        from kvnode.node.last_calls import calls_over
        from kvnode.node.node import Node

        node = Node(config)
    node.engine.rest.on_end = give_back_rest
    node.directory.serving(alone=True)
    ends = [asyncio.create_task(stop.wait()), asyncio.create_task(node.wait_failed())]
    starting = asyncio.create_task(node.start())
    port = 0
    try:
        await asyncio.wait((starting, ends[0]), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():  # it may wait for room on the disk, for ever
            return node.failure, port
        starting.result()
        port = node.port
        where = f"{config.listen.rpartition(':')[0]}:{node.port}, data in {node.directory.path}"
        membership = node.membership
        serving = asyncio.create_task(membership.wait_serving())
        waits = (*ends, serving)
        if membership.place != "serving":
            click.echo(
                f"kvnode {config.name} {membership.place} on {where}: {membership.waits()}",
                err=True,
            )
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            click.echo(f"kvnode {config.name} serving on {where}")
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        serving.cancel()
    finally:
        for task in (*ends, starting):
            task.cancel()
        await asyncio.wait((starting,))
        await node.close()
        await calls_over()
        stop_signal.wake = lambda: None
    return node.failure, port
