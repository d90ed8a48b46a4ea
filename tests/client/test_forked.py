"""A client that was used is not the child's after a fork."""

from __future__ import annotations

import subprocess
import sys

from tests.client.scripted import ScriptedNode

PROGRAM = """
import os, sys
from kvnode import Client

used, unused = Client(sys.argv[1]), Client(sys.argv[1])
used.put("k", "v")
child = os.fork()
if child == 0:
    try:
        used.get("k")
    except RuntimeError as error:
        print(error)
    print(unused.get("k").text, flush=True)
    os._exit(0)
os.waitpid(child, 0)
print("parent", used.get("k").text)
"""


def test_a_client_that_was_used_is_closed_in_a_child(node: ScriptedNode) -> None:
    """gRPC's threads are not there, and its connections would have two processes writing."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, node.address],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "this client is closed, or was used before its process was forked",
        "v",
        "parent v",
    ]
