from kvnode.v1 import replication_pb2 as _replication_pb2
from kvnode.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_EQUAL: _ClassVar[Verdict]
    VERDICT_DIFFERENT: _ClassVar[Verdict]
    VERDICT_MOVING: _ClassVar[Verdict]
    VERDICT_SILENT: _ClassVar[Verdict]
VERDICT_UNSPECIFIED: Verdict
VERDICT_EQUAL: Verdict
VERDICT_DIFFERENT: Verdict
VERDICT_MOVING: Verdict
VERDICT_SILENT: Verdict

class RangeDigest(_message.Message):
    __slots__ = ("start", "end", "keys", "sum")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    SUM_FIELD_NUMBER: _ClassVar[int]
    start: bytes
    end: bytes
    keys: int
    sum: bytes
    def __init__(self, start: _Optional[bytes] = ..., end: _Optional[bytes] = ..., keys: _Optional[int] = ..., sum: _Optional[bytes] = ...) -> None: ...

class KeyDigest(_message.Message):
    __slots__ = ("key", "sum", "damaged", "dots")
    KEY_FIELD_NUMBER: _ClassVar[int]
    SUM_FIELD_NUMBER: _ClassVar[int]
    DAMAGED_FIELD_NUMBER: _ClassVar[int]
    DOTS_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    sum: bytes
    damaged: bool
    dots: _containers.RepeatedCompositeFieldContainer[_types_pb2.Dot]
    def __init__(self, key: _Optional[bytes] = ..., sum: _Optional[bytes] = ..., damaged: _Optional[bool] = ..., dots: _Optional[_Iterable[_Union[_types_pb2.Dot, _Mapping]]] = ...) -> None: ...

class CompareRequest(_message.Message):
    __slots__ = ("hello", "ranges", "fresh", "digests_only", "as_of_ms")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    FRESH_FIELD_NUMBER: _ClassVar[int]
    DIGESTS_ONLY_FIELD_NUMBER: _ClassVar[int]
    AS_OF_MS_FIELD_NUMBER: _ClassVar[int]
    hello: _replication_pb2.Hello
    ranges: _containers.RepeatedCompositeFieldContainer[RangeDigest]
    fresh: bool
    digests_only: bool
    as_of_ms: int
    def __init__(self, hello: _Optional[_Union[_replication_pb2.Hello, _Mapping]] = ..., ranges: _Optional[_Iterable[_Union[RangeDigest, _Mapping]]] = ..., fresh: _Optional[bool] = ..., digests_only: _Optional[bool] = ..., as_of_ms: _Optional[int] = ...) -> None: ...

class RangeReply(_message.Message):
    __slots__ = ("digest", "parts", "keys")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    digest: RangeDigest
    parts: _containers.RepeatedCompositeFieldContainer[RangeDigest]
    keys: _containers.RepeatedCompositeFieldContainer[KeyDigest]
    def __init__(self, digest: _Optional[_Union[RangeDigest, _Mapping]] = ..., parts: _Optional[_Iterable[_Union[RangeDigest, _Mapping]]] = ..., keys: _Optional[_Iterable[_Union[KeyDigest, _Mapping]]] = ...) -> None: ...

class CompareReply(_message.Message):
    __slots__ = ("vector", "ranges", "moved", "as_of_ms")
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    MOVED_FIELD_NUMBER: _ClassVar[int]
    AS_OF_MS_FIELD_NUMBER: _ClassVar[int]
    vector: _types_pb2.VersionVector
    ranges: _containers.RepeatedCompositeFieldContainer[RangeReply]
    moved: bool
    as_of_ms: int
    def __init__(self, vector: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ..., ranges: _Optional[_Iterable[_Union[RangeReply, _Mapping]]] = ..., moved: _Optional[bool] = ..., as_of_ms: _Optional[int] = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("hello", "keys", "entries", "vector", "as_of_ms")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    AS_OF_MS_FIELD_NUMBER: _ClassVar[int]
    hello: _replication_pb2.Hello
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    entries: bool
    vector: _types_pb2.VersionVector
    as_of_ms: int
    def __init__(self, hello: _Optional[_Union[_replication_pb2.Hello, _Mapping]] = ..., keys: _Optional[_Iterable[bytes]] = ..., entries: _Optional[bool] = ..., vector: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ..., as_of_ms: _Optional[int] = ...) -> None: ...

class FetchedKey(_message.Message):
    __slots__ = ("digest", "entry", "removed")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    digest: KeyDigest
    entry: bytes
    removed: _containers.RepeatedCompositeFieldContainer[_types_pb2.Dot]
    def __init__(self, digest: _Optional[_Union[KeyDigest, _Mapping]] = ..., entry: _Optional[bytes] = ..., removed: _Optional[_Iterable[_Union[_types_pb2.Dot, _Mapping]]] = ...) -> None: ...

class FetchReply(_message.Message):
    __slots__ = ("vector", "keys", "as_of_ms")
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    AS_OF_MS_FIELD_NUMBER: _ClassVar[int]
    vector: _types_pb2.VersionVector
    keys: _containers.RepeatedCompositeFieldContainer[FetchedKey]
    as_of_ms: int
    def __init__(self, vector: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ..., keys: _Optional[_Iterable[_Union[FetchedKey, _Mapping]]] = ..., as_of_ms: _Optional[int] = ...) -> None: ...

class HealRequest(_message.Message):
    __slots__ = ("hello", "key", "expected", "entry")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    hello: _replication_pb2.Hello
    key: bytes
    expected: bytes
    entry: bytes
    def __init__(self, hello: _Optional[_Union[_replication_pb2.Hello, _Mapping]] = ..., key: _Optional[bytes] = ..., expected: _Optional[bytes] = ..., entry: _Optional[bytes] = ...) -> None: ...

class HealReply(_message.Message):
    __slots__ = ("healed",)
    HEALED_FIELD_NUMBER: _ClassVar[int]
    healed: bool
    def __init__(self, healed: _Optional[bool] = ...) -> None: ...

class CheckRequest(_message.Message):
    __slots__ = ("hello",)
    HELLO_FIELD_NUMBER: _ClassVar[int]
    hello: _replication_pb2.Hello
    def __init__(self, hello: _Optional[_Union[_replication_pb2.Hello, _Mapping]] = ...) -> None: ...

class CheckReply(_message.Message):
    __slots__ = ("keys", "damaged", "damaged_count", "miscounted", "complete")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    DAMAGED_FIELD_NUMBER: _ClassVar[int]
    DAMAGED_COUNT_FIELD_NUMBER: _ClassVar[int]
    MISCOUNTED_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    keys: int
    damaged: _containers.RepeatedScalarFieldContainer[bytes]
    damaged_count: int
    miscounted: int
    complete: bool
    def __init__(self, keys: _Optional[int] = ..., damaged: _Optional[_Iterable[bytes]] = ..., damaged_count: _Optional[int] = ..., miscounted: _Optional[int] = ..., complete: _Optional[bool] = ...) -> None: ...

class VerifyRequest(_message.Message):
    __slots__ = ("prefix", "deadline_ms", "full")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    prefix: bytes
    deadline_ms: int
    full: bool
    def __init__(self, prefix: _Optional[bytes] = ..., deadline_ms: _Optional[int] = ..., full: _Optional[bool] = ...) -> None: ...

class Difference(_message.Message):
    __slots__ = ("key", "kind", "here", "there", "only_here", "only_there")
    KEY_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    HERE_FIELD_NUMBER: _ClassVar[int]
    THERE_FIELD_NUMBER: _ClassVar[int]
    ONLY_HERE_FIELD_NUMBER: _ClassVar[int]
    ONLY_THERE_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    kind: str
    here: _types_pb2.VersionVector
    there: _types_pb2.VersionVector
    only_here: _containers.RepeatedCompositeFieldContainer[_types_pb2.Dot]
    only_there: _containers.RepeatedCompositeFieldContainer[_types_pb2.Dot]
    def __init__(self, key: _Optional[bytes] = ..., kind: _Optional[str] = ..., here: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ..., there: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ..., only_here: _Optional[_Iterable[_Union[_types_pb2.Dot, _Mapping]]] = ..., only_there: _Optional[_Iterable[_Union[_types_pb2.Dot, _Mapping]]] = ...) -> None: ...

class MemberVerdict(_message.Message):
    __slots__ = ("name", "verdict", "vector", "digest", "differences", "more", "problem", "check")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    CHECK_FIELD_NUMBER: _ClassVar[int]
    name: str
    verdict: Verdict
    vector: _types_pb2.VersionVector
    digest: RangeDigest
    differences: _containers.RepeatedCompositeFieldContainer[Difference]
    more: bool
    problem: str
    check: CheckReply
    def __init__(self, name: _Optional[str] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., vector: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ..., digest: _Optional[_Union[RangeDigest, _Mapping]] = ..., differences: _Optional[_Iterable[_Union[Difference, _Mapping]]] = ..., more: _Optional[bool] = ..., problem: _Optional[str] = ..., check: _Optional[_Union[CheckReply, _Mapping]] = ...) -> None: ...

class VerifyReply(_message.Message):
    __slots__ = ("progress", "verdict", "vector", "digest", "members", "bytes_moved")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    BYTES_MOVED_FIELD_NUMBER: _ClassVar[int]
    progress: str
    verdict: Verdict
    vector: _types_pb2.VersionVector
    digest: RangeDigest
    members: _containers.RepeatedCompositeFieldContainer[MemberVerdict]
    bytes_moved: int
    def __init__(self, progress: _Optional[str] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., vector: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ..., digest: _Optional[_Union[RangeDigest, _Mapping]] = ..., members: _Optional[_Iterable[_Union[MemberVerdict, _Mapping]]] = ..., bytes_moved: _Optional[int] = ...) -> None: ...

class RepairRequest(_message.Message):
    __slots__ = ("keys", "all", "deadline_ms")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    all: bool
    deadline_ms: int
    def __init__(self, keys: _Optional[_Iterable[bytes]] = ..., all: _Optional[bool] = ..., deadline_ms: _Optional[int] = ...) -> None: ...

class RepairReply(_message.Message):
    __slots__ = ("progress", "keys", "scanned")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    SCANNED_FIELD_NUMBER: _ClassVar[int]
    progress: str
    keys: _containers.RepeatedCompositeFieldContainer[RepairedKey]
    scanned: int
    def __init__(self, progress: _Optional[str] = ..., keys: _Optional[_Iterable[_Union[RepairedKey, _Mapping]]] = ..., scanned: _Optional[int] = ...) -> None: ...

class RepairedKey(_message.Message):
    __slots__ = ("key", "outcome", "detail")
    KEY_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    outcome: str
    detail: str
    def __init__(self, key: _Optional[bytes] = ..., outcome: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...
