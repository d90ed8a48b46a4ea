"""``python -m bench [QUESTION]...``: what ``./bench/run`` runs."""

from __future__ import annotations

from cluster.interruption import end_when_interrupted


def main() -> None:
    """Ctrl-C during the imports ends it at once: there is nothing to clear yet."""
    end_when_interrupted()
    from bench.command import main as run

    run(prog_name="./bench/run")


if __name__ == "__main__":
    main()
