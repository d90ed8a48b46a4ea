from google.rpc import status_pb2 as _status_pb2
from kvnode.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Durability(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DURABILITY_UNSPECIFIED: _ClassVar[Durability]
    DURABILITY_BUFFERED: _ClassVar[Durability]
    DURABILITY_FSYNC: _ClassVar[Durability]
    DURABILITY_QUORUM: _ClassVar[Durability]
    DURABILITY_ALL: _ClassVar[Durability]

class Consistency(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONSISTENCY_UNSPECIFIED: _ClassVar[Consistency]
    CONSISTENCY_LOCAL: _ClassVar[Consistency]
    CONSISTENCY_QUORUM: _ClassVar[Consistency]
    CONSISTENCY_ALL: _ClassVar[Consistency]
DURABILITY_UNSPECIFIED: Durability
DURABILITY_BUFFERED: Durability
DURABILITY_FSYNC: Durability
DURABILITY_QUORUM: Durability
DURABILITY_ALL: Durability
CONSISTENCY_UNSPECIFIED: Consistency
CONSISTENCY_LOCAL: Consistency
CONSISTENCY_QUORUM: Consistency
CONSISTENCY_ALL: Consistency

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

class Puts(_message.Message):
    __slots__ = ("keys", "values", "type", "ttl_ms")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TTL_MS_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    values: _containers.RepeatedScalarFieldContainer[bytes]
    type: _types_pb2.DataType
    ttl_ms: int
    def __init__(self, keys: _Optional[_Iterable[bytes]] = ..., values: _Optional[_Iterable[bytes]] = ..., type: _Optional[_Union[_types_pb2.DataType, str]] = ..., ttl_ms: _Optional[int] = ...) -> None: ...

class Increments(_message.Message):
    __slots__ = ("keys", "amounts", "type")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    AMOUNTS_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    amounts: _containers.RepeatedScalarFieldContainer[int]
    type: _types_pb2.DataType
    def __init__(self, keys: _Optional[_Iterable[bytes]] = ..., amounts: _Optional[_Iterable[int]] = ..., type: _Optional[_Union[_types_pb2.DataType, str]] = ...) -> None: ...

class WriteResult(_message.Message):
    __slots__ = ("dot", "context", "counter")
    DOT_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    COUNTER_FIELD_NUMBER: _ClassVar[int]
    dot: _types_pb2.Dot
    context: bytes
    counter: _types_pb2.CounterValue
    def __init__(self, dot: _Optional[_Union[_types_pb2.Dot, _Mapping]] = ..., context: _Optional[bytes] = ..., counter: _Optional[_Union[_types_pb2.CounterValue, _Mapping]] = ...) -> None: ...

class WriteOptions(_message.Message):
    __slots__ = ("after", "durability", "replicas")
    AFTER_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    after: _types_pb2.VersionVector
    durability: Durability
    replicas: int
    def __init__(self, after: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ..., durability: _Optional[_Union[Durability, str]] = ..., replicas: _Optional[int] = ...) -> None: ...

class ReadOptions(_message.Message):
    __slots__ = ("after", "consistency", "freshness")
    AFTER_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_FIELD_NUMBER: _ClassVar[int]
    after: _types_pb2.VersionVector
    consistency: Consistency
    freshness: bool
    def __init__(self, after: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ..., consistency: _Optional[_Union[Consistency, str]] = ..., freshness: _Optional[bool] = ...) -> None: ...

class Freshness(_message.Message):
    __slots__ = ("node", "age_ms", "unknown")
    NODE_FIELD_NUMBER: _ClassVar[int]
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    node: str
    age_ms: int
    unknown: bool
    def __init__(self, node: _Optional[str] = ..., age_ms: _Optional[int] = ..., unknown: _Optional[bool] = ...) -> None: ...

class Shortfall(_message.Message):
    __slots__ = ("first", "operations", "stored_by", "wanted", "repeated")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    STORED_BY_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    first: _types_pb2.Dot
    operations: int
    stored_by: _containers.RepeatedScalarFieldContainer[str]
    wanted: int
    repeated: bool
    def __init__(self, first: _Optional[_Union[_types_pb2.Dot, _Mapping]] = ..., operations: _Optional[int] = ..., stored_by: _Optional[_Iterable[str]] = ..., wanted: _Optional[int] = ..., repeated: _Optional[bool] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("key", "options")
    KEY_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    options: ReadOptions
    def __init__(self, key: _Optional[bytes] = ..., options: _Optional[_Union[ReadOptions, _Mapping]] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("state", "session", "freshness")
    STATE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_FIELD_NUMBER: _ClassVar[int]
    state: _types_pb2.KeyState
    session: _types_pb2.VersionVector
    freshness: _containers.RepeatedCompositeFieldContainer[Freshness]
    def __init__(self, state: _Optional[_Union[_types_pb2.KeyState, _Mapping]] = ..., session: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ..., freshness: _Optional[_Iterable[_Union[Freshness, _Mapping]]] = ...) -> None: ...

class BatchGetRequest(_message.Message):
    __slots__ = ("keys", "options", "brief")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    BRIEF_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    options: ReadOptions
    brief: bool
    def __init__(self, keys: _Optional[_Iterable[bytes]] = ..., options: _Optional[_Union[ReadOptions, _Mapping]] = ..., brief: _Optional[bool] = ...) -> None: ...

class BatchGetResponse(_message.Message):
    __slots__ = ("states", "session", "freshness", "kinds", "values", "sums")
    STATES_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    SUMS_FIELD_NUMBER: _ClassVar[int]
    states: _containers.RepeatedCompositeFieldContainer[_types_pb2.KeyState]
    session: _types_pb2.VersionVector
    freshness: _containers.RepeatedCompositeFieldContainer[Freshness]
    kinds: bytes
    values: _containers.RepeatedScalarFieldContainer[bytes]
    sums: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, states: _Optional[_Iterable[_Union[_types_pb2.KeyState, _Mapping]]] = ..., session: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ..., freshness: _Optional[_Iterable[_Union[Freshness, _Mapping]]] = ..., kinds: _Optional[bytes] = ..., values: _Optional[_Iterable[bytes]] = ..., sums: _Optional[_Iterable[int]] = ...) -> None: ...

class PutRequest(_message.Message):
    __slots__ = ("put", "request_id", "options")
    PUT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    put: Put
    request_id: bytes
    options: WriteOptions
    def __init__(self, put: _Optional[_Union[Put, _Mapping]] = ..., request_id: _Optional[bytes] = ..., options: _Optional[_Union[WriteOptions, _Mapping]] = ...) -> None: ...

class PutResponse(_message.Message):
    __slots__ = ("key", "result", "session", "stored_by", "repeated")
    KEY_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    STORED_BY_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    result: WriteResult
    session: _types_pb2.VersionVector
    stored_by: _containers.RepeatedScalarFieldContainer[str]
    repeated: bool
    def __init__(self, key: _Optional[bytes] = ..., result: _Optional[_Union[WriteResult, _Mapping]] = ..., session: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ..., stored_by: _Optional[_Iterable[str]] = ..., repeated: _Optional[bool] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("delete", "request_id", "options")
    DELETE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    delete: Delete
    request_id: bytes
    options: WriteOptions
    def __init__(self, delete: _Optional[_Union[Delete, _Mapping]] = ..., request_id: _Optional[bytes] = ..., options: _Optional[_Union[WriteOptions, _Mapping]] = ...) -> None: ...

class DeleteResponse(_message.Message):
    __slots__ = ("key", "result", "session", "stored_by", "repeated")
    KEY_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    STORED_BY_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    result: WriteResult
    session: _types_pb2.VersionVector
    stored_by: _containers.RepeatedScalarFieldContainer[str]
    repeated: bool
    def __init__(self, key: _Optional[bytes] = ..., result: _Optional[_Union[WriteResult, _Mapping]] = ..., session: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ..., stored_by: _Optional[_Iterable[str]] = ..., repeated: _Optional[bool] = ...) -> None: ...

class IncrementRequest(_message.Message):
    __slots__ = ("increment", "request_id", "options")
    INCREMENT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    increment: Increment
    request_id: bytes
    options: WriteOptions
    def __init__(self, increment: _Optional[_Union[Increment, _Mapping]] = ..., request_id: _Optional[bytes] = ..., options: _Optional[_Union[WriteOptions, _Mapping]] = ...) -> None: ...

class IncrementResponse(_message.Message):
    __slots__ = ("key", "result", "session", "stored_by", "repeated")
    KEY_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    STORED_BY_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    result: WriteResult
    session: _types_pb2.VersionVector
    stored_by: _containers.RepeatedScalarFieldContainer[str]
    repeated: bool
    def __init__(self, key: _Optional[bytes] = ..., result: _Optional[_Union[WriteResult, _Mapping]] = ..., session: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ..., stored_by: _Optional[_Iterable[str]] = ..., repeated: _Optional[bool] = ...) -> None: ...

class WriteRequest(_message.Message):
    __slots__ = ("operations", "request_id", "options", "puts", "increments", "brief")
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    PUTS_FIELD_NUMBER: _ClassVar[int]
    INCREMENTS_FIELD_NUMBER: _ClassVar[int]
    BRIEF_FIELD_NUMBER: _ClassVar[int]
    operations: _containers.RepeatedCompositeFieldContainer[Operation]
    request_id: bytes
    options: WriteOptions
    puts: Puts
    increments: Increments
    brief: bool
    def __init__(self, operations: _Optional[_Iterable[_Union[Operation, _Mapping]]] = ..., request_id: _Optional[bytes] = ..., options: _Optional[_Union[WriteOptions, _Mapping]] = ..., puts: _Optional[_Union[Puts, _Mapping]] = ..., increments: _Optional[_Union[Increments, _Mapping]] = ..., brief: _Optional[bool] = ...) -> None: ...

class WriteResponse(_message.Message):
    __slots__ = ("results", "session", "repeated", "stored_by", "first")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    STORED_BY_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[WriteResult]
    session: _types_pb2.VersionVector
    repeated: bool
    stored_by: _containers.RepeatedScalarFieldContainer[str]
    first: _types_pb2.Dot
    def __init__(self, results: _Optional[_Iterable[_Union[WriteResult, _Mapping]]] = ..., session: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ..., repeated: _Optional[bool] = ..., stored_by: _Optional[_Iterable[str]] = ..., first: _Optional[_Union[_types_pb2.Dot, _Mapping]] = ...) -> None: ...

class AlikeRequests(_message.Message):
    __slots__ = ("puts", "increments", "request_ids")
    PUTS_FIELD_NUMBER: _ClassVar[int]
    INCREMENTS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_IDS_FIELD_NUMBER: _ClassVar[int]
    puts: Puts
    increments: Increments
    request_ids: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, puts: _Optional[_Union[Puts, _Mapping]] = ..., increments: _Optional[_Union[Increments, _Mapping]] = ..., request_ids: _Optional[_Iterable[bytes]] = ...) -> None: ...

class WriteManyRequest(_message.Message):
    __slots__ = ("requests", "wait_ms", "alike")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    ALIKE_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[WriteRequest]
    wait_ms: int
    alike: _containers.RepeatedCompositeFieldContainer[AlikeRequests]
    def __init__(self, requests: _Optional[_Iterable[_Union[WriteRequest, _Mapping]]] = ..., wait_ms: _Optional[int] = ..., alike: _Optional[_Iterable[_Union[AlikeRequests, _Mapping]]] = ...) -> None: ...

class WriteManyResponse(_message.Message):
    __slots__ = ("outcomes", "alike")
    class Outcome(_message.Message):
        __slots__ = ("response", "error")
        RESPONSE_FIELD_NUMBER: _ClassVar[int]
        ERROR_FIELD_NUMBER: _ClassVar[int]
        response: WriteResponse
        error: _status_pb2.Status
        def __init__(self, response: _Optional[_Union[WriteResponse, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...
    class Alike(_message.Message):
        __slots__ = ("first", "contexts", "sums", "session", "outcomes")
        FIRST_FIELD_NUMBER: _ClassVar[int]
        CONTEXTS_FIELD_NUMBER: _ClassVar[int]
        SUMS_FIELD_NUMBER: _ClassVar[int]
        SESSION_FIELD_NUMBER: _ClassVar[int]
        OUTCOMES_FIELD_NUMBER: _ClassVar[int]
        first: _types_pb2.Dot
        contexts: _containers.RepeatedScalarFieldContainer[bytes]
        sums: _containers.RepeatedScalarFieldContainer[int]
        session: _types_pb2.VersionVector
        outcomes: _containers.RepeatedCompositeFieldContainer[WriteManyResponse.Outcome]
        def __init__(self, first: _Optional[_Union[_types_pb2.Dot, _Mapping]] = ..., contexts: _Optional[_Iterable[bytes]] = ..., sums: _Optional[_Iterable[int]] = ..., session: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ..., outcomes: _Optional[_Iterable[_Union[WriteManyResponse.Outcome, _Mapping]]] = ...) -> None: ...
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    ALIKE_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[WriteManyResponse.Outcome]
    alike: _containers.RepeatedCompositeFieldContainer[WriteManyResponse.Alike]
    def __init__(self, outcomes: _Optional[_Iterable[_Union[WriteManyResponse.Outcome, _Mapping]]] = ..., alike: _Optional[_Iterable[_Union[WriteManyResponse.Alike, _Mapping]]] = ...) -> None: ...

class PipelineRequest(_message.Message):
    __slots__ = ("number", "method", "request", "timeout_ms", "sent_ms", "waited_ms")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    SENT_MS_FIELD_NUMBER: _ClassVar[int]
    WAITED_MS_FIELD_NUMBER: _ClassVar[int]
    number: int
    method: str
    request: bytes
    timeout_ms: int
    sent_ms: int
    waited_ms: int
    def __init__(self, number: _Optional[int] = ..., method: _Optional[str] = ..., request: _Optional[bytes] = ..., timeout_ms: _Optional[int] = ..., sent_ms: _Optional[int] = ..., waited_ms: _Optional[int] = ...) -> None: ...

class PipelineRequests(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[PipelineRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[PipelineRequest, _Mapping]]] = ...) -> None: ...

class PipelineReply(_message.Message):
    __slots__ = ("number", "reply", "error")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    number: int
    reply: bytes
    error: _status_pb2.Status
    def __init__(self, number: _Optional[int] = ..., reply: _Optional[bytes] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class PipelineReplies(_message.Message):
    __slots__ = ("replies", "closing")
    REPLIES_FIELD_NUMBER: _ClassVar[int]
    CLOSING_FIELD_NUMBER: _ClassVar[int]
    replies: _containers.RepeatedCompositeFieldContainer[PipelineReply]
    closing: bool
    def __init__(self, replies: _Optional[_Iterable[_Union[PipelineReply, _Mapping]]] = ..., closing: _Optional[bool] = ...) -> None: ...

class OutcomeRequest(_message.Message):
    __slots__ = ("request_id",)
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: bytes
    def __init__(self, request_id: _Optional[bytes] = ...) -> None: ...

class OutcomeResponse(_message.Message):
    __slots__ = ("known", "dots", "node", "session")
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    DOTS_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    known: bool
    dots: _containers.RepeatedCompositeFieldContainer[_types_pb2.Dot]
    node: str
    session: _types_pb2.VersionVector
    def __init__(self, known: _Optional[bool] = ..., dots: _Optional[_Iterable[_Union[_types_pb2.Dot, _Mapping]]] = ..., node: _Optional[str] = ..., session: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ...) -> None: ...

class ScanRequest(_message.Message):
    __slots__ = ("prefix", "start", "end", "limit", "page_token", "options")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    prefix: bytes
    start: bytes
    end: bytes
    limit: int
    page_token: bytes
    options: ReadOptions
    def __init__(self, prefix: _Optional[bytes] = ..., start: _Optional[bytes] = ..., end: _Optional[bytes] = ..., limit: _Optional[int] = ..., page_token: _Optional[bytes] = ..., options: _Optional[_Union[ReadOptions, _Mapping]] = ...) -> None: ...

class ScanResponse(_message.Message):
    __slots__ = ("states", "next_page_token", "session", "freshness")
    STATES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_FIELD_NUMBER: _ClassVar[int]
    states: _containers.RepeatedCompositeFieldContainer[_types_pb2.KeyState]
    next_page_token: bytes
    session: _types_pb2.VersionVector
    freshness: _containers.RepeatedCompositeFieldContainer[Freshness]
    def __init__(self, states: _Optional[_Iterable[_Union[_types_pb2.KeyState, _Mapping]]] = ..., next_page_token: _Optional[bytes] = ..., session: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ..., freshness: _Optional[_Iterable[_Union[Freshness, _Mapping]]] = ...) -> None: ...

class ListConflictsRequest(_message.Message):
    __slots__ = ("prefix", "limit", "page_token", "options")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    prefix: bytes
    limit: int
    page_token: bytes
    options: ReadOptions
    def __init__(self, prefix: _Optional[bytes] = ..., limit: _Optional[int] = ..., page_token: _Optional[bytes] = ..., options: _Optional[_Union[ReadOptions, _Mapping]] = ...) -> None: ...

class ListConflictsResponse(_message.Message):
    __slots__ = ("states", "next_page_token", "session", "freshness")
    STATES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_FIELD_NUMBER: _ClassVar[int]
    states: _containers.RepeatedCompositeFieldContainer[_types_pb2.KeyState]
    next_page_token: bytes
    session: _types_pb2.VersionVector
    freshness: _containers.RepeatedCompositeFieldContainer[Freshness]
    def __init__(self, states: _Optional[_Iterable[_Union[_types_pb2.KeyState, _Mapping]]] = ..., next_page_token: _Optional[bytes] = ..., session: _Optional[_Union[_types_pb2.VersionVector, _Mapping]] = ..., freshness: _Optional[_Iterable[_Union[Freshness, _Mapping]]] = ...) -> None: ...
