"""A flipped bit anywhere in log, state or identity: ``python -m tests.durability.flips``.

Half of the positions are drawn from all bytes, half from where LMDB's own structure is: the first
bytes of a page, which say what it is and where its rows are.

What may come of one: nothing (free pages, old copies); a *refused* start; a *report*, in the log or
to who asks for what is damaged; a node that *stops*. LMDB may also end the process by a signal. The
directory then was not closed, and the next start has to say what is wrong without dying of it.
What must not come of one: a false answer without a word, a traceback, a second death.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from .apart import apart
from .specimen import Account, Findings, examine, lies, look_only, make

PAGE_BYTES = 4096
HEAD_BYTES = 64
FILES = ("v1/log/data.mdb", "v1/state/data.mdb", "v1/identity.json")
TAIL = "v1/log/tail"
"""Nothing of it is needed here; ``tests/storage/test_tail.py`` flips what is."""


@dataclass
class Flips:
    """What came of all of them."""

    outcomes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """For people."""
        lines = [f"{count:6,}  {outcome}" for outcome, count in self.outcomes.most_common()]
        return "\n".join([*lines, f"{len(self.problems):6,}  problems", *self.problems[:20]])


class Specimen:
    """A made directory that can be damaged and made whole again."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "specimen"
        made = apart(make, self.path)
        assert not (made.trace + made.signal), made
        self.whole = {name: (self.path / name).read_bytes() for name in (*FILES, TAIL)}
        self.right = self.account()

    def account(self) -> Account:
        """What it says now."""
        found = apart(look_only, self.path).value
        assert found.account, found
        account: Account = found.account
        return account

    def restore(self) -> None:
        """Make it whole, in place: a copy would get a new identity."""
        for name, raw in self.whole.items():
            (self.path / name).write_bytes(raw)

    def stopped_cleanly(self) -> None:
        """Let it look so: nothing is looked at first when it starts."""
        (self.path / "LOCK").write_bytes(b"")


def flip(specimen: Specimen, name: str, position: int, bit: int) -> tuple[str, str]:
    """What came of this one: its kind, and what is wrong about it, empty if nothing."""
    raw = bytearray(specimen.whole[name])
    raw[position] ^= 1 << bit
    (specimen.path / name).write_bytes(raw)
    specimen.stopped_cleanly()
    try:
        ended = apart(examine, specimen.path)
        if not ended.signal:
            return judged(specimen.right, ended.value, ended.trace)
        kind = f"died once of {ended.signal}, then refused"
        ended = apart(examine, specimen.path)
        if ended.value is not None and ended.value.refused:
            return kind, ""
        return kind, f"not refused after a death, but {ended}"[:500]
    finally:
        specimen.restore()


def judged(right: Account, found: Findings | None, trace: str) -> tuple[str, str]:
    """The kind of a process that ended by itself, and what is wrong about it."""
    if found is None:
        return "traceback", trace[-300:]
    false = lies(right, found)
    if found.refused:
        return "start refused", ""
    if found.failed:
        return "stopped", ""
    if false and not found.reported:
        return "false without a word", ", ".join(false)
    return ("reported" if found.reported else "nothing came of it"), ""


def flips(specimen: Specimen, count: int, seed: int) -> Flips:
    """So many of them, one after the other."""
    chance = random.Random(seed)
    found = Flips()
    for _ in range(count):
        name = chance.choices(FILES, (10, 10, 1))[0]
        size = len(specimen.whole[name])
        position = chance.randrange(size)
        if name.endswith(".mdb") and chance.random() < 0.5:
            position -= position % PAGE_BYTES - chance.randrange(HEAD_BYTES)
        bit = chance.randrange(8)
        kind, problem = flip(specimen, name, position, bit)
        found.outcomes[f"{name.split('/')[1]:14} {kind}"] += 1
        if problem:
            found.problems.append(f"{name} byte {position} bit {bit}: {kind}: {problem}")
    return found


def main() -> int:
    """Run it; 1 if there was a problem."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.durability.flips", description=main.__doc__
    )
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        found = flips(Specimen(Path(folder)), options.flips, options.seed)
    print(found)
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())
