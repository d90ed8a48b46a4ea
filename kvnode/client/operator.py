"""What operators ask of a node, beside the data: one method per call of the Membership service.

Not part of ``kvnode.Client``: applications do not change the cluster they use.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from kvnode.client.channels import Method, ReplyT, RequestT, addresses_of
from kvnode.client.dialling import Dialler, Folder
from kvnode.client.failover import Failover
from kvnode.client.threads import ThreadDriver
from kvnode.v1 import membership_pb2 as pb

SERVICE = "/kvnode.v1.Membership/"


class Operator:
    """A connection to one node; every call raises a ``KvnodeError`` if it fails."""

    def __init__(
        self, endpoints: str | Sequence[str], *, timeout_s: float, tls: Folder | None = None
    ) -> None:
        """Only the first endpoint is used: a change is asked of one node, once."""
        self._failover = Failover(addresses_of(endpoints)[:1], time.monotonic, Dialler(tls))
        self._driver = ThreadDriver(self._failover)
        self._timeout_s = timeout_s

    def __enter__(self) -> Operator:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._driver.close()

    def members(self) -> pb.MembersResponse:
        """Who is or was a member, and what waits for whom."""
        method = Method(SERVICE + "Members", pb.MembersRequest, pb.MembersResponse)
        return self._ask(method, pb.MembersRequest())

    def join(self, name: str, address: str, *, preview: bool) -> pb.ChangeResponse:
        """Take in the node that waits at ``address``."""
        method = Method(SERVICE + "Join", pb.JoinRequest, pb.ChangeResponse)
        request = pb.JoinRequest(name=name, address=address, preview=preview)
        return self._ask(method, request)

    def replace(self, name: str, address: str, *, preview: bool) -> pb.ChangeResponse:
        """Let the node that waits at ``address`` take member ``name``'s place."""
        method = Method(SERVICE + "Replace", pb.ReplaceRequest, pb.ChangeResponse)
        request = pb.ReplaceRequest(name=name, address=address, preview=preview)
        return self._ask(method, request)

    def forget(self, name: str, *, preview: bool) -> pb.ChangeResponse:
        """Take nothing more from member ``name``, for good."""
        method = Method(SERVICE + "Forget", pb.ForgetRequest, pb.ChangeResponse)
        return self._ask(method, pb.ForgetRequest(name=name, preview=preview))

    def leave(self, *, preview: bool) -> pb.ChangeResponse:
        """Let the asked node hand over what it has and be forgotten."""
        method = Method(SERVICE + "Leave", pb.LeaveRequest, pb.ChangeResponse)
        return self._ask(method, pb.LeaveRequest(preview=preview))

    def _ask(self, method: Method[RequestT, ReplyT], request: RequestT) -> ReplyT:
        deadline = time.monotonic() + self._timeout_s
        return self._driver.run(self._failover.read(method, request, deadline))
