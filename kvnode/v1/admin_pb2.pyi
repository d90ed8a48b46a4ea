from kvnode.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class OriginStatus(_message.Message):
    __slots__ = ("origin", "node", "seq")
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    origin: int
    node: str
    seq: int
    def __init__(self, origin: _Optional[int] = ..., node: _Optional[str] = ..., seq: _Optional[int] = ...) -> None: ...

class PeerStatus(_message.Message):
    __slots__ = ("name", "address", "origin", "state", "problem", "silent_ms", "behind_ops", "behind_ms", "ahead_ops", "clock_offset_ms", "vector", "unanswered_messages", "behind_bytes", "falls_off_ms", "needs_snapshot")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    SILENT_MS_FIELD_NUMBER: _ClassVar[int]
    BEHIND_OPS_FIELD_NUMBER: _ClassVar[int]
    BEHIND_MS_FIELD_NUMBER: _ClassVar[int]
    AHEAD_OPS_FIELD_NUMBER: _ClassVar[int]
    CLOCK_OFFSET_MS_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    UNANSWERED_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    BEHIND_BYTES_FIELD_NUMBER: _ClassVar[int]
    FALLS_OFF_MS_FIELD_NUMBER: _ClassVar[int]
    NEEDS_SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    name: str
    address: str
    origin: int
    state: str
    problem: str
    silent_ms: int
    behind_ops: int
    behind_ms: int
    ahead_ops: int
    clock_offset_ms: int
    vector: _containers.RepeatedCompositeFieldContainer[OriginStatus]
    unanswered_messages: int
    behind_bytes: int
    falls_off_ms: int
    needs_snapshot: bool
    def __init__(self, name: _Optional[str] = ..., address: _Optional[str] = ..., origin: _Optional[int] = ..., state: _Optional[str] = ..., problem: _Optional[str] = ..., silent_ms: _Optional[int] = ..., behind_ops: _Optional[int] = ..., behind_ms: _Optional[int] = ..., ahead_ops: _Optional[int] = ..., clock_offset_ms: _Optional[int] = ..., vector: _Optional[_Iterable[_Union[OriginStatus, _Mapping]]] = ..., unanswered_messages: _Optional[int] = ..., behind_bytes: _Optional[int] = ..., falls_off_ms: _Optional[int] = ..., needs_snapshot: _Optional[bool] = ...) -> None: ...

class LogStatus(_message.Message):
    __slots__ = ("first_arrival", "last_arrival", "used_bytes", "map_bytes", "file_bytes", "block_bytes", "floor", "retention_ms", "retention_bytes", "bytes_max", "appended_bytes_per_s", "oldest_ms")
    FIRST_ARRIVAL_FIELD_NUMBER: _ClassVar[int]
    LAST_ARRIVAL_FIELD_NUMBER: _ClassVar[int]
    USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAP_BYTES_FIELD_NUMBER: _ClassVar[int]
    FILE_BYTES_FIELD_NUMBER: _ClassVar[int]
    BLOCK_BYTES_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    RETENTION_MS_FIELD_NUMBER: _ClassVar[int]
    RETENTION_BYTES_FIELD_NUMBER: _ClassVar[int]
    BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    APPENDED_BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    OLDEST_MS_FIELD_NUMBER: _ClassVar[int]
    first_arrival: int
    last_arrival: int
    used_bytes: int
    map_bytes: int
    file_bytes: int
    block_bytes: int
    floor: _containers.RepeatedCompositeFieldContainer[OriginStatus]
    retention_ms: int
    retention_bytes: int
    bytes_max: int
    appended_bytes_per_s: int
    oldest_ms: int
    def __init__(self, first_arrival: _Optional[int] = ..., last_arrival: _Optional[int] = ..., used_bytes: _Optional[int] = ..., map_bytes: _Optional[int] = ..., file_bytes: _Optional[int] = ..., block_bytes: _Optional[int] = ..., floor: _Optional[_Iterable[_Union[OriginStatus, _Mapping]]] = ..., retention_ms: _Optional[int] = ..., retention_bytes: _Optional[int] = ..., bytes_max: _Optional[int] = ..., appended_bytes_per_s: _Optional[int] = ..., oldest_ms: _Optional[int] = ...) -> None: ...

class CheckpointStatus(_message.Message):
    __slots__ = ("arrival", "behind_ops", "memtable_keys", "memtable_bytes", "stored_keys", "used_bytes", "map_bytes", "running", "last_ms")
    ARRIVAL_FIELD_NUMBER: _ClassVar[int]
    BEHIND_OPS_FIELD_NUMBER: _ClassVar[int]
    MEMTABLE_KEYS_FIELD_NUMBER: _ClassVar[int]
    MEMTABLE_BYTES_FIELD_NUMBER: _ClassVar[int]
    STORED_KEYS_FIELD_NUMBER: _ClassVar[int]
    USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAP_BYTES_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    LAST_MS_FIELD_NUMBER: _ClassVar[int]
    arrival: int
    behind_ops: int
    memtable_keys: int
    memtable_bytes: int
    stored_keys: int
    used_bytes: int
    map_bytes: int
    running: bool
    last_ms: int
    def __init__(self, arrival: _Optional[int] = ..., behind_ops: _Optional[int] = ..., memtable_keys: _Optional[int] = ..., memtable_bytes: _Optional[int] = ..., stored_keys: _Optional[int] = ..., used_bytes: _Optional[int] = ..., map_bytes: _Optional[int] = ..., running: _Optional[bool] = ..., last_ms: _Optional[int] = ...) -> None: ...

class Fork(_message.Message):
    __slots__ = ("origin", "node", "reason")
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    origin: int
    node: str
    reason: str
    def __init__(self, origin: _Optional[int] = ..., node: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class QuarantineStatus(_message.Message):
    __slots__ = ("records", "bytes", "pushed_out")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    PUSHED_OUT_FIELD_NUMBER: _ClassVar[int]
    records: int
    bytes: int
    pushed_out: int
    def __init__(self, records: _Optional[int] = ..., bytes: _Optional[int] = ..., pushed_out: _Optional[int] = ...) -> None: ...

class Divergence(_message.Message):
    __slots__ = ("peer", "since_ms")
    PEER_FIELD_NUMBER: _ClassVar[int]
    SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    peer: str
    since_ms: int
    def __init__(self, peer: _Optional[str] = ..., since_ms: _Optional[int] = ...) -> None: ...

class Sync(_message.Message):
    __slots__ = ("state", "received_keys", "received_bytes", "total_keys", "total_bytes", "started_ms")
    STATE_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_KEYS_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_KEYS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    STARTED_MS_FIELD_NUMBER: _ClassVar[int]
    state: str
    received_keys: int
    received_bytes: int
    total_keys: int
    total_bytes: int
    started_ms: int
    def __init__(self, state: _Optional[str] = ..., received_keys: _Optional[int] = ..., received_bytes: _Optional[int] = ..., total_keys: _Optional[int] = ..., total_bytes: _Optional[int] = ..., started_ms: _Optional[int] = ..., **kwargs) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("cluster", "name", "origin", "state", "problem", "version", "data_directory", "uptime_ms", "vector", "peers", "log", "checkpoint", "queued_requests", "queued_bytes", "operations_accepted", "operations_refused", "operations_received", "commits", "watches", "buffered_lost", "forks", "clock_offset_ms", "push_buffer_bytes", "anti_entropy_rounds", "quarantine", "diverged", "sync")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DATA_DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    UPTIME_MS_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    QUEUED_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    QUEUED_BYTES_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_REFUSED_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    COMMITS_FIELD_NUMBER: _ClassVar[int]
    WATCHES_FIELD_NUMBER: _ClassVar[int]
    BUFFERED_LOST_FIELD_NUMBER: _ClassVar[int]
    FORKS_FIELD_NUMBER: _ClassVar[int]
    CLOCK_OFFSET_MS_FIELD_NUMBER: _ClassVar[int]
    PUSH_BUFFER_BYTES_FIELD_NUMBER: _ClassVar[int]
    ANTI_ENTROPY_ROUNDS_FIELD_NUMBER: _ClassVar[int]
    QUARANTINE_FIELD_NUMBER: _ClassVar[int]
    DIVERGED_FIELD_NUMBER: _ClassVar[int]
    SYNC_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    name: str
    origin: int
    state: str
    problem: str
    version: str
    data_directory: str
    uptime_ms: int
    vector: _containers.RepeatedCompositeFieldContainer[OriginStatus]
    peers: _containers.RepeatedCompositeFieldContainer[PeerStatus]
    log: LogStatus
    checkpoint: CheckpointStatus
    queued_requests: int
    queued_bytes: int
    operations_accepted: int
    operations_refused: int
    operations_received: int
    commits: int
    watches: int
    buffered_lost: int
    forks: _containers.RepeatedCompositeFieldContainer[Fork]
    clock_offset_ms: int
    push_buffer_bytes: int
    anti_entropy_rounds: int
    quarantine: QuarantineStatus
    diverged: _containers.RepeatedCompositeFieldContainer[Divergence]
    sync: Sync
    def __init__(self, cluster: _Optional[str] = ..., name: _Optional[str] = ..., origin: _Optional[int] = ..., state: _Optional[str] = ..., problem: _Optional[str] = ..., version: _Optional[str] = ..., data_directory: _Optional[str] = ..., uptime_ms: _Optional[int] = ..., vector: _Optional[_Iterable[_Union[OriginStatus, _Mapping]]] = ..., peers: _Optional[_Iterable[_Union[PeerStatus, _Mapping]]] = ..., log: _Optional[_Union[LogStatus, _Mapping]] = ..., checkpoint: _Optional[_Union[CheckpointStatus, _Mapping]] = ..., queued_requests: _Optional[int] = ..., queued_bytes: _Optional[int] = ..., operations_accepted: _Optional[int] = ..., operations_refused: _Optional[int] = ..., operations_received: _Optional[int] = ..., commits: _Optional[int] = ..., watches: _Optional[int] = ..., buffered_lost: _Optional[int] = ..., forks: _Optional[_Iterable[_Union[Fork, _Mapping]]] = ..., clock_offset_ms: _Optional[int] = ..., push_buffer_bytes: _Optional[int] = ..., anti_entropy_rounds: _Optional[int] = ..., quarantine: _Optional[_Union[QuarantineStatus, _Mapping]] = ..., diverged: _Optional[_Iterable[_Union[Divergence, _Mapping]]] = ..., sync: _Optional[_Union[Sync, _Mapping]] = ...) -> None: ...

class InspectRequest(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    def __init__(self, key: _Optional[bytes] = ...) -> None: ...

class CounterSlot(_message.Message):
    __slots__ = ("birth", "node", "incremented", "decremented", "deleted_incremented", "deleted_decremented", "time_ms")
    BIRTH_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    INCREMENTED_FIELD_NUMBER: _ClassVar[int]
    DECREMENTED_FIELD_NUMBER: _ClassVar[int]
    DELETED_INCREMENTED_FIELD_NUMBER: _ClassVar[int]
    DELETED_DECREMENTED_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    birth: _types_pb2.Dot
    node: str
    incremented: int
    decremented: int
    deleted_incremented: int
    deleted_decremented: int
    time_ms: int
    def __init__(self, birth: _Optional[_Union[_types_pb2.Dot, _Mapping]] = ..., node: _Optional[str] = ..., incremented: _Optional[int] = ..., decremented: _Optional[int] = ..., deleted_incremented: _Optional[int] = ..., deleted_decremented: _Optional[int] = ..., time_ms: _Optional[int] = ...) -> None: ...

class Cell(_message.Message):
    __slots__ = ("type", "visible", "context", "slots", "register", "deleted", "siblings", "awaited")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    VISIBLE_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    REGISTER_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    SIBLINGS_FIELD_NUMBER: _ClassVar[int]
    AWAITED_FIELD_NUMBER: _ClassVar[int]
    type: _types_pb2.DataType
    visible: bool
    context: bytes
    slots: _containers.RepeatedCompositeFieldContainer[CounterSlot]
    register: _types_pb2.StoredValue
    deleted: bool
    siblings: _containers.RepeatedCompositeFieldContainer[_types_pb2.StoredValue]
    awaited: _containers.RepeatedCompositeFieldContainer[_types_pb2.Dot]
    def __init__(self, type: _Optional[_Union[_types_pb2.DataType, str]] = ..., visible: _Optional[bool] = ..., context: _Optional[bytes] = ..., slots: _Optional[_Iterable[_Union[CounterSlot, _Mapping]]] = ..., register: _Optional[_Union[_types_pb2.StoredValue, _Mapping]] = ..., deleted: _Optional[bool] = ..., siblings: _Optional[_Iterable[_Union[_types_pb2.StoredValue, _Mapping]]] = ..., awaited: _Optional[_Iterable[_Union[_types_pb2.Dot, _Mapping]]] = ...) -> None: ...

class InspectResponse(_message.Message):
    __slots__ = ("key", "context", "cells", "session")
    KEY_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    CELLS_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    context: bytes
    cells: _containers.RepeatedCompositeFieldContainer[Cell]
    session: _types_pb2.VersionVector
    def __init__(self, key: _Optional[bytes] = ..., context: _Optional[bytes] = ..., cells: _Optional[_Iterable[_Union[Cell, _Mapping]]] = ..., session: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ...) -> None: ...
