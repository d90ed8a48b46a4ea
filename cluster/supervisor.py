"""The process that owns a cluster: its nodes, the links between them, and a control port.

One process for both because of Python: links in a thread of a test would share its interpreter lock
with the test's own clients, and every measurement would be of that. As a process the links carry
their megabytes on their own, and a cluster is the same thing whether a test uses it for a second or
``./cluster/local up`` leaves it running.

Nothing outlives it. It ends when told to, on SIGTERM and, unless released, when the process that
started it is gone; nodes are killed by the kernel (Linux) if the supervisor itself is killed.

Started by ``cluster.processes`` as ``python -m cluster.supervisor``, with its ``Plan`` as JSON on
stdin; prints ``ready`` or ``error: ...`` as its only line on stdout.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, TextIO

from cluster.control import LOCK_FILE, STATE_FILE, STOP_DEADLINE_S, Contact
from cluster.faults import Fault
from cluster.links import Links
from cluster.node_process import NodeFailed, NodeProcess
from cluster.ports import HOST, NoPort, PortReservations

REQUEST_BYTES_MAX: Final = 1 << 20
OWNER_CHECK_S: Final = 0.2
"""How long nodes may outlive a killed owner. The kernel has no portable event for it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What cluster to make.

    ``command`` is extended by the arguments of ``kvnode serve``. ``owner`` is the pid of the
    process that starts the supervisor. ``first_port``: look for client ports from there upwards;
    None: anywhere. ``newcomers`` are nodes of the cluster that wait to be taken in; the others
    found it. ``environments``: variables for single nodes, by name.
    """

    directory: str
    names: tuple[str, ...]
    command: tuple[str, ...]
    owner: int
    config: str | None = None
    first_port: int | None = None
    newcomers: tuple[str, ...] = ()
    environments: dict[str, dict[str, str]] = field(default_factory=dict)


class Refused(Exception):
    """A request that cannot be carried out; the message goes to whoever asked."""


class Supervisor:
    """See the module. ``run`` returns when everything is stopped."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._directory = Path(plan.directory)
        self._links = Links(plan.names)
        self._ports = PortReservations()
        self._nodes: dict[str, NodeProcess] = {}
        self._token = secrets.token_hex(16)
        self._over = asyncio.Event()
        self._owned = True
        self._commands: dict[str, Callable[..., Awaitable[Any]]] = {
            "start": self._start,
            "stop": self._stop,
            "kill": self._kill,
            "pause": self._pause,
            "resume": self._resume,
            "set_link": self._set_link,
            "isolate": self._isolate,
            "heal": self._heal,
            "status": self._status,
            "release": self._release,
            "shut_down": self._shut_down,
        }

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until told to end; ``ready`` is called when the control port answers."""
        with self._lock():
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._over.set)
            owner_watch = asyncio.create_task(self._watch_owner())
            try:
                await self._prepare()
                server = await asyncio.start_server(self._serve, HOST, 0, limit=REQUEST_BYTES_MAX)
                port = server.sockets[0].getsockname()[1]
                Contact(port, self._token, os.getpid()).write(self._directory)
                ready()
                await self._over.wait()
                server.close()
            finally:
                owner_watch.cancel()
                await self._end_nodes()
                self._links.close()
                self._ports.close()
                (self._directory / STATE_FILE).unlink(missing_ok=True)

    def _lock(self) -> TextIO:
        """One supervisor per directory; the kernel drops the lock with the process."""
        lock = (self._directory / LOCK_FILE).open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise Refused(f"a cluster is already running in {self._directory}") from None
        return lock

    async def _watch_owner(self) -> None:
        while self._owned and os.getppid() == self._plan.owner:  # noqa: ASYNC110 (no event)
            await asyncio.sleep(OWNER_CHECK_S)
        if self._owned:
            self._over.set()

    async def _prepare(self) -> None:
        plan, names = self._plan, self._plan.names
        ports = dict(zip(names, self._ports.choose(len(names), plan.first_port), strict=True))
        peers: dict[str, dict[str, str]] = {name: {} for name in names}
        for source, target in self._links.directions:
            port = await self._links.listen(source, target, ports[target])
            peers[source][target] = f"{HOST}:{port}"
        for name in names:
            home = self._directory / name
            command = [
                *plan.command,
                *("--name", name),
                *("--listen", f"{HOST}:{ports[name]}"),
                *("--data", str(home / "data")),
                *("--cluster", "local"),
                *(["--config", plan.config] if plan.config else []),
            ]
            everyone = [*command, *_peer_options(peers[name], names)]
            founders = [one for one in names if one not in plan.newcomers]
            first = [*command, *_peer_options(peers[name], founders)]
            self._nodes[name] = NodeProcess(
                name,
                ports[name],
                [*everyone, "--join"] if name in plan.newcomers else everyone,
                home / "log",
                home / "data",
                first_command=None if name in plan.newcomers else first,
                environment=plan.environments.get(name, {}),
            )

    async def _end_nodes(self) -> None:
        async def end(node: NodeProcess) -> None:
            try:
                await node.stop(STOP_DEADLINE_S)
            except NodeFailed as failure:
                sys.stderr.write(f"{failure}\n")

        await asyncio.gather(*(end(node) for node in self._nodes.values()))

    # Requests

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await reader.readline()
            request = json.loads(line) if line else None
            answer = await self._answer(request) if isinstance(request, dict) else None
            if answer is not None:
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
            if self._over.is_set():
                # Left open on purpose: its end tells the asker that this process is gone.
                return
        except (ValueError, OSError) as error:
            sys.stderr.write(f"control: {error}\n")
        writer.close()

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any] | None:
        token = request.pop("token", "")
        if not secrets.compare_digest(str(token), self._token):
            return None
        command = request.pop("command", None)
        try:
            result = await self._commands[command](**request)
        except (Refused, NodeFailed) as refusal:
            return {"error": str(refusal)}
        except (KeyError, TypeError, ValueError, OSError) as error:
            return {"error": f"{command} failed: {error!r}"}
        return {"result": result}

    def _node(self, name: str) -> NodeProcess:
        try:
            return self._nodes[name]
        except KeyError:
            raise Refused(
                f"there is no node {name!r}; the nodes are {', '.join(self._nodes)}"
            ) from None

    def _running(self, name: str) -> NodeProcess:
        node = self._node(name)
        if node.pid is None:
            raise Refused(f"{name} is not running: it {node.life.clause}")
        return node

    async def _start(self, names: list[str], deadline_s: float, serving: bool) -> None:  # noqa: FBT001
        if self._over.is_set():  # its nodes are being ended, each once
            raise Refused("the cluster is ending")
        if names:
            nodes = [self._node(name) for name in names]
        else:
            nodes = [node for node in self._nodes.values() if node.pid is None]
        starts = [asyncio.create_task(node.start(deadline_s, serving=serving)) for node in nodes]
        # The first that cannot start ends it: founders wait for one another.
        done, waiting = await asyncio.wait(starts, return_when=asyncio.FIRST_EXCEPTION)
        for start in waiting:
            start.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        failures = [error for start in done if (error := start.exception())]
        if failures:
            raise Refused("\n".join(map(str, failures)))

    async def _stop(self, name: str, deadline_s: float) -> None:
        await self._running(name).stop(deadline_s)

    async def _kill(self, name: str) -> None:
        await self._running(name).kill()

    async def _pause(self, name: str) -> None:
        self._node(name).pause()

    async def _resume(self, name: str) -> None:
        self._node(name).resume()

    async def _set_link(self, pairs: list[tuple[str, str]], fault: dict[str, Any]) -> None:
        for source, target in pairs:
            self._node(source)
            self._node(target)
            if source == target:
                raise Refused(f"{source} has no link to itself")
        self._links.set_faults(
            [(source, target) for source, target in pairs], Fault.from_json(fault)
        )

    async def _isolate(self, name: str, fault: dict[str, Any]) -> None:
        self._node(name)
        directions = [pair for pair in self._links.directions if name in pair]
        self._links.set_faults(directions, Fault.from_json(fault))

    async def _heal(self) -> None:
        self._links.heal()

    async def _status(self) -> dict[str, Any]:
        return {
            "nodes": [
                {
                    "name": node.name,
                    "life": node.life,
                    "pid": node.pid,
                    "address": f"{HOST}:{node.port}",
                    "exit_code": node.exit_code,
                    "data": str(node.data),
                    "log": str(node.log),
                    "command": node.command,
                }
                for node in self._nodes.values()
            ],
            "links": [
                {
                    "source": source,
                    "target": target,
                    "fault": self._links.fault(source, target).to_json(),
                    "counters": asdict(self._links.counters(source, target)),
                }
                for source, target in self._links.directions
            ],
        }

    async def _release(self) -> None:
        self._owned = False

    async def _shut_down(self) -> None:
        await self._end_nodes()
        self._over.set()


def _peer_options(addresses: Mapping[str, str], names: Collection[str]) -> list[str]:
    options = [("--peer", f"{name}={addresses[name]}") for name in names if name in addresses]
    return [word for option in options for word in option]


def main() -> None:
    """Run the supervisor for the plan on stdin; exit code 1 if it could not begin."""
    plan = json.loads(sys.stdin.read())
    for name in ("names", "command", "newcomers"):
        plan[name] = tuple(plan[name])

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    async def run() -> None:
        await Supervisor(Plan(**plan)).run(lambda: say("ready"))

    try:
        asyncio.run(run())
    except (Refused, NoPort, OSError) as error:
        say(f"error: {error}")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
