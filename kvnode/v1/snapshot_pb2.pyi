from kvnode.v1 import replication_pb2 as _replication_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SnapshotSection(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SNAPSHOT_SECTION_UNSPECIFIED: _ClassVar[SnapshotSection]
    SNAPSHOT_SECTION_META: _ClassVar[SnapshotSection]
    SNAPSHOT_SECTION_ENTRIES: _ClassVar[SnapshotSection]
    SNAPSHOT_SECTION_CONFLICTS: _ClassVar[SnapshotSection]
    SNAPSHOT_SECTION_GARBAGE: _ClassVar[SnapshotSection]
    SNAPSHOT_SECTION_REQUESTS: _ClassVar[SnapshotSection]
    SNAPSHOT_SECTION_CHAINS: _ClassVar[SnapshotSection]
SNAPSHOT_SECTION_UNSPECIFIED: SnapshotSection
SNAPSHOT_SECTION_META: SnapshotSection
SNAPSHOT_SECTION_ENTRIES: SnapshotSection
SNAPSHOT_SECTION_CONFLICTS: SnapshotSection
SNAPSHOT_SECTION_GARBAGE: SnapshotSection
SNAPSHOT_SECTION_REQUESTS: SnapshotSection
SNAPSHOT_SECTION_CHAINS: SnapshotSection

class SnapshotRequest(_message.Message):
    __slots__ = ("hello", "snapshot", "section", "after", "bytes_max")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    SECTION_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    hello: _replication_pb2.Hello
    snapshot: bytes
    section: SnapshotSection
    after: bytes
    bytes_max: int
    def __init__(self, hello: _Optional[_Union[_replication_pb2.Hello, _Mapping]] = ..., snapshot: _Optional[bytes] = ..., section: _Optional[_Union[SnapshotSection, str]] = ..., after: _Optional[bytes] = ..., bytes_max: _Optional[int] = ...) -> None: ...

class SnapshotChunk(_message.Message):
    __slots__ = ("snapshot", "section", "first_key", "last_key", "rows", "offset", "size", "crc", "last", "keys_total", "bytes_total")
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    SECTION_FIELD_NUMBER: _ClassVar[int]
    FIRST_KEY_FIELD_NUMBER: _ClassVar[int]
    LAST_KEY_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    CRC_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    KEYS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    BYTES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    snapshot: bytes
    section: SnapshotSection
    first_key: bytes
    last_key: bytes
    rows: bytes
    offset: int
    size: int
    crc: int
    last: bool
    keys_total: int
    bytes_total: int
    def __init__(self, snapshot: _Optional[bytes] = ..., section: _Optional[_Union[SnapshotSection, str]] = ..., first_key: _Optional[bytes] = ..., last_key: _Optional[bytes] = ..., rows: _Optional[bytes] = ..., offset: _Optional[int] = ..., size: _Optional[int] = ..., crc: _Optional[int] = ..., last: _Optional[bool] = ..., keys_total: _Optional[int] = ..., bytes_total: _Optional[int] = ...) -> None: ...
