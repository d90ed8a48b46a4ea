"""All checkers over one history, and their verdicts as a table.

What a driver gives decides how strict they can be:

- reads by BatchGet: it returns the node's vector also for keys that are absent (a read without a
  vector is judged by its values alone);
- ``before`` of each write, from its block, where the driver can look inside: without it, what an
  "observed" write replaced is known in bounds;
- the dots of writes with an unknown outcome that did happen, and then ``settled``: without them,
  such a write excuses what it may have replaced, and an increment any sum it may be part of;
- of each final ``at_ms``, where values expire, and ``journal``, where it is large enough for all;
- ``lost_origins`` and ``reissued``, from what was done on purpose;
- faults by the names in ``UNCLEAN`` and ``STARTS_OVER``, "join" and "forget" and "leave" with the
  node that it is about first.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.checkers.batches import batches
from tests.checkers.causality import causality
from tests.checkers.convergence import convergence
from tests.checkers.counters import counters
from tests.checkers.durability import durability
from tests.checkers.expiry import SKEW_MS, expiry
from tests.checkers.facts import Facts
from tests.checkers.history import History, Verdict
from tests.checkers.reads import reads
from tests.checkers.registers import registers
from tests.checkers.sessions import sessions
from tests.checkers.siblings import siblings
from tests.checkers.watches import watches


def judge(history: History, *, skew_ms: int = SKEW_MS) -> list[Verdict]:
    """What is wrong with the history; nothing, if no verdict has findings.

    Args:
        skew_ms: how far the nodes' wall clocks were off, at most (for values that expire).
    """
    facts = Facts(history)
    all_reads = reads(facts)
    return [
        durability(facts),
        siblings(facts, all_reads, skew_ms),
        counters(facts, all_reads),
        registers(facts, all_reads, skew_ms),
        expiry(facts, all_reads, skew_ms),
        batches(facts, all_reads),
        causality(facts),
        sessions(facts),
        watches(facts),
        convergence(facts),
    ]


def clean(verdicts: Iterable[Verdict]) -> bool:
    """Whether nothing was found."""
    return not any(verdict.lost or verdict.unexpected for verdict in verdicts)


def table(verdicts: Iterable[Verdict]) -> str:
    """For people: a line of counts per checker, the findings below."""
    verdicts = list(verdicts)
    lines = [f"{'checker':<12}{'ok':>10}{'lost':>8}{'unexpected':>12}{'recovered':>11}"]
    lines += [
        f"{v.checker:<12}{v.ok:>10}{v.lost:>8}{v.unexpected:>12}{v.recovered:>11}" for v in verdicts
    ]
    for verdict in verdicts:
        lines += [f"{finding.checker}: {finding.text}" for finding in verdict.findings]
        more = verdict.lost + verdict.unexpected - len(verdict.findings)
        if more:
            lines.append(f"{verdict.checker}: and {more} more")
    return "\n".join(lines)
