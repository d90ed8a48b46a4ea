from kvnode.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Put(_message.Message):
    __slots__ = ("key", "value", "type", "context", "blind", "ttl_ms")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    BLIND_FIELD_NUMBER: _ClassVar[int]
    TTL_MS_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    value: bytes
    type: _types_pb2.DataType
    context: bytes
    blind: bool
    ttl_ms: int
    def __init__(self, key: _Optional[bytes] = ..., value: _Optional[bytes] = ..., type: _Optional[_Union[_types_pb2.DataType, str]] = ..., context: _Optional[bytes] = ..., blind: _Optional[bool] = ..., ttl_ms: _Optional[int] = ...) -> None: ...

class Increment(_message.Message):
    __slots__ = ("key", "amount", "type")
    KEY_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    amount: int
    type: _types_pb2.DataType
    def __init__(self, key: _Optional[bytes] = ..., amount: _Optional[int] = ..., type: _Optional[_Union[_types_pb2.DataType, str]] = ...) -> None: ...

class Delete(_message.Message):
    __slots__ = ("key", "type", "context")
    KEY_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    type: _types_pb2.DataType
    context: bytes
    def __init__(self, key: _Optional[bytes] = ..., type: _Optional[_Union[_types_pb2.DataType, str]] = ..., context: _Optional[bytes] = ...) -> None: ...

class Operation(_message.Message):
    __slots__ = ("put", "increment", "delete")
    PUT_FIELD_NUMBER: _ClassVar[int]
    INCREMENT_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    put: Put
    increment: Increment
    delete: Delete
    def __init__(self, put: _Optional[_Union[Put, _Mapping]] = ..., increment: _Optional[_Union[Increment, _Mapping]] = ..., delete: _Optional[_Union[Delete, _Mapping]] = ...) -> None: ...

class WriteResult(_message.Message):
    __slots__ = ("dot", "context", "counter")
    DOT_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    COUNTER_FIELD_NUMBER: _ClassVar[int]
    dot: _types_pb2.Dot
    context: bytes
    counter: _types_pb2.CounterValue
    def __init__(self, dot: _Optional[_Union[_types_pb2.Dot, _Mapping]] = ..., context: _Optional[bytes] = ..., counter: _Optional[_Union[_types_pb2.CounterValue, _Mapping]] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    def __init__(self, key: _Optional[bytes] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("state", "session")
    STATE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    state: _types_pb2.KeyState
    session: _types_pb2.VersionVector
    def __init__(self, state: _Optional[_Union[_types_pb2.KeyState, _Mapping]] = ..., session: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ...) -> None: ...

class BatchGetRequest(_message.Message):
    __slots__ = ("keys",)
    KEYS_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, keys: _Optional[_Iterable[bytes]] = ...) -> None: ...

class BatchGetResponse(_message.Message):
    __slots__ = ("states", "session")
    STATES_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    states: _containers.RepeatedCompositeFieldContainer[_types_pb2.KeyState]
    session: _types_pb2.VersionVector
    def __init__(self, states: _Optional[_Iterable[_Union[_types_pb2.KeyState, _Mapping]]] = ..., session: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ...) -> None: ...

class PutRequest(_message.Message):
    __slots__ = ("put", "request_id")
    PUT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    put: Put
    request_id: bytes
    def __init__(self, put: _Optional[_Union[Put, _Mapping]] = ..., request_id: _Optional[bytes] = ...) -> None: ...

class PutResponse(_message.Message):
    __slots__ = ("key", "result", "session", "repeated")
    KEY_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    result: WriteResult
    session: _types_pb2.VersionVector
    repeated: bool
    def __init__(self, key: _Optional[bytes] = ..., result: _Optional[_Union[WriteResult, _Mapping]] = ..., session: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ..., repeated: _Optional[bool] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("delete", "request_id")
    DELETE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    delete: Delete
    request_id: bytes
    def __init__(self, delete: _Optional[_Union[Delete, _Mapping]] = ..., request_id: _Optional[bytes] = ...) -> None: ...

class DeleteResponse(_message.Message):
    __slots__ = ("key", "result", "session", "repeated")
    KEY_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    result: WriteResult
    session: _types_pb2.VersionVector
    repeated: bool
    def __init__(self, key: _Optional[bytes] = ..., result: _Optional[_Union[WriteResult, _Mapping]] = ..., session: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ..., repeated: _Optional[bool] = ...) -> None: ...

class IncrementRequest(_message.Message):
    __slots__ = ("increment", "request_id")
    INCREMENT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    increment: Increment
    request_id: bytes
    def __init__(self, increment: _Optional[_Union[Increment, _Mapping]] = ..., request_id: _Optional[bytes] = ...) -> None: ...

class IncrementResponse(_message.Message):
    __slots__ = ("key", "result", "session", "repeated")
    KEY_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    result: WriteResult
    session: _types_pb2.VersionVector
    repeated: bool
    def __init__(self, key: _Optional[bytes] = ..., result: _Optional[_Union[WriteResult, _Mapping]] = ..., session: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ..., repeated: _Optional[bool] = ...) -> None: ...

class WriteRequest(_message.Message):
    __slots__ = ("operations", "request_id")
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    operations: _containers.RepeatedCompositeFieldContainer[Operation]
    request_id: bytes
    def __init__(self, operations: _Optional[_Iterable[_Union[Operation, _Mapping]]] = ..., request_id: _Optional[bytes] = ...) -> None: ...

class WriteResponse(_message.Message):
    __slots__ = ("results", "session", "repeated")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[WriteResult]
    session: _types_pb2.VersionVector
    repeated: bool
    def __init__(self, results: _Optional[_Iterable[_Union[WriteResult, _Mapping]]] = ..., session: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ..., repeated: _Optional[bool] = ...) -> None: ...

class ScanRequest(_message.Message):
    __slots__ = ("prefix", "start", "end", "limit", "page_token")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    prefix: bytes
    start: bytes
    end: bytes
    limit: int
    page_token: bytes
    def __init__(self, prefix: _Optional[bytes] = ..., start: _Optional[bytes] = ..., end: _Optional[bytes] = ..., limit: _Optional[int] = ..., page_token: _Optional[bytes] = ...) -> None: ...

class ScanResponse(_message.Message):
    __slots__ = ("states", "next_page_token", "session")
    STATES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    states: _containers.RepeatedCompositeFieldContainer[_types_pb2.KeyState]
    next_page_token: bytes
    session: _types_pb2.VersionVector
    def __init__(self, states: _Optional[_Iterable[_Union[_types_pb2.KeyState, _Mapping]]] = ..., next_page_token: _Optional[bytes] = ..., session: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ...) -> None: ...

class ListConflictsRequest(_message.Message):
    __slots__ = ("prefix", "limit", "page_token")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    prefix: bytes
    limit: int
    page_token: bytes
    def __init__(self, prefix: _Optional[bytes] = ..., limit: _Optional[int] = ..., page_token: _Optional[bytes] = ...) -> None: ...

class ListConflictsResponse(_message.Message):
    __slots__ = ("states", "next_page_token", "session")
    STATES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    states: _containers.RepeatedCompositeFieldContainer[_types_pb2.KeyState]
    next_page_token: bytes
    session: _types_pb2.VersionVector
    def __init__(self, states: _Optional[_Iterable[_Union[_types_pb2.KeyState, _Mapping]]] = ..., next_page_token: _Optional[bytes] = ..., session: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ...) -> None: ...
