from kvnode.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class QuarantineRecord(_message.Message):
    __slots__ = ("id", "source", "peer", "reason", "first_ms", "last_ms", "times", "origin", "node", "first_seq", "last_seq", "awaits", "raw_bytes", "raw")
    ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FIRST_MS_FIELD_NUMBER: _ClassVar[int]
    LAST_MS_FIELD_NUMBER: _ClassVar[int]
    TIMES_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQ_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQ_FIELD_NUMBER: _ClassVar[int]
    AWAITS_FIELD_NUMBER: _ClassVar[int]
    RAW_BYTES_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    id: int
    source: str
    peer: str
    reason: str
    first_ms: int
    last_ms: int
    times: int
    origin: int
    node: str
    first_seq: int
    last_seq: int
    awaits: _types_pb2.VersionVector
    raw_bytes: int
    raw: bytes
    def __init__(self, id: _Optional[int] = ..., source: _Optional[str] = ..., peer: _Optional[str] = ..., reason: _Optional[str] = ..., first_ms: _Optional[int] = ..., last_ms: _Optional[int] = ..., times: _Optional[int] = ..., origin: _Optional[int] = ..., node: _Optional[str] = ..., first_seq: _Optional[int] = ..., last_seq: _Optional[int] = ..., awaits: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ..., raw_bytes: _Optional[int] = ..., raw: _Optional[bytes] = ...) -> None: ...

class ListQuarantineRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListQuarantineResponse(_message.Message):
    __slots__ = ("records", "pushed_out")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    PUSHED_OUT_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[QuarantineRecord]
    pushed_out: int
    def __init__(self, records: _Optional[_Iterable[_Union[QuarantineRecord, _Mapping]]] = ..., pushed_out: _Optional[int] = ...) -> None: ...

class ShowQuarantineRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class RetryQuarantineRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class RetryQuarantineResponse(_message.Message):
    __slots__ = ("settled", "reason")
    SETTLED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    settled: bool
    reason: str
    def __init__(self, settled: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class DropQuarantineRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class DropQuarantineResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
