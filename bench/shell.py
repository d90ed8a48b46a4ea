"""How long does ``kvnode get`` take from the shell, process start included?

``python -m bench.shell [--times N]``: beside it stand an empty Python process and one that only
imports grpc, because those two are most of it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from bench.report import heading, line
from cluster.processes import LocalCluster
from kvnode import Client


def milliseconds(*command: str) -> float:
    """Wall time of a process from start to end."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - started) * 1e3


@click.command()
@click.option("--times", default=20, show_default=True, help="Runs of each command.")
def main(times: int) -> None:
    """Print the time of one get from the shell."""
    click.echo(heading("kvnode get from the shell"))
    with TemporaryDirectory() as directory, LocalCluster(1, directory=Path(directory)) as cluster:
        endpoint = cluster.endpoint("n1")
        with Client(endpoint) as client:
            client.put("key", "value")
        python = sys.executable
        commands = {
            "python -c pass": (python, "-c", "pass"),
            "python -c 'import grpc'": (python, "-c", "import grpc"),
            "kvnode get": (python, "-m", "kvnode", "-e", endpoint, "get", "key"),
        }
        for name, command in commands.items():
            milliseconds(*command)
            click.echo(line(name, [milliseconds(*command) for _ in range(times)], "ms"))


if __name__ == "__main__":
    main()
