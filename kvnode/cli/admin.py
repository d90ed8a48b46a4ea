"""``inspect``, ``status`` and ``peers``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from kvnode.cli.options import (
    KEY,
    Settings,
    connection_options,
    encode_token,
    key_base64_option,
    pass_settings,
)
from kvnode.cli.output import cut, escaped, stdout_is_terminal, write_json, write_line
from kvnode.cli.tables import write_table

if TYPE_CHECKING:
    from kvnode.v1 import admin_pb2, types_pb2


@click.command()
@click.argument("key", type=KEY)
@key_base64_option
@connection_options()
@pass_settings
def inspect(settings: Settings, *, key: bytes) -> None:
    """Show everything the node keeps under KEY.

    Deleted and expired values too, with dots, origins, times and contexts.

    \b
    Examples:
      kvnode inspect visits
      kvnode inspect visits --json
    """
    with settings.client() as client:
        found = client.admin.inspect(key)
    if settings.json:
        from kvnode.cli.messages import message_object

        write_json(message_object(found))
        return
    write_line(f"key      {escaped(found.key)}\ncontext  {encode_token(found.context)}")
    for cell in found.cells:
        write_cell(cell)


def write_cell(cell: admin_pb2.Cell) -> None:
    """What is kept for one type of the key."""
    from kvnode.cli.messages import dot_text, enum_name

    visible = "visible" if cell.visible else "not visible"
    write_line(f"\n{enum_name(cell, 'type')} ({visible}), context {encode_token(cell.context)}")
    if cell.slots:
        write_table(
            ("slot", "node", "added", "taken", "deleted added", "deleted taken", "last change"),
            [slot_row(slot) for slot in cell.slots],
        )
    stored = [*([cell.register] if cell.HasField("register") else []), *cell.siblings]
    if stored:
        from kvnode.cli.states import with_expiry

        rows = [stored_row(item, deleted=cell.deleted) for item in stored]
        expires = [item.expires_ms for item in stored]
        columns = ("value", "node", "time", "dot")
        write_line(with_expiry(columns, rows, expires, terminal=stdout_is_terminal()))
    if cell.awaited:
        removed = ", ".join(dot_text(dot) for dot in cell.awaited)
        write_line(f"  removed before their arrival here: {removed}")


def slot_row(slot: admin_pb2.CounterSlot) -> tuple[str, ...]:
    """A counter's slot."""
    from kvnode.cli.messages import dot_text
    from kvnode.cli.states import local_time

    return (
        dot_text(slot.birth),
        slot.node or "(unknown)",
        str(slot.incremented),
        str(slot.decremented),
        str(slot.deleted_incremented),
        str(slot.deleted_decremented),
        local_time(slot.time_ms),
    )


def stored_row(item: types_pb2.StoredValue, *, deleted: bool) -> tuple[str, ...]:
    """A register or sibling."""
    from kvnode.cli.messages import dot_text
    from kvnode.cli.states import local_time

    value = "(deleted)" if deleted else cut(item.value)
    return (value, item.node or "(unknown)", local_time(item.time_ms), dot_text(item.dot))


@click.command()
@connection_options()
@pass_settings
def status(settings: Settings) -> None:
    """Show the state of a node.

    Its version vector, peers, log and checkpoint. With several endpoints it is the first that
    answers.

    \b
    Examples:
      kvnode status
      kvnode -e 127.0.0.1:7081 status --json | jq .vector
    """
    with settings.client() as client:
        found = client.admin.status()
    if settings.json:
        from kvnode.cli.messages import message_object

        write_json(message_object(found))
        return
    write_table(("", ""), status_rows(found))
    write_line("\nVersion vector")
    write_table(
        ("node", "origin", "seq"),
        [
            (entry.node or "(unknown)", f"{entry.origin:016x}", str(entry.seq))
            for entry in found.vector
        ],
    )
    write_line("\nPeers")
    write_peers(found.peers)
    for fork in found.forks:
        write_line(f"\nFork: {fork.node} {fork.origin:016x}: {escaped(fork.reason.encode())}")


def status_rows(found: admin_pb2.StatusResponse) -> list[tuple[str, str]]:
    """The node itself, a fact a row."""
    log, checkpoint = found.log, found.checkpoint
    state = f"{found.state}: {found.problem}" if found.problem else found.state
    running = ", one is running" if checkpoint.running else ""
    return [
        ("node", f"{found.name} ({found.origin:016x}) of cluster {found.cluster}"),
        ("state", state),
        *quarantine_rows(found.quarantine),
        ("version", found.version),
        ("data", found.data_directory),
        ("up", duration(found.uptime_ms)),
        (
            "operations",
            f"{found.operations_accepted} accepted, {found.operations_refused} refused,"
            f" {found.operations_received} received, in {found.commits} commits"
            + (f"; {found.buffered_lost} buffered ones lost" if found.buffered_lost else ""),
        ),
        ("watches", f"{found.watches} open"),
        ("queue", f"{found.queued_requests} requests, {size(found.queued_bytes)}"),
        (
            "log",
            f"blocks {log.first_arrival} to {log.last_arrival},"
            f" {size(log.block_bytes)} and {size(log.used_bytes - log.block_bytes)} of index,"
            f" in a file of {size(log.file_bytes)} (grows by itself);"
            f" {size(log.appended_bytes_per_s)}/s come",
        ),
        (
            "log keeps",
            f"what a peer lacks, up to {size(log.bytes_max)}; what all have for"
            f" {duration(log.retention_ms)}, up to {size(log.retention_bytes)}",
        ),
        (
            "checkpoint",
            f"at block {checkpoint.arrival}, {checkpoint.behind_ops} operations behind,"
            f" last took {checkpoint.last_ms} ms{running}",
        ),
        (
            "state store",
            f"{checkpoint.stored_keys} keys, {size(checkpoint.used_bytes)} (grows by itself);"
            f" in memory {checkpoint.memtable_keys} keys, {size(checkpoint.memtable_bytes)}",
        ),
        *([("snapshot", snapshot_text(found.sync))] if found.HasField("sync") else []),
        ("clock", f"{found.clock_offset_ms:+d} ms against the median of all members"),
    ]


def quarantine_rows(found: admin_pb2.QuarantineStatus) -> list[tuple[str, str]]:
    """Only if there is something."""
    if not (found.records or found.pushed_out):
        return []
    gone = f", {found.pushed_out} more had to go" if found.pushed_out else ""
    text = f"{found.records} bad blocks, {size(found.bytes)}{gone}: see 'kvnode quarantine ls'"
    return [("quarantine", text)]


def snapshot_text(sync: admin_pb2.Sync) -> str:
    """How far the node is with catching up by a snapshot."""
    source = f"{sync.state}, from {getattr(sync, 'from')}"  # a word of Python's
    if not sync.total_keys:
        return source
    return (
        f"{source}: {sync.received_keys} of about {sync.total_keys} keys,"
        f" {size(sync.received_bytes)} of about {size(sync.total_bytes)}"
    )


@click.command()
@connection_options()
@pass_settings
def peers(settings: Settings) -> None:
    """Show how far each peer of a node is.

    Behind: what this node has and the peer has not acknowledged. Falls off: when, at the present
    write rate, the log gets too large to keep that, so that the peer needs a snapshot. Ahead: what
    the peer has and this node lacks.

    \b
    Examples:
      kvnode peers
      kvnode peers --json | jq '.[] | {name, behind_ops}'
    """
    with settings.client() as client:
        found = client.admin.status()
    if settings.json:
        from kvnode.cli.messages import message_object

        write_json([message_object(peer) for peer in found.peers])
        return
    write_peers(found.peers)


def write_peers(found: Iterable[admin_pb2.PeerStatus]) -> None:
    """A row for each peer."""
    rows = [
        (
            peer.name,
            peer.address,
            peer.state,
            duration(peer.silent_ms) if peer.origin or peer.silent_ms else "never seen",
            f"{peer.behind_ops} ops, {size(peer.behind_bytes)}, {duration(peer.behind_ms)}"
            if peer.behind_ops
            else "0 ops",
            "needs a snapshot"
            if peer.needs_snapshot
            else f"in {duration(peer.falls_off_ms)}"
            if peer.falls_off_ms
            else "",
            f"{peer.ahead_ops} ops",
            f"{peer.clock_offset_ms:+d} ms",
            escaped(peer.problem.encode()),
        )
        for peer in found
    ]
    if rows:
        columns = (
            *("name", "address", "state", "silent", "behind", "falls off", "ahead", "clock"),
            "problem",
        )
        write_table(columns, rows)
    else:
        write_line("No peers.")


def duration(time_ms: int) -> str:
    """Milliseconds as people read them."""
    if time_ms < 1_000:
        return f"{time_ms} ms"
    if time_ms < 120_000:
        return f"{time_ms / 1000:.1f} s"
    hours, minutes = divmod(time_ms // 60_000, 60)
    if hours >= 48:
        days, hours = divmod(hours, 24)
        return f"{days} d {hours} h" if days < 100 else f"{days} d"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def size(count: int) -> str:
    """Bytes as people read them."""
    number = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{count} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
