"""What operators ask of a node: not for applications, and not about their data."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from kvnode.client.channels import Method, ReplyT, RequestT
from kvnode.client.columns import key_column
from kvnode.client.operations import bound_bytes, key_bytes
from kvnode.v1 import admin_pb2, gc_pb2, verify_pb2

if TYPE_CHECKING:
    from kvnode.client.calls import Calls
    from kvnode.client.loops import LoopDriver
    from kvnode.client.threads import ThreadDriver

STATUS: Final = Method("/kvnode.v1.Admin/Status", admin_pb2.StatusRequest, admin_pb2.StatusResponse)
INSPECT: Final = Method(
    "/kvnode.v1.Admin/Inspect", admin_pb2.InspectRequest, admin_pb2.InspectResponse
)
COLLECTION_STATUS: Final = Method(
    "/kvnode.v1.Collection/Status",
    gc_pb2.CollectionStatusRequest,
    gc_pb2.CollectionStatusResponse,
)
VERIFY: Final = Method(
    "/kvnode.v1.Verification/Verify", verify_pb2.VerifyRequest, verify_pb2.VerifyReply
)
REPAIR: Final = Method(
    "/kvnode.v1.Verification/Repair", verify_pb2.RepairRequest, verify_pb2.RepairReply
)

LAST_ANSWERS_S: Final = 60.0
"""After the deadline of a comparison: its last round has to end."""

READ_ALL_S: Final = 3_600.0
"""For nodes to read all they have stored."""


class Admin:
    """Questions to the first endpoint that answers. Every call raises a KvnodeError if it fails."""

    def __init__(self, driver: ThreadDriver, calls: Calls) -> None:
        self._driver = driver
        self._calls = calls

    def __repr__(self) -> str:
        """The addresses that may be asked."""
        return f"Admin({','.join(self.endpoints)!r})"

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The addresses that may be asked."""
        return self._calls.failover.addresses

    def ask(self, method: Method[RequestT, ReplyT], request: RequestT) -> ReplyT:
        """The reply to a question of any service."""
        deadline = self._calls.deadline(None)
        return self._driver.run(self._calls.failover.read(method, request, deadline))

    def status(self) -> admin_pb2.StatusResponse:
        """The node, its peers, its log and its checkpoint."""
        return self.ask(STATUS, admin_pb2.StatusRequest())

    def inspect(self, key: bytes | str) -> admin_pb2.InspectResponse:
        """Everything kept under a key, visible or not. KeyNotFound if nothing is."""
        return self.ask(INSPECT, admin_pb2.InspectRequest(key=key_bytes(key)))

    def collection_status(self) -> gc_pb2.CollectionStatusResponse:
        """Which remains of deletes wait for being collected, and for whom."""
        return self.ask(COLLECTION_STATUS, gc_pb2.CollectionStatusRequest())

    def verify(
        self, *, prefix: bytes | str = b"", deadline_s: float = 20.0, full: bool = False
    ) -> Iterator[verify_pb2.VerifyReply]:
        """Whether all members hold the same: progress, and in the last reply the verdict.

        ``deadline_s`` is how long to go on while writes come; ``full`` lets every member read all
        it has stored first.
        """
        request = verify_request(prefix, deadline_s, full=full)
        limit_s = READ_ALL_S if full else deadline_s + LAST_ANSWERS_S
        return self._driver.stream(VERIFY, request, self._place(), limit_s)

    def repair(
        self, keys: Iterable[bytes | str] = (), *, deadline_s: float = 60.0
    ) -> Iterator[verify_pb2.RepairReply]:
        """Heal keys, without any: everything; progress, and in the last reply what became of them.

        What is damaged on the node is healed from members; where members differ, all get what any
        of them holds.
        """
        request = repair_request(keys, deadline_s)
        return self._driver.stream(REPAIR, request, self._place(), READ_ALL_S)

    def _place(self) -> Any:
        return self._calls.failover.place(self._calls.deadline(None))


class AsyncAdmin:
    """The same on an event loop."""

    def __init__(self, driver: LoopDriver, calls: Calls) -> None:
        self._driver = driver
        self._calls = calls

    def __repr__(self) -> str:
        """The addresses that may be asked."""
        return f"AsyncAdmin({','.join(self.endpoints)!r})"

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The addresses that may be asked."""
        return self._calls.failover.addresses

    async def ask(self, method: Method[RequestT, ReplyT], request: RequestT) -> ReplyT:
        """The reply to a question of any service."""
        deadline = self._calls.deadline(None)
        return await self._driver.run(self._calls.failover.read(method, request, deadline))

    async def status(self) -> admin_pb2.StatusResponse:
        """As ``Admin.status``."""
        return await self.ask(STATUS, admin_pb2.StatusRequest())

    async def inspect(self, key: bytes | str) -> admin_pb2.InspectResponse:
        """As ``Admin.inspect``."""
        return await self.ask(INSPECT, admin_pb2.InspectRequest(key=key_bytes(key)))

    async def collection_status(self) -> gc_pb2.CollectionStatusResponse:
        """As ``Admin.collection_status``."""
        return await self.ask(COLLECTION_STATUS, gc_pb2.CollectionStatusRequest())

    def verify(
        self, *, prefix: bytes | str = b"", deadline_s: float = 20.0, full: bool = False
    ) -> AsyncIterator[verify_pb2.VerifyReply]:
        """As ``Admin.verify``."""
        request = verify_request(prefix, deadline_s, full=full)
        limit_s = READ_ALL_S if full else deadline_s + LAST_ANSWERS_S
        return self._driver.stream(VERIFY, request, self._place(), limit_s)

    def repair(
        self, keys: Iterable[bytes | str] = (), *, deadline_s: float = 60.0
    ) -> AsyncIterator[verify_pb2.RepairReply]:
        """As ``Admin.repair``."""
        request = repair_request(keys, deadline_s)
        return self._driver.stream(REPAIR, request, self._place(), READ_ALL_S)

    def _place(self) -> Any:
        return self._calls.failover.place(self._calls.deadline(None))


def verify_request(
    prefix: bytes | str, deadline_s: float, *, full: bool
) -> verify_pb2.VerifyRequest:
    """Checked."""
    return verify_pb2.VerifyRequest(
        prefix=bound_bytes(prefix, "prefix"), deadline_ms=round(deadline_s * 1000), full=full
    )


def repair_request(keys: Iterable[bytes | str], deadline_s: float) -> verify_pb2.RepairRequest:
    """Checked; no keys mean all."""
    asked = [key_bytes(key) for key in key_column(keys)]
    return verify_pb2.RepairRequest(keys=asked, all=not asked, deadline_ms=round(deadline_s * 1000))
