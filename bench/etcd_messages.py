"""The few messages of etcd's KV service (v3) that the benches send, as protobuf classes.

Written from etcd's API reference: names, numbers and types of the fields that are used here, no
others (protobuf skips what it does not know). Built at import, so nothing has to be generated; in
a pool of their own, so that they meet no other definition of these names.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

PACKAGE: Final = "etcdserverpb"

FIELDS: Final[dict[str, list[tuple[int, str, str]]]] = {
    "ResponseHeader": [(3, "revision", "int64")],
    "KeyValue": [(1, "key", "bytes"), (5, "value", "bytes")],
    "RangeRequest": [(1, "key", "bytes"), (2, "range_end", "bytes"), (7, "serializable", "bool")],
    "RangeResponse": [(1, "header", "ResponseHeader"), (2, "kvs", "KeyValue*")],
    "PutRequest": [(1, "key", "bytes"), (2, "value", "bytes")],
    "PutResponse": [(1, "header", "ResponseHeader")],
    "RequestOp": [(1, "request_range", "RangeRequest?"), (2, "request_put", "PutRequest?")],
    "ResponseOp": [(1, "response_range", "RangeResponse?"), (2, "response_put", "PutResponse?")],
    "TxnRequest": [(2, "success", "RequestOp*")],
    "TxnResponse": [
        (1, "header", "ResponseHeader"),
        (2, "succeeded", "bool"),
        (3, "responses", "ResponseOp*"),
    ],
}
"""Message -> (number, name, type); ``*``: repeated, ``?``: one of those so marked."""

SCALARS: Final = {
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "int64": FieldDescriptorProto.TYPE_INT64,
}


def described() -> FileDescriptorProto:
    """The table as protobuf describes it."""
    file = FileDescriptorProto(name="bench/etcd.proto", package=PACKAGE, syntax="proto3")
    for message_name, rows in FIELDS.items():
        message = file.message_type.add(name=message_name)
        if any(kind.endswith("?") for _, _, kind in rows):
            message.oneof_decl.add(name="one")
        for number, name, kind in rows:
            row = message.field.add(name=name, number=number)
            plain = kind.rstrip("*?")
            repeated = kind.endswith("*")
            row.label = (
                FieldDescriptorProto.LABEL_REPEATED
                if repeated
                else FieldDescriptorProto.LABEL_OPTIONAL
            )
            if kind.endswith("?"):
                row.oneof_index = 0
            if plain in SCALARS:
                row.type = SCALARS[plain]
            else:
                row.type = FieldDescriptorProto.TYPE_MESSAGE
                row.type_name = f".{PACKAGE}.{plain}"
    return file


POOL: Final = DescriptorPool()
POOL.AddSerializedFile(described().SerializeToString())


def message(name: str) -> Any:
    """The class of a message."""
    return GetMessageClass(POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))


RangeRequest: Final = message("RangeRequest")
RangeResponse: Final = message("RangeResponse")
PutRequest: Final = message("PutRequest")
PutResponse: Final = message("PutResponse")
TxnRequest: Final = message("TxnRequest")
TxnResponse: Final = message("TxnResponse")
