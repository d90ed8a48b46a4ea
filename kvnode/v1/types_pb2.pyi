from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DataType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATA_TYPE_UNSPECIFIED: _ClassVar[DataType]
    DATA_TYPE_G_COUNTER: _ClassVar[DataType]
    DATA_TYPE_PN_COUNTER: _ClassVar[DataType]
    DATA_TYPE_LWW_REGISTER: _ClassVar[DataType]
    DATA_TYPE_SIBLINGS: _ClassVar[DataType]
DATA_TYPE_UNSPECIFIED: DataType
DATA_TYPE_G_COUNTER: DataType
DATA_TYPE_PN_COUNTER: DataType
DATA_TYPE_LWW_REGISTER: DataType
DATA_TYPE_SIBLINGS: DataType

class Dot(_message.Message):
    __slots__ = ("origin", "seq")
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    origin: int
    seq: int
    def __init__(self, origin: _Optional[int] = ..., seq: _Optional[int] = ...) -> None: ...

class VersionVector(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[Dot]
    def __init__(self, entries: _Optional[_Iterable[_Union[Dot, _Mapping]]] = ...) -> None: ...

class CounterValue(_message.Message):
    __slots__ = ("value", "exact")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    value: int
    exact: str
    def __init__(self, value: _Optional[int] = ..., exact: _Optional[str] = ...) -> None: ...

class StoredValue(_message.Message):
    __slots__ = ("value", "dot", "time_ms", "node", "expires_ms")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    DOT_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_MS_FIELD_NUMBER: _ClassVar[int]
    value: bytes
    dot: Dot
    time_ms: int
    node: str
    expires_ms: int
    def __init__(self, value: _Optional[bytes] = ..., dot: _Optional[_Union[Dot, _Mapping]] = ..., time_ms: _Optional[int] = ..., node: _Optional[str] = ..., expires_ms: _Optional[int] = ...) -> None: ...

class Siblings(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedCompositeFieldContainer[StoredValue]
    def __init__(self, values: _Optional[_Iterable[_Union[StoredValue, _Mapping]]] = ...) -> None: ...

class KeyState(_message.Message):
    __slots__ = ("key", "context", "g_counter", "pn_counter", "lww_register", "siblings")
    KEY_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    G_COUNTER_FIELD_NUMBER: _ClassVar[int]
    PN_COUNTER_FIELD_NUMBER: _ClassVar[int]
    LWW_REGISTER_FIELD_NUMBER: _ClassVar[int]
    SIBLINGS_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    context: bytes
    g_counter: CounterValue
    pn_counter: CounterValue
    lww_register: StoredValue
    siblings: Siblings
    def __init__(self, key: _Optional[bytes] = ..., context: _Optional[bytes] = ..., g_counter: _Optional[_Union[CounterValue, _Mapping]] = ..., pn_counter: _Optional[_Union[CounterValue, _Mapping]] = ..., lww_register: _Optional[_Union[StoredValue, _Mapping]] = ..., siblings: _Optional[_Union[Siblings, _Mapping]] = ...) -> None: ...
