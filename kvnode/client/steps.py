"""What the client's policy asks its driver to do.

Everything the client decides (which endpoint, when again, what an answer means, who shares a call)
is written once, as generators that do no I/O: they yield steps and are sent what came of them. A
driver carries the steps out, with threads (``threads.py``) or on an event loop (``loops.py``).

=============  ==============================================  ============================
step           the driver                                      sends back
=============  ==============================================  ============================
``Send``       makes one call of one node                      the reply, or gRPC's error
``Pause``      waits                                           True if the client was closed
``Look``       asks after a node's health, without waiting     nothing
``StepAside``  lets the next flight of the lane begin now      nothing
``Submit``     has a caller's request carried out              nothing; the entry holds it
=============  ==============================================  ============================

A client that was closed meanwhile raises RuntimeError at the step.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from kvnode.client.channels import Endpoint, Method
    from kvnode.client.lanes import Entry


@dataclass(slots=True)
class Send:
    """One call. ``wait``: for the connection too, where gRPC rests between two attempts."""

    endpoint: Endpoint
    method: Method[Any, Any]
    request: Message | bytes
    timeout_s: float
    wait: bool = False


@dataclass(slots=True)
class Pause:
    """Nothing for a while."""

    seconds: float


@dataclass(slots=True)
class Look:
    """Ask after the health of a node that rests; ``Failover.looked`` is told the answer."""

    endpoint: Endpoint


@dataclass(slots=True)
class StepAside:
    """This flight may take until its deadline: the next need not wait for it."""


@dataclass(slots=True)
class Submit:
    """A caller's request, to be carried out together with others'."""

    entry: Entry


Step: TypeAlias = Send | Pause | Look | StepAside | Submit
ResultT = TypeVar("ResultT")
Steps: TypeAlias = Generator[Step, Any, ResultT]
