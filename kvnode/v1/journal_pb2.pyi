from kvnode.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Write(_message.Message):
    __slots__ = ("dot", "time_ms", "node")
    DOT_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    dot: _types_pb2.Dot
    time_ms: int
    node: str
    def __init__(self, dot: _Optional[_Union[_types_pb2.Dot, _Mapping]] = ..., time_ms: _Optional[int] = ..., node: _Optional[str] = ...) -> None: ...

class LostValue(_message.Message):
    __slots__ = ("id", "key", "lost", "winner", "winner_deleted")
    ID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    WINNER_FIELD_NUMBER: _ClassVar[int]
    WINNER_DELETED_FIELD_NUMBER: _ClassVar[int]
    id: int
    key: bytes
    lost: _types_pb2.StoredValue
    winner: Write
    winner_deleted: bool
    def __init__(self, id: _Optional[int] = ..., key: _Optional[bytes] = ..., lost: _Optional[_Union[_types_pb2.StoredValue, _Mapping]] = ..., winner: _Optional[_Union[Write, _Mapping]] = ..., winner_deleted: _Optional[bool] = ...) -> None: ...

class ListLostRequest(_message.Message):
    __slots__ = ("prefix", "limit", "before")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    prefix: bytes
    limit: int
    before: int
    def __init__(self, prefix: _Optional[bytes] = ..., limit: _Optional[int] = ..., before: _Optional[int] = ...) -> None: ...

class ListLostResponse(_message.Message):
    __slots__ = ("rows", "next_before")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    NEXT_BEFORE_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedCompositeFieldContainer[LostValue]
    next_before: int
    def __init__(self, rows: _Optional[_Iterable[_Union[LostValue, _Mapping]]] = ..., next_before: _Optional[int] = ...) -> None: ...

class GetLostRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...
