"""What a node shows of its cluster to people who look for a name."""

from __future__ import annotations

from pathlib import Path

import grpc

from kvnode.core.operations import Put
from kvnode.core.types import LWW_REGISTER
from kvnode.v1 import membership_pb2 as pb
from kvnode.v1.membership_pb2_grpc import MembershipStub
from tests.node.nodes import Nodes, run


def test_status_and_members_are_in_the_order_of_names(tmp_path: Path) -> None:
    """Origins are random: five of them are in that order by chance once in 120 runs."""
    names = "abcde"
    nodes = Nodes(tmp_path, names)

    async def test() -> None:
        await nodes.start(*names)
        for name in names:
            await nodes.write(name, Put(name.encode(), b"1", LWW_REGISTER))
        await nodes.settle(*names)
        assert [each.node for each in nodes["c"].status().vector] == [*names]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{nodes['c'].port}") as channel:
            found = await MembershipStub(channel).Members(pb.MembersRequest())  # type: ignore[no-untyped-call]
        assert [member.name for member in found.members] == [*names]

    run(nodes, test)
