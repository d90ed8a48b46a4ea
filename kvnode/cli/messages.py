"""Protobuf messages of the admin service as JSON, in the scheme of all commands.

protobuf's own JSON prints 64-bit numbers as text and bytes as base64 without saying which; here
numbers are numbers, origins are 16 hexadecimal digits, dots ORIGIN:SEQ, contexts base64url and
other bytes ``bytes_object``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import Message

from kvnode.cli.options import encode_token
from kvnode.cli.output import bytes_object

if TYPE_CHECKING:
    from kvnode.v1 import types_pb2


def message_object(message: Message) -> object:
    """A message for JSON: every field under its name, also those with their default value."""
    if message.DESCRIPTOR.full_name == "kvnode.v1.Dot":
        return dot_text(message)  # type: ignore[arg-type]
    if message.DESCRIPTOR.full_name == "kvnode.v1.VersionVector":
        return {f"{dot.origin:016x}": dot.seq for dot in message.entries}  # type: ignore[attr-defined]
    found: dict[str, object] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.is_repeated:
            found[field.name] = [field_object(message, field.name, item) for item in value]
        elif field.message_type is not None and not message.HasField(field.name):
            found[field.name] = None
        else:
            found[field.name] = field_object(message, field.name, value)
    return found


def field_object(message: Message, name: str, value: object) -> object:
    """One value of the field ``name`` for JSON."""
    if isinstance(value, Message):
        return message_object(value)
    if name == "sum" and isinstance(value, bytes):  # a digest
        return value.hex()
    if isinstance(value, bytes):
        return encode_token(value) if name == "context" else bytes_object(value)
    if message.DESCRIPTOR.fields_by_name[name].enum_type is not None:
        return enum_name(message, name)
    if name == "origin":
        return f"{value:016x}"
    return value


def enum_name(message: Message, name: str) -> str:
    """DATA_TYPE_PN_COUNTER as pn_counter; a number this version does not know stays one."""
    kind = message.DESCRIPTOR.fields_by_name[name].enum_type
    assert kind is not None, f"{name} is no enum"
    number = getattr(message, name)
    known = kind.values_by_number.get(number)
    return str(number) if known is None else short_name(known.name)


def short_name(name: str) -> str:
    """An enum value's name as commands print it."""
    return name.removeprefix("DATA_TYPE_").removeprefix("VERDICT_").lower()


def dot_text(dot: types_pb2.Dot) -> str:
    """ORIGIN:SEQ."""
    return f"{dot.origin:016x}:{dot.seq}"
