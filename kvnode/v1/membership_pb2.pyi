from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MembersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class MemberStatus(_message.Message):
    __slots__ = ("origin", "name", "address", "place", "waits_for", "limit", "successor", "complete", "forgotten_ms")
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    WAITS_FOR_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    SUCCESSOR_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    FORGOTTEN_MS_FIELD_NUMBER: _ClassVar[int]
    origin: int
    name: str
    address: str
    place: str
    waits_for: _containers.RepeatedScalarFieldContainer[str]
    limit: int
    successor: int
    complete: bool
    forgotten_ms: int
    def __init__(self, origin: _Optional[int] = ..., name: _Optional[str] = ..., address: _Optional[str] = ..., place: _Optional[str] = ..., waits_for: _Optional[_Iterable[str]] = ..., limit: _Optional[int] = ..., successor: _Optional[int] = ..., complete: _Optional[bool] = ..., forgotten_ms: _Optional[int] = ...) -> None: ...

class MembersResponse(_message.Message):
    __slots__ = ("cluster_id", "members", "unmet", "name", "place", "waits")
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    UNMET_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    WAITS_FIELD_NUMBER: _ClassVar[int]
    cluster_id: bytes
    members: _containers.RepeatedCompositeFieldContainer[MemberStatus]
    unmet: _containers.RepeatedScalarFieldContainer[str]
    name: str
    place: str
    waits: str
    def __init__(self, cluster_id: _Optional[bytes] = ..., members: _Optional[_Iterable[_Union[MemberStatus, _Mapping]]] = ..., unmet: _Optional[_Iterable[str]] = ..., name: _Optional[str] = ..., place: _Optional[str] = ..., waits: _Optional[str] = ...) -> None: ...

class JoinRequest(_message.Message):
    __slots__ = ("name", "address", "preview")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    name: str
    address: str
    preview: bool
    def __init__(self, name: _Optional[str] = ..., address: _Optional[str] = ..., preview: _Optional[bool] = ...) -> None: ...

class ReplaceRequest(_message.Message):
    __slots__ = ("name", "address", "preview")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    name: str
    address: str
    preview: bool
    def __init__(self, name: _Optional[str] = ..., address: _Optional[str] = ..., preview: _Optional[bool] = ...) -> None: ...

class ForgetRequest(_message.Message):
    __slots__ = ("name", "preview")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    name: str
    preview: bool
    def __init__(self, name: _Optional[str] = ..., preview: _Optional[bool] = ...) -> None: ...

class LeaveRequest(_message.Message):
    __slots__ = ("preview",)
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    preview: bool
    def __init__(self, preview: _Optional[bool] = ...) -> None: ...

class ChangeResponse(_message.Message):
    __slots__ = ("lines", "done")
    LINES_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedScalarFieldContainer[str]
    done: bool
    def __init__(self, lines: _Optional[_Iterable[str]] = ..., done: _Optional[bool] = ...) -> None: ...
