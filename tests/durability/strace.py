"""What ``strace`` wrote of a process, as calls with a beginning and an end.

A call of one thread that others interrupt is told in two lines; the numbers of its lines are the
clock: strace writes the first before the kernel acts, and the second after it has.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

STRACE: Final = shutil.which("strace") or ""
CALLS: Final = (
    "openat", "fsync", "fdatasync", "msync", "pwrite64", "pwritev", "writev", "write", "sendmsg",
    "sendto",
)  # fmt: skip
STRING_BYTES_MAX: Final = 1 << 20
LINE: Final = re.compile(r"(?P<thread>\d+) +(?P<rest>.*)", re.DOTALL)
UNFINISHED: Final = re.compile(r"(?P<name>\w+)\((?P<arguments>.*) <unfinished \.\.\.>", re.DOTALL)
RESUMED: Final = re.compile(r"<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)", re.DOTALL)
WHOLE: Final = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>.*)", re.DOTALL)


def command(output: Path) -> list[str]:
    """What to put before a command so that its calls are written to ``output``.

    The process is the command itself, strace a grandchild that ends after it (``is_complete``).
    """
    return [
        STRACE, "-D", "-f", "--seccomp-bpf", "-q", "-yy", "-s", str(STRING_BYTES_MAX),
        "-e", f"trace={','.join(CALLS)}", "-e", "signal=none", "-o", str(output),
    ]  # fmt: skip


@dataclass(slots=True)
class Call:
    """One system call."""

    name: str
    arguments: str
    result: str
    begun: int
    ended: int

    @property
    def target(self) -> str:
        """The file or socket of its first argument: ``5</data/v1/log/data.mdb>``."""
        return self.arguments.partition(",")[0]


def is_complete(output: Path, process: int) -> bool:
    """Whether strace has written down the end of the process."""
    with output.open("rb") as trace:
        trace.seek(max(0, output.stat().st_size - 1000))
        # numbers of fewer than five digits are filled up with blanks
        return re.search(rb"(?m)^%d +\+\+\+ " % process, trace.read()) is not None


def calls(output: Path) -> Iterator[Call]:
    """All calls that ended, in the order in which they did."""
    open_calls: dict[str, Call] = {}
    with output.open(errors="replace") as lines:
        for number, line in enumerate(lines):
            match = LINE.fullmatch(line.rstrip("\n"))
            assert match, f"line {number} is not strace's: {line[:100]!r}"
            thread, rest = match["thread"], match["rest"]
            if rest.startswith(("+++", "---")):
                continue
            if begun := UNFINISHED.fullmatch(rest):
                open_calls[thread] = Call(begun["name"], begun["arguments"], "", number, number)
            elif resumed := RESUMED.fullmatch(rest):
                call = open_calls.pop(thread)
                whole = WHOLE.fullmatch(f"{call.name}({call.arguments}{resumed['rest']}")
                assert whole, f"line {number} ends no call: {line[:100]!r}"
                yield Call(call.name, whole["arguments"], whole["result"], call.begun, number)
            elif whole := WHOLE.fullmatch(rest):
                yield Call(whole["name"], whole["arguments"], whole["result"], number, number)
    for call in open_calls.values():
        yield Call(call.name, call.arguments, "?", call.begun, 1 << 62)
