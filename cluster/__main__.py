"""``python -m cluster chaos|demo|local [ARGUMENT]...``: what the scripts of these names run.

The programs take a third of a second to import, in which Ctrl-C would print where in the imports it
hit; so it is seen to before.
"""

from __future__ import annotations

import sys

from cluster.interruption import end_when_interrupted


def main() -> None:
    """Run the program named first with the arguments after it; exit code 2 if there is none."""
    end_when_interrupted()
    program, *arguments = sys.argv[1:] or [""]
    match program:
        case "chaos":
            from cluster import chaos

            chaos.main(arguments, prog_name="./cluster/chaos")
        case "demo":
            from cluster import demo

            demo.main(arguments, prog_name="./cluster/demo")
        case "local":
            from cluster import local

            local.main(arguments, prog_name="./cluster/local")
        case _:
            sys.stderr.write("Usage: python -m cluster chaos|demo|local [ARGUMENT]...\n")
            sys.exit(2)


if __name__ == "__main__":
    main()
