"""The calls of the KeyValue service."""

from __future__ import annotations

from typing import Final

from kvnode.client.channels import Method
from kvnode.v1 import kv_pb2 as pb

SERVICE: Final = "/kvnode.v1.KeyValue/"

BATCH_GET: Final = Method(SERVICE + "BatchGet", pb.BatchGetRequest, pb.BatchGetResponse)
SCAN: Final = Method(SERVICE + "Scan", pb.ScanRequest, pb.ScanResponse)
LIST_CONFLICTS: Final = Method(
    SERVICE + "ListConflicts", pb.ListConflictsRequest, pb.ListConflictsResponse
)
WRITE: Final = Method(SERVICE + "Write", pb.WriteRequest, pb.WriteResponse)
"""One caller's write, of one operation or an atomic batch."""
WRITE_MANY: Final = Method(SERVICE + "WriteMany", pb.WriteManyRequest, pb.WriteManyResponse)
"""Those of several."""
WRITE_STREAM: Final = Method(SERVICE + "WriteStream", pb.WriteManyRequest, pb.WriteManyResponse)
OUTCOME: Final = Method(SERVICE + "Outcome", pb.OutcomeRequest, pb.OutcomeResponse)
