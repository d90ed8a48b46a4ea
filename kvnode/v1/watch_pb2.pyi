from kvnode.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WriteKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WRITE_KIND_UNSPECIFIED: _ClassVar[WriteKind]
    WRITE_KIND_PUT: _ClassVar[WriteKind]
    WRITE_KIND_INCREMENT: _ClassVar[WriteKind]
    WRITE_KIND_DELETE: _ClassVar[WriteKind]
WRITE_KIND_UNSPECIFIED: WriteKind
WRITE_KIND_PUT: WriteKind
WRITE_KIND_INCREMENT: WriteKind
WRITE_KIND_DELETE: WriteKind

class WatchRequest(_message.Message):
    __slots__ = ("prefix", "since", "existing", "heartbeat_ms")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    EXISTING_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_MS_FIELD_NUMBER: _ClassVar[int]
    prefix: bytes
    since: bytes
    existing: bool
    heartbeat_ms: int
    def __init__(self, prefix: _Optional[bytes] = ..., since: _Optional[bytes] = ..., existing: _Optional[bool] = ..., heartbeat_ms: _Optional[int] = ...) -> None: ...

class KeyWrite(_message.Message):
    __slots__ = ("dot", "type", "kind")
    DOT_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    dot: _types_pb2.Dot
    type: _types_pb2.DataType
    kind: WriteKind
    def __init__(self, dot: _Optional[_Union[_types_pb2.Dot, _Mapping]] = ..., type: _Optional[_Union[_types_pb2.DataType, str]] = ..., kind: _Optional[_Union[WriteKind, str]] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("state", "writes")
    STATE_FIELD_NUMBER: _ClassVar[int]
    WRITES_FIELD_NUMBER: _ClassVar[int]
    state: _types_pb2.KeyState
    writes: _containers.RepeatedCompositeFieldContainer[KeyWrite]
    def __init__(self, state: _Optional[_Union[_types_pb2.KeyState, _Mapping]] = ..., writes: _Optional[_Iterable[_Union[KeyWrite, _Mapping]]] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("changes", "token", "current", "waiting")
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    token: bytes
    current: bool
    waiting: bool
    def __init__(self, changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ..., token: _Optional[bytes] = ..., current: _Optional[bool] = ..., waiting: _Optional[bool] = ...) -> None: ...
