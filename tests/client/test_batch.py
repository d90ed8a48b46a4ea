"""A batch: collected in one block, written once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from kvnode import AsyncBatch, AsyncClient, Batch, Client, NodeUnavailable
from tests.client.scripted import ScriptedNode, free_port

MISUSES: list[Callable[[Batch | AsyncBatch], None]] = [
    lambda batch: batch.put("k", "v"),
    lambda batch: batch.increment("k"),
    lambda batch: batch.delete("k"),
]


def test_a_batch_is_written_once_however_often_it_is_entered(
    client: Client, node: ScriptedNode
) -> None:
    with client.batch() as batch:
        batch.put("k", "v")
    with pytest.raises(RuntimeError, match="take a new one"), batch:
        pytest.fail("it was entered")
    with pytest.raises(RuntimeError, match="take a new one"), client.batch() as outer, outer:
        pytest.fail("it was entered")
    assert len(node.calls) == 1


@pytest.mark.parametrize("misuse", MISUSES)
def test_a_batch_takes_operations_in_its_block_only(
    client: Client, node: ScriptedNode, misuse: Callable[[Batch | AsyncBatch], None]
) -> None:
    with pytest.raises(RuntimeError, match="in its with block only"):
        misuse(client.batch())
    with client.batch() as batch:
        pass
    with pytest.raises(RuntimeError, match="in its with block only"):
        misuse(batch)
    assert node.calls == []


def test_a_batch_that_failed_is_over() -> None:
    """To enter it again would be another write, under another request id."""
    with Client(f"127.0.0.1:{free_port()}") as client:
        batch = client.batch(timeout_s=0.2)
        with pytest.raises(NodeUnavailable), batch:
            batch.put("k", "v")
        with pytest.raises(RuntimeError, match="take a new one"), batch:
            pytest.fail("it was entered")


def test_with_asyncio_as_well(node: ScriptedNode) -> None:
    async def use() -> None:
        async with AsyncClient(node.address) as client:
            async with client.batch() as batch:
                batch.put("k", "v")
            with pytest.raises(RuntimeError, match="take a new one"):
                async with batch:
                    pytest.fail("it was entered")
            for misuse in MISUSES:
                for outside in (batch, client.batch()):
                    with pytest.raises(RuntimeError, match="in its with block only"):
                        misuse(outside)

    asyncio.run(use())
    assert len(node.calls) == 1
