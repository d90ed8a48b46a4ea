"""What a run comes to, for people: what was done to it, and how it really recovered."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from tests.checkers.history import Finding, History, Verdict
from tests.nemesis.run import Ran

LOGGED: Final = {
    "starts of a node": re.compile(r"^kvnode \S+ serving on", re.MULTILINE),
    "nodes that stopped themselves": re.compile(r"kvnode\.node\.engine: the node stops"),
    "links that broke": re.compile(r"peer \S+ unreachable"),
    "logs cut past a member": re.compile(r"was cut although members lack"),
    "snapshots merged": re.compile(r"the snapshot of \S+ is merged"),
}
"""What a node says in its log when it happens."""


def own_verdict(ran: Ran) -> Verdict:
    """What is wrong and is no call: nodes that ended by themselves, faults that met nothing."""
    findings = [Finding("nemesis", problem) for problem in ran.problems]
    return Verdict(
        "nemesis", ok=sum(ran.times.values()), unexpected=len(findings), findings=findings
    )


def happened(ran: Ran, logs: Iterable[Path]) -> str:
    """Which faults met what, which paths were taken; a line each."""
    calls = ran.history.calls
    outcomes = Counter(call.outcome for call in calls)
    lines = [
        f"{len(calls):,} calls: {outcomes['ok']:,} ok, {outcomes['refused']:,} refused, "
        f"{outcomes['unknown']:,} unknown",
        *_rows("refused", Counter(call.reason for call in calls if call.outcome == "refused")),
        "faults (times, hits)",
        *(f"  {kind:<24} {times:>6,} {ran.hits[kind]:>8,}" for kind, times in ran.times.items()),
        *_rows("paths", paths(ran.history, logs)),
        f"converged {ran.converged_s:.1f} s after all was healed",
    ]
    return "\n".join(lines)


def paths(history: History, logs: Iterable[Path]) -> Counter[str]:
    """How often each way to recover was really taken."""
    found: Counter[str] = Counter()
    for log in logs:
        text = log.read_text(errors="replace")
        for name, pattern in LOGGED.items():
            found[name] += len(pattern.findall(text))
    found["writes asked for again"] = _repeats(history)
    found["answered with an earlier outcome"] = sum(call.repeated for call in history.calls)
    return found


def _repeats(history: History) -> int:
    requests = Counter(call.request for call in history.calls if call.request)
    return sum(count - 1 for count in requests.values())


def _rows(title: str, counts: Counter[str]) -> Sequence[str]:
    return [title, *(f"  {name:<32} {count:>7,}" for name, count in counts.most_common())]
