"""A client that was used is not the child's after a fork."""

from __future__ import annotations

import subprocess
import sys

from tests.client.scripted import ScriptedNode

PROGRAM = """
import asyncio, os, sys
from kvnode import AsyncClient, Client

def put_two(client):
    async def work():
        async with client:
            await asyncio.gather(client.put("k", "v"), client.put("k", "v"))
    asyncio.run(work())

put_two(AsyncClient(sys.argv[1]))
used, unused = Client(sys.argv[1]), Client(sys.argv[1])
used.put("k", "v")
child = os.fork()
if child == 0:
    try:
        used.get("k")
    except RuntimeError as error:
        print(error)
    print(unused.get("k").text, flush=True)
    put_two(AsyncClient(sys.argv[1]))
    os._exit(0)
os.waitpid(child, 0)
print("parent", used.get("k").text)
put_two(AsyncClient(sys.argv[1]))
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
    assert node.methods.count("WriteMany") == 3
    assert len(set(node.request_ids)) == len(node.request_ids) == 7, "no id is drawn twice"
