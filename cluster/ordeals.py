"""The phases of ``./cluster/chaos``: each does one thing to a node and says what it saw.

A phase proves that its fault really happened and that the cluster got over it; whether anything got
lost is seen in the end (``ledger.py``). What it returns is a row of the final table.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from time import monotonic
from typing import Final, NamedTuple

from cluster.load import ROAMING
from cluster.stage import COMMAND_DEADLINE_S, Stage, Wrong, run
from cluster.vectors import lacking
from kvnode import KvnodeError

CLOCK_STEP_MS: Final = 600_000
UNREPLICATED_BATCHES: Final = 5
"""That a node has to write on its own, before its disk is wiped."""

SNAPSHOT_MERGED: Final = re.compile(r"the snapshot of (\S+) is merged: (\d+) operations")
CLONE_REFUSED: Final = re.compile(r"is a copy of the directory of node '.*?', which is running")


class Observed(NamedTuple):
    """What a phase did, and what proves it."""

    done: str
    seen: str


def join(stage: Stage, name: str) -> Observed:
    """A new node is taken in while the others take writes."""
    stage.say(f"{name} is new: it is started with --join and waits.")
    stage.cluster.start(name, serving=False)
    stage.wait_for(lambda: stage.state(name) == "joining", f"{name} says that it is joining")
    refused = reason_of(stage, name)
    if refused != "JOINING":
        raise Wrong(f"{name} has to refuse calls while it is joining, not {refused or 'serve'}")
    begun_s = monotonic()
    stage.take_in(name, "join")
    stage.wait_serving(name)
    took_s = monotonic() - begun_s
    stage.load.begin(name)
    return Observed(
        f"{name} joins under load",
        f"refuses calls (JOINING) until it has all; serves {took_s:.1f} s after it was taken in, "
        f"with {sum(stage.vector(name).values()):,} operations",
    )


def kill(stage: Stage, name: str) -> Observed:
    """kill -9, and a restart out of everybody's reach: what was acknowledged is on its own disk."""
    stage.say(f"{name} is cut off, writes on, is killed with SIGKILL, and started again alone.")
    origin = stage.origin(name)
    stage.cluster.isolate(name)
    stage.go_on()
    stage.cluster.kill(name)
    elsewhere = max(stage.vector(one).get(origin, 0) for one in stage.others(name))
    acknowledged = stage.ledger.last_seq(origin)
    stage.cluster.start(name)
    here = stage.vector(name).get(origin, 0)
    if stage.origin(name) != origin:
        raise Wrong(f"{name} came back under another identity after a mere kill -9")
    if not elsewhere < acknowledged <= here:
        raise Wrong(
            f"{name} had acknowledged {acknowledged} writes; it has {here}, the others {elsewhere}"
        )
    stage.cluster.heal()
    stage.wait_taken_over(name)
    return Observed(
        f"kill -9 {name}",
        f"its last {acknowledged - elsewhere:,} acknowledged operations were nowhere else and are "
        "there after the restart",
    )


def wipe(stage: Stage, name: str) -> Observed:
    """The disk is gone, with writes that nobody else had; an empty node takes the old one's place.

    The only phase that may lose acknowledged writes, so it sees to it that there are some.
    """
    stage.say(f"{name} is cut off, writes on, is killed, and its disk is wiped.")
    old = stage.origin(name)
    stage.cluster.isolate(name)
    before = stage.load.writers[name].acknowledged
    stage.wait_for(
        lambda: stage.load.writers[name].acknowledged > before + UNREPLICATED_BATCHES,
        f"{name} takes writes while cut off",
    )
    stage.cluster.kill(name)
    stage.load.spare(name)
    stage.ledger.destroyed.add(old)
    kept = max(stage.vector(one).get(old, 0) for one in stage.others(name))
    lost = stage.ledger.operations_above(old, kept)
    if not lost:
        raise Wrong(f"{name} has written nothing that only it had: the phase proves nothing")
    shutil.rmtree(stage.cluster.node(name).data)
    stage.cluster.heal()
    stage.cluster.start(name, serving=False)
    stage.wait_for(
        lambda: stage.state(name) == "joining" and "replace" in stage.status(name).problem,
        f"{name} finds out that it lost its data",
    )
    begun_s = monotonic()
    stage.take_in(name, "replace")
    stage.wait_serving(name)
    new = stage.origin(name)
    if new == old:
        raise Wrong(f"{name} writes under the identity again that its lost disk had")
    back = stage.vector(name).get(old, 0)
    if back < kept:
        raise Wrong(f"{name} got {back} of its {kept} old writes back")
    stage.load.begin(name)
    return Observed(
        f"wipe {name}, replace",
        f"waits instead of serving nothing; new identity, serves {monotonic() - begun_s:.1f} s "
        f"after replace with {kept:,} old operations; {lost:,} only its disk had (documented)",
    )


def restore(stage: Stage, name: str) -> Observed:
    """An old copy of the data directory is put back."""
    stage.say(f"{name} is stopped for a backup; later the backup is put back in place of its data.")
    data = stage.cluster.node(name).data
    backup = stage.directory / "backup"
    old = stage.origin(name)
    with stage.load.sparing(name):
        stage.cluster.stop(name)
        shutil.copytree(data, backup)
        stage.cluster.start(name)
    stage.go_on()
    # What it has acknowledged since is to come back, from the others: so they must have it.
    stage.load.spare(name)
    stage.wait_taken_over(name)
    written = stage.vector(name).get(old, 0)
    stage.cluster.stop(name)
    shutil.rmtree(data)
    backup.rename(data)
    begun_s = monotonic()
    stage.cluster.start(name)
    new = stage.origin(name)
    back = stage.vector(name).get(old, 0)
    if new == old:
        raise Wrong(f"{name} writes on under the identity of its old copy")
    if back < written:
        raise Wrong(f"{name} serves with {back} of the {written} operations it had written")
    stage.load.begin(name)
    return Observed(
        f"old copy of {name} put back",
        f"found out by itself: new identity, serves {monotonic() - begun_s:.1f} s after its start "
        f"with all {written:,} operations it had written",
    )


def clone(stage: Stage, name: str) -> Observed:
    """A second process over a copy of a running node's directory."""
    stage.say(f"A copy of {name}'s directory is started beside {name}.")
    node = stage.cluster.node(name)
    copy = stage.directory / "clone"
    # Halted, so that the copy is one moment's, as a snapshot of a file system is.
    stage.cluster.pause(name)
    try:
        shutil.copytree(node.data, copy)
    finally:
        stage.cluster.resume(name)
    origin = stage.origin(name)
    command = list(node.command)
    command[command.index("--data") + 1] = str(copy)
    command[command.index("--listen") + 1] = "127.0.0.1:0"
    printed = run(command, COMMAND_DEADLINE_S)
    refusal = CLONE_REFUSED.search(printed.output)
    if printed.exit_code == 0 or refusal is None:
        raise Wrong(f"the clone ended with {printed.exit_code}:\n{printed.output}")
    if stage.origin(name) != origin or stage.state(name) != "serving":
        raise Wrong(f"the clone has disturbed {name}")
    shutil.rmtree(copy)
    return Observed(
        f"second process on a copy of {name}",
        f'refused, exit code {printed.exit_code} ("{refusal[0]}"); {name} serves on as before',
    )


def forget(stage: Stage, name: str) -> Observed:
    """A member is forgotten while it is down; later it comes back as if nothing had been."""
    stage.say(f"{name} is killed and forgotten, and started again later.")
    old = stage.origin(name)
    stage.load.spare(name)
    stage.wait_taken_over(name)  # else what only it had would have to be exported
    stage.cluster.kill(name)
    sponsor = stage.others(name)[0]
    line = ("forget", name, "--endpoint", stage.cluster.endpoints[sponsor], "--yes")
    stage.say(f"  $ kvnode {' '.join(line)}")
    if (printed := stage.kvnode(*line)).exit_code:
        raise Wrong(f"kvnode {' '.join(line)}: {printed.output}")
    stage.go_on()
    stage.cluster.start(name, serving=False)
    stage.wait_for(lambda: stage.state(name) == "forgotten", f"{name} says that it is forgotten")
    refused = reason_of(stage, name)
    if refused != "FORGOTTEN":
        raise Wrong(f"{name} was forgotten and does not refuse calls: {refused}")
    stage.cluster.stop(name)
    shutil.rmtree(stage.cluster.node(name).data)
    stage.say(f"{name} gets an empty disk and is taken in as a new node.")
    stage.cluster.start(name, serving=False)
    stage.wait_for(lambda: stage.state(name) == "joining", f"{name} says that it is joining")
    stage.take_in(name, "join")
    stage.wait_serving(name)
    if stage.origin(name) == old:
        raise Wrong(f"{name} is back under the identity that was forgotten")
    stage.load.begin(name)
    return Observed(
        f"forget {name}, then join anew",
        "back with its old data it says that it was forgotten and refuses calls (FORGOTTEN); "
        "with an empty disk it is a member again",
    )


def long_cut(stage: Stage, name: str) -> Observed:
    """A node is away until the others' logs have lost what it lacks."""
    stage.say(f"{name} is cut off until the others' logs no longer have what it lacks.")
    others = stage.others(name)
    stage.cluster.isolate(name)
    begun_s = monotonic()
    stage.wait_for(
        lambda: all(needs_snapshot(stage, one, name) for one in others),
        f"the logs of {', '.join(others)} are cut past {name}",
    )
    stage.go_on()
    away_s = monotonic() - begun_s
    log_bytes = max(stage.status(one).log.block_bytes for one in others)
    target = stage.vector(others[0])
    missed = lacking(stage.vector(name), target)
    stage.say(f"  It lacks {missed:,} operations; the links are back.")
    log = stage.cluster.node(name).log
    log_start = log.stat().st_size
    stage.cluster.heal()
    shown: set[str] = set()

    def caught_up() -> bool:
        if sync := stage.status(name).sync.state:
            shown.add(sync)
        return not lacking(stage.vector(name), target)

    took_s = stage.wait_for(caught_up, f"{name} has what it missed")

    def merged() -> list[tuple[str, str]]:
        return SNAPSHOT_MERGED.findall(log.read_bytes()[log_start:].decode())

    stage.wait_for(merged, f"{name} tells of a snapshot, as it has caught up")
    came = ", ".join(f"{int(operations):,} of {peer}" for peer, operations in merged())
    return Observed(
        f"{name} cut off for {away_s:.0f} s",
        f"the others cut their logs at {log_bytes / 1e6:.1f} MB: needs_snapshot; {missed:,} "
        f"operations are back {took_s:.1f} s after the heal, by snapshot ({came})"
        + (f"; status showed {' and '.join(sorted(shown))}" if shown else ""),
    )


def clock_step(stage: Stage, name: str) -> Observed:
    """The wall clock of one node jumps ten minutes ahead."""
    stage.say(f"The clock of {name} steps 10 minutes ahead.")
    writer = stage.load.writers[name]
    stage.clock.step(CLOCK_STEP_MS)
    stage.wait_for(lambda: not writer.registers, f"{name} refuses registers with CLOCK_OFF")
    refused, taken = writer.refusals["CLOCK_OFF"], writer.acknowledged
    offset_s = stage.status(name).clock_offset_ms / 1000
    stage.go_on()
    if stage.load.writers[ROAMING].acknowledged == 0:
        raise Wrong("nobody else took writes")
    refused, taken = writer.refusals["CLOCK_OFF"] - refused, writer.acknowledged - taken
    if not (refused and taken):
        raise Wrong(f"with its clock off {name} refused {refused} batches and took {taken}")
    for other in stage.others(name):
        if not stage.load.writers[other].registers:
            raise Wrong(f"{other} refuses registers, but it is {name}'s clock that is off")
    stage.clock.step(0)
    stage.wait_for(lambda: writer.registers, f"{name} takes registers again")
    return Observed(
        f"clock of {name} +10 min",
        f"it measures {offset_s:+.0f} s and refuses registers (CLOCK_OFF, {refused} times) while "
        f"{taken} batches of counters and siblings are taken; the others' registers too",
    )


def reason_of(stage: Stage, name: str) -> str:
    """Why the node refuses to be read, "" if it does not."""
    try:
        stage.clients[name].batch_get(["balance/0"])
    except KvnodeError as error:
        return str(getattr(error, "reason", "") or error)
    return ""


def needs_snapshot(stage: Stage, at: str, peer: str) -> bool:
    """Whether the log there no longer has what the peer lacks."""
    return any(each.needs_snapshot for each in stage.status(at).peers if each.name == peer)


Ordeal = tuple[str, Callable[[Stage], Observed]]

ORDEALS: Final[tuple[Ordeal, ...]] = (
    ("join", lambda stage: join(stage, "d")),
    ("join", lambda stage: join(stage, "e")),
    ("kill", lambda stage: kill(stage, "a")),
    ("wipe", lambda stage: wipe(stage, "b")),
    ("restore", lambda stage: restore(stage, "c")),
    ("clone", lambda stage: clone(stage, "d")),
    ("forget", lambda stage: forget(stage, "e")),
    ("long cut", lambda stage: long_cut(stage, "a")),
    ("clock", lambda stage: clock_step(stage, stage.skewed)),
)
"""In this order."""
