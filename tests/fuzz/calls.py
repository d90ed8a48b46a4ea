"""Hostile requests for every method that the node's services describe."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from kvnode.rpc.server import SERVICES

from .mutations import Mutator
from .targets import CORPUS

REPEATED_MAX = 300
DEEP_MAX = 3
UINT64 = (0, 1, 2, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
SINT64 = (0, 1, -1, 2**31, -(2**63), 2**63 - 1)
UINT32 = (0, 1, 2, 100, 2**31, 2**32 - 1)
APART = ("operations", "puts", "increments", "")
"""Of these a request has one; "" leaves them all out."""
TEXTS = ("", "a", "b", "127.0.0.1:9", "x" * 70_000, "\0", "\u202e", "a=b,c/d:e")
BYTES = (b"", b"k", b"\xff" * 480, bytes(481), bytes(16), b"\x01" + bytes(9), bytes(2 << 20))


def methods() -> dict[str, MethodDescriptor]:
    """``/package.Service/Method`` -> its description."""
    return {
        f"/{service}/{method.name}": method
        for service in SERVICES
        for method in Default().FindServiceByName(service).methods
    }


class Requests:
    """An endless supply of requests for one method."""

    def __init__(
        self, method: MethodDescriptor, seed: str, hello: Callable[[], Message] | None
    ) -> None:
        """``hello``: what a welcome peer says of itself, for requests that begin with it."""
        self._kind = method.input_type
        self._random = random.Random(seed)
        self._hello = hello
        self._seed = seed
        self._corpus = {
            folder.name: [file.read_bytes() for file in sorted(folder.iterdir())]
            for folder in sorted(CORPUS.iterdir())
        }

    def hostile(self, count: int) -> Iterator[bytes]:
        """Messages with fields of the right type and the wrong size, number or meaning."""
        for _ in range(count):
            yield self._message(self._kind, 0, small=False).SerializeToString()

    def changed(self, count: int) -> Iterator[bytes]:
        """Bytes of such messages, changed."""
        corpus = [raw[:4096] for raw in self.hostile(8)]
        mutator = Mutator(self._seed, corpus, None)
        for _ in range(count):
            yield mutator.next()

    def _message(self, kind: Descriptor, depth: int, *, small: bool) -> Message:
        chance = self._random
        message = GetMessageClass(kind)()
        if kind.name == "Hello" and self._hello is not None and chance.random() < 0.8:
            message.CopyFrom(self._hello())
            return message
        apart = chance.choice(APART) if kind.name == "WriteRequest" else None
        for field in kind.fields:
            if apart is not None and field.name in APART and field.name != apart:
                continue  # more than one of them is refused before any is looked at
            if field.name == "preview":
                message.preview = True  # type: ignore[attr-defined] # who may ask it may also do it
            elif chance.random() < 0.8 and (field.message_type is None or depth < DEEP_MAX):
                self._fill(message, field, depth, small=small)
        return message

    def _fill(self, message: Message, field: FieldDescriptor, depth: int, *, small: bool) -> None:
        chance = self._random
        if field.is_repeated:
            many = chance.choice((0, 1, 2, REPEATED_MAX if depth < 1 else 3))
            values = [self._value(field, depth, small=small or many > 2) for _ in range(many)]
            getattr(message, field.name).extend(values)
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(self._value(field, depth, small=small))
        else:
            setattr(message, field.name, self._value(field, depth, small=small))

    def _value(self, field: FieldDescriptor, depth: int, *, small: bool) -> Any:
        chance, kinds = self._random, FieldDescriptor
        match field.type:
            case kinds.TYPE_MESSAGE:
                assert field.message_type is not None
                return self._message(field.message_type, depth + 1, small=small)
            case kinds.TYPE_BYTES if field.name in ("blocks", "rows", "entry", "roster"):
                raws = self._corpus[chance.choice(("block", "entry", "roster", "snapshot-rows"))]
                return Mutator(str(chance.random()), raws, None).next()
            case kinds.TYPE_BYTES:
                return chance.choice(BYTES[:-1] if small else BYTES)
            case kinds.TYPE_STRING:
                return chance.choice(TEXTS[:4] if small else TEXTS)
            case kinds.TYPE_BOOL:
                return chance.random() < 0.5
            case kinds.TYPE_UINT32 | kinds.TYPE_FIXED32:
                return chance.choice(UINT32)
            case kinds.TYPE_SINT64 | kinds.TYPE_INT64:
                return chance.choice(SINT64)
            case kinds.TYPE_ENUM:
                return chance.choice((0, 1, 2, 3, 4, 5, 77, -1))
            case kinds.TYPE_UINT64 | kinds.TYPE_FIXED64:
                return chance.choice(UINT64)
        raise AssertionError(f"a field of type {field.type}: {field.full_name}")
