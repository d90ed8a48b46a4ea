"""Deterministic simulation: whole clusters of production nodes in one process, from one seed.

Run it with ``python -m tests.sim``; see ``tests/sim/__main__.py``.
"""
