"""Nodes that come, go and come back: ``kvnode serve`` processes over directories a test swaps.

Nodes talk to each other directly; each keeps its address over all its lives. Their time limits are
short, so that a dead node is believed dead soon.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from cluster.ports import HOST, PortReservations
from cluster.processes import ROOT
from kvnode import Client, KvnodeError, NodeUnavailable
from kvnode.client.operator import Operator
from kvnode.v1.membership_pb2 import MembersResponse, MemberStatus
from tests.node.process import NodeProcess

from .convergence import wait_for

CONFIG = """
peer_timeout_ms = 1500
reconnect_interval_ms = 100
heartbeat_interval_ms = 50
anti_entropy_interval_ms = 50
leave_timeout_ms = 5000
"""
PATIENCE_S = 30.0
"""For all a return takes: time-outs, a second start, catching up."""


class Members:
    """Nodes by name, founders or newcomers; all are killed at the end."""

    def __init__(self, folder: Path, founders: str = "abc", newcomers: str = "") -> None:
        self.folder = folder
        self.founders = founders
        self._ports = PortReservations()
        names = founders + newcomers
        ports = self._ports.choose(len(names))
        self.addresses = {name: f"{HOST}:{port}" for name, port in zip(names, ports, strict=True)}
        self.client = {
            name: Client(address, timeout_s=30.0) for name, address in self.addresses.items()
        }
        self.node: dict[str, NodeProcess] = {}
        self._all: list[NodeProcess] = []
        (folder / "config.toml").write_text(CONFIG)

    def __enter__(self) -> Members:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for client in self.client.values():
            client.close()
        for node in self._all:
            node.kill()
        self._ports.close()

    # ---- lives

    def start(self, *names: str) -> None:
        """Start these, founders of the cluster."""
        for name in names:
            peers = [
                f"--peer={other}={self.addresses[other]}"
                for other in self.founders
                if other != name
            ]
            self.node[name] = self.run(self.data(name), name, self.addresses[name], *peers)

    def start_newcomer(self, name: str, *, called: str = "") -> None:
        """Start this one to wait until it is taken in."""
        options = (self.data(name), called or name, self.addresses[name], "--join")
        self.node[name] = self.run(*options)

    def run(self, data: Path, name: str, listen: str, *options: str) -> NodeProcess:
        """Any node process."""
        config = f"--config={self.folder / 'config.toml'}"
        node = NodeProcess(data, "--name", name, config, *options, listen=listen)
        self._all.append(node)
        return node

    def stop(self, *names: str, trouble: str = "") -> None:
        """SIGTERM to each, one after the other."""
        for name in names:
            self.node[name].stop(trouble=trouble)

    def found(self) -> None:
        """Start the founders; returns when each has met all and serves."""
        self.start(*self.founders)
        for name in self.founders:
            self.wait_place(name, "serving")
            wait_for(lambda name=name: self.met(name), f"{name} has met all", PATIENCE_S)  # type: ignore[misc]

    # ---- directories

    def data(self, name: str) -> Path:
        """The node's data directory."""
        return self.folder / name

    def copy(self, name: str, called: str = "copy") -> Path:
        """A copy with all that ``cp -a`` keeps."""
        copy = self.folder / called
        subprocess.run(["cp", "-a", self.data(name), copy], check=True)
        return copy

    def put_back(self, name: str, copy: Path, *, unnoticed: bool = False) -> None:
        """The copy in place of the directory.

        ``unnoticed``: as if inode and change time were the original's, which is what a copy below
        the file system looks like (a disk image, a virtual machine's snapshot).
        """
        shutil.rmtree(self.data(name))
        copy.rename(self.data(name))
        if unnoticed:
            status = os.stat(self.data(name) / "v1" / "here")  # noqa: PTH116 - as the node does
            identity = self.identity(self.data(name))
            identity["here"] = f"{status.st_ino}:{status.st_ctime_ns}"
            (self.data(name) / "v1" / "identity.json").write_text(json.dumps(identity))

    @staticmethod
    def identity(data: Path) -> dict[str, object]:
        """What the directory says of itself."""
        found: dict[str, object] = json.loads((data / "v1" / "identity.json").read_text())
        return found

    def origin(self, name: str) -> str:
        """The origin its directory has now."""
        return str(self.identity(self.data(name))["origin"])

    # ---- what they say

    def members(self, name: str) -> MembersResponse:
        """The cluster as this node knows it."""
        with Operator(self.addresses[name], timeout_s=5.0) as operator:
            return operator.members()

    def row(self, name: str, origin: str) -> MemberStatus | None:
        """What the node says of one identity."""
        rows = self.members(name).members
        return next((row for row in rows if f"{row.origin:016x}" == origin), None)

    def place(self, name: str) -> str:
        """Where the node is on its way; empty while it does not answer."""
        try:
            return self.members(name).place
        except KvnodeError:
            return ""

    def waits(self, name: str) -> str:
        """What it waits for before it serves; empty if it serves or does not answer."""
        try:
            return self.members(name).waits
        except KvnodeError:
            return ""

    def wait_place(self, name: str, *places: str) -> None:
        """Return when it is there."""
        wait_for(
            lambda: self.place(name) in places,
            f"{name} is {' or '.join(places)}: {self.node[name].stderr[-2000:]}",
            PATIENCE_S,
        )

    def met(self, name: str) -> bool:
        """Whether it has met every founder, and is connected to all."""
        peers = self.client[name].admin.status().peers
        return not self.members(name).unmet and all(peer.state == "connected" for peer in peers)

    def wait_same_members(self, names: Iterable[str]) -> None:
        """Return when all these know the same, and nothing is on its way any more."""

        def same() -> bool:
            found = [list(self.members(name).members) for name in names]
            return all(rows == found[0] for rows in found) and not any(
                row.waits_for or (row.place == "forgotten" and not row.complete) for row in found[0]
            )

        wait_for(same, "one settled roster", PATIENCE_S)

    def clients(self, names: Iterable[str]) -> dict[str, Client]:
        """These nodes' clients."""
        return {name: self.client[name] for name in names}

    def assert_takes_no_calls(self, name: str, reason: str) -> None:
        """Neither reads nor writes, and says why."""
        with Client(self.addresses[name], timeout_s=1.0) as client:
            calls = (
                lambda: client.get("k"),
                lambda: client.put("k", "w"),
                lambda: [*client.scan()],
            )
            for call in calls:
                with pytest.raises(NodeUnavailable) as refused:
                    call()
                assert refused.value.reason == reason


def exported(directory: Path, *options: str) -> list[dict[str, Any]]:
    """What ``kvnode export`` finds there."""
    done = subprocess.run(
        [sys.executable, "-m", "kvnode", "export", str(directory), *options],
        capture_output=True,
        check=True,
        cwd=ROOT,
        timeout=100,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]
