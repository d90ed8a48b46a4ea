"""What a failed call means for those who wait for it: the words in which they are told."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import TypeAlias

from kvnode.client.channels import Endpoint
from kvnode.client.lanes import Entry
from kvnode.client.status import Failure, Fate, failure_of_status
from kvnode.errors import (
    KvnodeError,
    NodeFailure,
    NodeUnavailable,
    RequestRefused,
    ResourceExhausted,
)
from kvnode.v1 import kv_pb2

Problems: TypeAlias = Sequence[tuple[Endpoint, KvnodeError | None]]
"""Which endpoint gave what; None: it could not be reached."""


def answers_of(
    reply: kv_pb2.WriteManyResponse, entries: Sequence[Entry], endpoint: Endpoint
) -> list[object] | Failure:
    """An answer to each, a reply with its address or a Failure; one Failure if they do not fit."""
    if len(reply.outcomes) != len(entries):
        return misfit(f"{len(entries)} requests sent, {len(reply.outcomes)} outcomes")
    return [outcome_of(outcome, endpoint) for outcome in reply.outcomes]


def misfit(what: str) -> Failure:
    """Of a reply that tells of more or less than was sent: nobody knows what became of which."""
    return Failure(Fate.LOST, NodeFailure(what), None)


def outcome_of(outcome: kv_pb2.WriteManyResponse.Outcome, endpoint: Endpoint) -> object:
    """One request's answer among several."""
    if outcome.HasField("error"):
        return failure_of_status(outcome.error, endpoint.address)
    return (outcome.response, endpoint.address)


def refuse(entry: Entry, failure: Failure) -> None:
    """Settle with what the node said; what was done all the same comes along."""
    if failure.reply is not None:
        entry.reply = (failure.reply, entry.endpoint)
    entry.fail(raised(failure))


def raised(failure: Failure) -> KvnodeError:
    """An exception of its own for each caller: raised twice, one would mix their tracebacks."""
    error = another(failure.exception)
    error.__cause__ = failure.cause
    return error


def another(error: KvnodeError) -> KvnodeError:
    """The same exception, not yet raised."""
    made = copy(error)
    made.__cause__ = error.__cause__
    return made


def unknown(entry: Entry) -> None:
    """Settle what nobody can tell."""
    assert entry.unknown is not None, "only after a lost reply"
    entry.fail(entry.unknown)


def is_final(failure: Failure) -> bool:
    """Whether asking the same node again can not bring the outcome of the first request."""
    if failure.fate is Fate.REFUSED:
        return not isinstance(failure.exception, ResourceExhausted)
    return failure.fate is Fate.BROKEN


def wished_pause_s(failure: Failure) -> float | None:
    """How long the node wants to be left alone."""
    refused = failure.exception
    return refused.retry_after_s if isinstance(refused, RequestRefused) else None


def summary(problems: Problems) -> KvnodeError:
    """What the last endpoint that was reached gave, naming what every endpoint gave."""
    said = [problem for _, problem in problems if problem is not None]
    if len(problems) == 1 and said:
        return said[0]
    if not said:
        names = ", ".join(unreached(endpoint, "") for endpoint, _ in problems)
        return NodeUnavailable(f"no node can be reached at {names}")
    combined = another(said[-1])
    combined.args = (
        "no endpoint answered: "
        + "; ".join(
            unreached(endpoint, " cannot be reached") if problem is None else str(problem)
            for endpoint, problem in problems
        ),
    )
    combined.__cause__ = said[-1]
    return combined


def unreached(endpoint: Endpoint, verb: str) -> str:
    """An endpoint that could not be reached, and why if gRPC told."""
    why = f" ({endpoint.trouble})" if endpoint.trouble else ""
    return f"{endpoint.address}{verb}{why}"
