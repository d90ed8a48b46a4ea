"""How far each node is behind, as long as a run lasts: asked twice a second, for the picture."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from cluster.vectors import Vector, joined, lacking
from kvnode import Client, KvnodeError
from tests.nemesis.recorder import Recorder

EVERY_S: Final = 0.5
TIMEOUT_S: Final = 0.5
"""A node that hangs is shown as silent and must not hold up the others for long."""


@dataclass(frozen=True, slots=True)
class Beat:
    """One look at one node."""

    at_ms: float
    node: str
    lag: int | None
    """Operations that some node is known to have and this one lacks; None: it does not answer."""


class Pulse:
    """Use as a context manager."""

    def __init__(self, endpoints: Mapping[str, str], recorder: Recorder) -> None:
        self.beats: list[Beat] = []
        self._endpoints = endpoints
        self._recorder = recorder
        self._known: Vector = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        with ExitStack() as stack:
            clients = {
                name: stack.enter_context(Client(endpoint, timeout_s=TIMEOUT_S))
                for name, endpoint in self._endpoints.items()
            }
            while not self._over.wait(EVERY_S):
                vectors = {name: self._ask(client) for name, client in clients.items()}
                self._known = joined((self._known, *filter(None, vectors.values())))
                now_ms = self._recorder.now_ms()
                for name, vector in vectors.items():
                    lag = None if vector is None else lacking(vector, self._known)
                    self.beats.append(Beat(now_ms, name, lag))

    def _ask(self, client: Client) -> Vector | None:
        try:
            status = client.admin.status()
        except KvnodeError:
            return None
        return {entry.origin: entry.seq for entry in status.vector}
