from kvnode.v1 import admin_pb2 as _admin_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CollectionStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WaitingRows(_message.Message):
    __slots__ = ("origin", "node", "rows")
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    origin: int
    node: str
    rows: int
    def __init__(self, origin: _Optional[int] = ..., node: _Optional[str] = ..., rows: _Optional[int] = ...) -> None: ...

class MemberReport(_message.Message):
    __slots__ = ("origin", "node", "covered_ops", "own_ops", "reported", "usable", "silent_ms")
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    COVERED_OPS_FIELD_NUMBER: _ClassVar[int]
    OWN_OPS_FIELD_NUMBER: _ClassVar[int]
    REPORTED_FIELD_NUMBER: _ClassVar[int]
    USABLE_FIELD_NUMBER: _ClassVar[int]
    SILENT_MS_FIELD_NUMBER: _ClassVar[int]
    origin: int
    node: str
    covered_ops: int
    own_ops: int
    reported: bool
    usable: bool
    silent_ms: int
    def __init__(self, origin: _Optional[int] = ..., node: _Optional[str] = ..., covered_ops: _Optional[int] = ..., own_ops: _Optional[int] = ..., reported: _Optional[bool] = ..., usable: _Optional[bool] = ..., silent_ms: _Optional[int] = ...) -> None: ...

class CollectionStatusResponse(_message.Message):
    __slots__ = ("name", "origin", "rows_waiting", "waiting", "entries_collected", "stable", "members", "to_expire", "horizon_ms", "held_up")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    ROWS_WAITING_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_COLLECTED_FIELD_NUMBER: _ClassVar[int]
    STABLE_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    TO_EXPIRE_FIELD_NUMBER: _ClassVar[int]
    HORIZON_MS_FIELD_NUMBER: _ClassVar[int]
    HELD_UP_FIELD_NUMBER: _ClassVar[int]
    name: str
    origin: int
    rows_waiting: int
    waiting: _containers.RepeatedCompositeFieldContainer[WaitingRows]
    entries_collected: int
    stable: _containers.RepeatedCompositeFieldContainer[_admin_pb2.OriginStatus]
    members: _containers.RepeatedCompositeFieldContainer[MemberReport]
    to_expire: int
    horizon_ms: int
    held_up: str
    def __init__(self, name: _Optional[str] = ..., origin: _Optional[int] = ..., rows_waiting: _Optional[int] = ..., waiting: _Optional[_Iterable[_Union[WaitingRows, _Mapping]]] = ..., entries_collected: _Optional[int] = ..., stable: _Optional[_Iterable[_Union[_admin_pb2.OriginStatus, _Mapping]]] = ..., members: _Optional[_Iterable[_Union[MemberReport, _Mapping]]] = ..., to_expire: _Optional[int] = ..., horizon_ms: _Optional[int] = ..., held_up: _Optional[str] = ...) -> None: ...
