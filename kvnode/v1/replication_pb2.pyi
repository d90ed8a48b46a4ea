from kvnode.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Hello(_message.Message):
    __slots__ = ("cluster", "name", "origin", "protocol", "incarnation", "roster", "secret_check")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    ROSTER_FIELD_NUMBER: _ClassVar[int]
    SECRET_CHECK_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    name: str
    origin: int
    protocol: int
    incarnation: int
    roster: bytes
    secret_check: bytes
    def __init__(self, cluster: _Optional[str] = ..., name: _Optional[str] = ..., origin: _Optional[int] = ..., protocol: _Optional[int] = ..., incarnation: _Optional[int] = ..., roster: _Optional[bytes] = ..., secret_check: _Optional[bytes] = ...) -> None: ...

class Member(_message.Message):
    __slots__ = ("name", "origin")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    name: str
    origin: int
    def __init__(self, name: _Optional[str] = ..., origin: _Optional[int] = ...) -> None: ...

class Contradiction(_message.Message):
    __slots__ = ("origin", "reason", "seq", "chain")
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    origin: int
    reason: str
    seq: int
    chain: bytes
    def __init__(self, origin: _Optional[int] = ..., reason: _Optional[str] = ..., seq: _Optional[int] = ..., chain: _Optional[bytes] = ...) -> None: ...

class Report(_message.Message):
    __slots__ = ("vector", "wall_ms", "members", "contradictions", "roster", "yours", "your_origin", "relayed", "roster_hash")
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    WALL_MS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    CONTRADICTIONS_FIELD_NUMBER: _ClassVar[int]
    ROSTER_FIELD_NUMBER: _ClassVar[int]
    YOURS_FIELD_NUMBER: _ClassVar[int]
    YOUR_ORIGIN_FIELD_NUMBER: _ClassVar[int]
    RELAYED_FIELD_NUMBER: _ClassVar[int]
    ROSTER_HASH_FIELD_NUMBER: _ClassVar[int]
    vector: _types_pb2.VersionVector
    wall_ms: int
    members: _containers.RepeatedCompositeFieldContainer[Member]
    contradictions: _containers.RepeatedCompositeFieldContainer[Contradiction]
    roster: bytes
    yours: _types_pb2.VersionVector
    your_origin: int
    relayed: _containers.RepeatedCompositeFieldContainer[Relayed]
    roster_hash: bytes
    def __init__(self, vector: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ..., wall_ms: _Optional[int] = ..., members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ..., contradictions: _Optional[_Iterable[_Union[Contradiction, _Mapping]]] = ..., roster: _Optional[bytes] = ..., yours: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ..., your_origin: _Optional[int] = ..., relayed: _Optional[_Iterable[_Union[Relayed, _Mapping]]] = ..., roster_hash: _Optional[bytes] = ...) -> None: ...

class Relayed(_message.Message):
    __slots__ = ("origin", "vector")
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    origin: int
    vector: _types_pb2.VersionVector
    def __init__(self, origin: _Optional[int] = ..., vector: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ...) -> None: ...

class MeetRequest(_message.Message):
    __slots__ = ("hello", "about")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    ABOUT_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    about: _types_pb2.Dot
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., about: _Optional[_Union[_types_pb2.Dot, _Mapping]] = ...) -> None: ...

class MeetReply(_message.Message):
    __slots__ = ("hello", "running", "seq", "chain", "chain_at", "vector")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    CHAIN_AT_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    running: bool
    seq: int
    chain: bytes
    chain_at: bytes
    vector: _types_pb2.VersionVector
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., running: _Optional[bool] = ..., seq: _Optional[int] = ..., chain: _Optional[bytes] = ..., chain_at: _Optional[bytes] = ..., vector: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ...) -> None: ...

class PushRequest(_message.Message):
    __slots__ = ("hello", "report", "position", "blocks")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    report: Report
    position: int
    blocks: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., report: _Optional[_Union[Report, _Mapping]] = ..., position: _Optional[int] = ..., blocks: _Optional[_Iterable[bytes]] = ...) -> None: ...

class PushReply(_message.Message):
    __slots__ = ("hello", "report")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    report: Report
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., report: _Optional[_Union[Report, _Mapping]] = ...) -> None: ...

class PullRequest(_message.Message):
    __slots__ = ("hello", "report", "bytes_max", "have")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    HAVE_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    report: Report
    bytes_max: int
    have: _types_pb2.VersionVector
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., report: _Optional[_Union[Report, _Mapping]] = ..., bytes_max: _Optional[int] = ..., have: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ...) -> None: ...

class PullReply(_message.Message):
    __slots__ = ("hello", "report", "blocks", "complete", "below_floor", "floor")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    BELOW_FLOOR_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    report: Report
    blocks: _containers.RepeatedScalarFieldContainer[bytes]
    complete: bool
    below_floor: bool
    floor: _types_pb2.VersionVector
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., report: _Optional[_Union[Report, _Mapping]] = ..., blocks: _Optional[_Iterable[bytes]] = ..., complete: _Optional[bool] = ..., below_floor: _Optional[bool] = ..., floor: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ...) -> None: ...
