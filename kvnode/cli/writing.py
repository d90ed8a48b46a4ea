"""``put``, ``delete``, ``incr`` and ``decr``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from kvnode.cli.levels import durability_option, session_option, stored_text
from kvnode.cli.options import (
    KEY,
    LIFETIME,
    TOKEN,
    VALUE,
    AmountType,
    Settings,
    connection_options,
    encode_token,
    file_option,
    key_base64_option,
    pass_settings,
    value_of,
)
from kvnode.cli.output import bytes_object, escaped, note, write_json, write_line

if TYPE_CHECKING:
    from kvnode.client.client import Client
    from kvnode.client.values import DataType, Receipt

COUNTER_NAMES: Final = ("g_counter", "pn_counter")
TYPE_NAMES: Final = (*COUNTER_NAMES, "lww_register", "siblings")

context_option = click.option(
    "--context",
    type=TOKEN,
    metavar="TOKEN",
    help="Replace exactly what was read with TOKEN ('get --show-context').",
)

counter_type_option = click.option(
    "--type",
    "type_name",
    type=click.Choice(COUNTER_NAMES),
    help="Which counter; needed only for a key that is both.",
)


@click.command()
@click.argument("key", type=KEY)
@click.argument("value", type=VALUE, required=False)
@file_option
@click.option("--lww", is_flag=True, help="A last-writer-wins register instead of siblings.")
@context_option
@click.option("--blind", is_flag=True, help="Replace nothing: add a sibling.")
@click.option(
    "--ttl",
    type=LIFETIME,
    metavar="TIME",
    help="Let the value expire after 30s, 5m, 2h, 1d or so many seconds.",
)
@durability_option
@session_option
@key_base64_option
@connection_options()
@pass_settings
def put(
    settings: Settings,
    *,
    key: bytes,
    value: bytes | None,
    path: str | None,
    lww: bool,
    context: bytes | None,
    blind: bool,
    ttl: float | None,
) -> None:
    """Store VALUE under KEY.

    It replaces what the node holds now, all values of a conflict too (which is said then, except
    in JSON); with --context exactly what was read then, so that values written since survive
    beside it; with --blind nothing. VALUE - is standard input; put -- before a value that begins
    with a dash.

    \b
    Examples:
      kvnode put user:1 Ada
      kvnode put photo --file photo.jpg
      date | kvnode put last-run -
      kvnode put user:1 'Ada L.' --context "$(kvnode get user:1 --json | jq -r .context)"
      kvnode put position:N123 12.5,47.1 --lww
      kvnode put session:4711 Ada --ttl 30m
      kvnode put order:3 paid --durability quorum
    """
    content = value_of(value, path, "VALUE, --file FILE, or - for standard input")
    tells = not (lww or blind or context or settings.json)
    with settings.client() as client:
        replaced = siblings_held(client, key) if tells else 0
        receipt = client.put(key, content, lww=lww, context=context, blind=blind, ttl=ttl)
    place = f" in place of {replaced} conflicting values" if replaced > 1 else ""
    write_receipt(settings, key, receipt, "stored", place)


def siblings_held(client: Client, key: bytes) -> int:
    """How many values a plain put is about to replace, only to be told; 0 if that cannot be read.

    Where nobody answers a read nobody would take the write, and so far it is certain that nothing
    was written: that error stands.
    """
    from kvnode.errors import DeadlineExceeded, KvnodeError, NodeUnavailable

    try:
        return len(client.get(key).siblings)
    except (NodeUnavailable, DeadlineExceeded):
        raise
    except KvnodeError:
        return 0


@click.command()
@click.argument("key", type=KEY)
@click.option(
    "--type",
    "type_name",
    type=click.Choice(TYPE_NAMES),
    help="What to delete; needed only for a key that has several types.",
)
@context_option
@durability_option
@session_option
@key_base64_option
@connection_options()
@pass_settings
def delete(settings: Settings, *, key: bytes, type_name: str | None, context: bytes | None) -> None:
    """Remove KEY.

    What the node holds now goes, or with --context exactly what was read. What is written
    elsewhere at the same time survives. Deleting an absent key is no error.

    \b
    Examples:
      kvnode delete user:1
      kvnode delete user:1 --context "$(kvnode get user:1 --json | jq -r .context)"
      kvnode delete visits --type pn_counter
    """
    with settings.client() as client:
        receipt = client.delete(key, type=type_of(type_name), context=context)
    write_receipt(settings, key, receipt, "deleted")


@click.command()
@click.argument("key", type=KEY)
@click.argument("amount", type=AmountType("'kvnode decr' takes away"), default=1)
@click.option("--grow-only", is_flag=True, help="A counter that can never be decremented.")
@counter_type_option
@durability_option
@session_option
@key_base64_option
@connection_options()
@pass_settings
def incr(
    settings: Settings, *, key: bytes, amount: int, grow_only: bool, type_name: str | None
) -> None:
    """Add AMOUNT to the counter KEY.

    1 if not given. Prints the sum that the node then has.

    A key without a counter gets one that can grow and shrink, or with --grow-only one that can
    only grow. Do not simply repeat an increment that ended with exit code 8: it may count
    twice.

    \b
    Examples:
      kvnode incr visits
      kvnode incr bytes-sent 4096 --grow-only
    """
    if grow_only and type_name:
        raise click.UsageError("Give one of --grow-only and --type")
    kind = type_of("g_counter" if grow_only else type_name)
    with settings.client() as client:
        receipt = client.increment(key, amount, type=kind)
    write_sum(settings, key, receipt)


@click.command()
@click.argument("key", type=KEY)
@click.argument("amount", type=AmountType("'kvnode incr' adds"), default=1)
@counter_type_option
@durability_option
@session_option
@key_base64_option
@connection_options()
@pass_settings
def decr(settings: Settings, *, key: bytes, amount: int, type_name: str | None) -> None:
    """Take AMOUNT off the counter KEY.

    1 if not given. Prints the sum that the node then has.

    \b
    Examples:
      kvnode decr stock:4711
      kvnode decr balance 100 --durability 2
    """
    with settings.client() as client:
        receipt = client.increment(key, -amount, type=type_of(type_name))
    write_sum(settings, key, receipt)


def type_of(name: str | None) -> DataType | None:
    """The type of a --type option."""
    from kvnode.client.values import DataType

    return None if name is None else DataType[name.upper()]


def write_receipt(
    settings: Settings, key: bytes, receipt: Receipt, done: str, place: str = ""
) -> None:
    """What became of a put or delete; ``place`` says what a put took the place of."""
    if settings.json:
        write_json(receipt_object(key, receipt))
    elif not receipt.dot.seq:
        write_line(f"taken {escaped(key)}{place} (at {receipt.endpoint}, on no disk yet)")
    else:
        stored = stored_text(receipt.stored_by)
        write_line(
            f"{done} {escaped(key)}{place} (write {receipt.dot} at {receipt.endpoint}"
            f"{', ' if stored else ''}{stored})"
        )


def write_sum(settings: Settings, key: bytes, receipt: Receipt) -> None:
    """What became of an increment: the number alone, for scripts."""
    if settings.json:
        write_json(receipt_object(key, receipt))
    elif not receipt.dot.seq:
        note(f"(taken at {receipt.endpoint}, on no disk yet; the sum is not known)")
    else:
        write_line(str(receipt.counter))
        if receipt.stored_by:
            note(f"({stored_text(receipt.stored_by)})")


def receipt_object(key: bytes, receipt: Receipt) -> dict[str, object]:
    """A receipt for JSON; without a dot while it is on no disk."""
    dot = str(receipt.dot) if receipt.dot.seq else None
    found: dict[str, object] = {"key": bytes_object(key), "dot": dot}
    if receipt.context:
        found["context"] = encode_token(receipt.context)
    if receipt.counter is not None:
        found["counter"] = receipt.counter
    found["session"] = {f"{origin:016x}": seq for origin, seq in sorted(receipt.session.items())}
    if receipt.stored_by:
        found["stored_by"] = list(receipt.stored_by)
    found["repeated"] = receipt.repeated
    found["endpoint"] = receipt.endpoint
    return found
