"""``python -m tests.fuzz --inputs 100000``: every decoder, a table, exit code 1 after a crash."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from .targets import targets
from .trial import Result, trial

COLUMNS = (
    "decoder", "inputs", "inputs/s", "accepted", "refused", "crashes", "slowest ms", "largest KiB",
    "kept KiB",
)  # fmt: skip


def row(result: Result) -> list[str]:
    """A line of the table."""
    return [
        result.name,
        f"{result.inputs:,}",
        f"{result.inputs / result.seconds:,.0f}",
        f"{result.accepted:,}",
        f"{result.refused:,}",
        f"{result.crashed:,}",
        f"{result.slowest_ms:.1f}",
        f"{result.allocated_bytes / 1024:,.0f}",
        f"{result.kept_bytes / 1024:,.0f}",
    ]


def main() -> int:
    """Run it; 1 if anything crashed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="per decoder")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("decoders", nargs="*", help="only these")
    options = parser.parse_args()
    crashed = 0
    print("  ".join(f"{name:>14}" for name in COLUMNS))
    with TemporaryDirectory() as folder:
        for target in targets(Path(folder)):
            if options.decoders and target.name not in options.decoders:
                continue
            result = trial(target, options.inputs, options.seed)
            print("  ".join(f"{cell:>14}" for cell in row(result)), flush=True)
            for crash in result.crashes[:5]:
                print(f"    {crash.what[:300]}\n    input: {crash.raw.hex()[:400]}")
            crashed += result.crashed
    return 1 if crashed else 0


if __name__ == "__main__":
    sys.exit(main())
