"""Ranges of keys."""

from __future__ import annotations


def prefix_end(prefix: bytes) -> bytes:
    """The first key behind all that start with ``prefix``; empty if there is none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else b""
