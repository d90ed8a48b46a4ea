"""``python -m kvnode``: the same as the command ``kvnode``."""

from kvnode.cli.main import main

if __name__ == "__main__":
    main()
