"""Which sums a set of increments can make, if each may or may not have happened.

Exact while it is cheap: the reachable sums are the bits of one integer. Beyond ``BITS_MAX`` only
the bounds and the common divisor are kept, which is sound: it may accept a sum that cannot be.
"""

from __future__ import annotations

from math import gcd

BITS_MAX = 1 << 16


class Sums:
    """All sums of subsets of some amounts."""

    __slots__ = ("_bits", "high", "low", "step")

    def __init__(self) -> None:
        self.low = 0
        self.high = 0
        self.step = 0
        """Common divisor of the amounts."""
        self._bits: int | None = 1
        """Bit i: the sum ``low + i``."""

    def plus(self, amount: int) -> Sums:
        """With one more that may have happened."""
        more = Sums()
        more.step = gcd(self.step, amount)
        more.low = self.low + min(amount, 0)
        more.high = self.high + max(amount, 0)
        exact = self._bits is not None and more.high - more.low <= BITS_MAX
        # relative to the new lowest sum both halves are shifted to the right place by one rule:
        # without a taking amount, or with a giving one, a sum moves up by the amount's size
        more._bits = self._bits | self._bits << abs(amount) if exact and self._bits else None
        return more

    def __contains__(self, total: int) -> bool:
        if not self.low <= total <= self.high:
            return False
        if self._bits is not None:
            return bool(self._bits >> (total - self.low) & 1)
        return self.step > 0 and total % self.step == 0

    def between(self, low: int, high: int) -> bool:
        """Whether any sum lies there, ends included."""
        low, high = max(low, self.low), min(high, self.high)
        if low > high:
            return False
        if self._bits is not None:
            width = high - low + 1
            return bool(self._bits >> (low - self.low) & ((1 << width) - 1))
        return self.step > 0 and high // self.step * self.step >= low
