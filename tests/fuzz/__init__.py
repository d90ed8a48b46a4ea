"""Bytes that nobody meant: every decoder and every RPC takes them, or refuses them as documented.

``python -m tests.fuzz --inputs 100000`` tries that many inputs on each decoder and prints a table;
pytest runs a slice of it. ``corpus/`` holds small valid inputs (``python -m tests.fuzz.corpus``
makes them); ``mutations`` changes them, ``targets`` says what each decoder promises.
"""
