"""Schedules that lead to where a bug shows, with enough chance in them that it matters what it is.

Chance alone finds most planted bugs; these are for those it would need too many seeds for. Each is
a function of the seed, as ``schedule.draw`` is, and runs clean without a bug.
"""

from __future__ import annotations

from dataclasses import replace

from tests.checkers.history import Type
from tests.sim.mutants.script import Script
from tests.sim.plan import Plan

EAGER_CHECKPOINTS = {"checkpoint_interval_ms": 500, "checkpoint_keys": 6}
SHORT_LOG = {
    "log_retention_s": 1,
    "log_retention_bytes": 1_024,
    "log_bytes_max": 1_024,
    **EAGER_CHECKPOINTS,
}
ALL: tuple[Type, ...] = ("GCOUNTER", "PNCOUNTER", "LWW", "SIBLINGS")
COUNTERS: tuple[Type, ...] = ("GCOUNTER", "PNCOUNTER")


def crowds(seed: int) -> Plan:
    """Many requests at one moment at one node with a slow disk: they share a block."""
    script = Script(seed, 2)
    for node in script.nodes:
        script.step(0, "slow disk", node, lasts_ms=6_000, amount=0.08)
    chance = script.chance
    for at_ms in range(100, 5_000, 200):
        node = chance.choice(script.nodes)
        for client in range(6):
            key, kind = chance.choice((("p0", "PNCOUNTER"), ("g0", "GCOUNTER"), ("s0", "SIBLINGS")))
            changes = [script.change(key, kind, 0.1)]  # type: ignore[arg-type]
            if chance.random() < 0.3:
                changes.append(script.change("m0", chance.choice(("LWW", "SIBLINGS")), 0.2))
            script.ask(at_ms, client, node, *changes)
    return script.plan(6_000)


def same_moment(seed: int) -> Plan:
    """Registers written at two nodes in the same millisecond."""
    script = Script(seed, 2)
    for at_ms in range(100, 5_000, 150):
        key = f"l{script.chance.randrange(4)}"
        for client in range(6):
            node = script.nodes[client % 2]
            script.ask(at_ms, client, node, script.put(key, "LWW"))
    return script.plan(5_000)


def lost_replies(seed: int) -> Plan:
    """Replies that get lost after the write was done, and the retries."""
    script = Script(seed, 2, **EAGER_CHECKPOINTS)
    for client in range(8):
        for node in script.nodes:
            script.step(50, "lose", node, f"client{client}", lasts_ms=6_000, amount=0.4)
    script.busy(
        script.nodes, COUNTERS, from_ms=100, to_ms=5_000, every_ms=60, retries=2, deletes=0.05
    )
    return script.plan(6_000)


def lost_to_a_program(seed: int) -> Plan:
    """The same of a program, whose clients write together, so that it goes in columns."""
    script = Script(seed, 2)
    for node in script.nodes:
        script.step(50, "lose", node, "app1", lasts_ms=6_000, amount=0.3)
    for at_ms in range(100, 5_000, 250):
        node = script.chance.choice(script.nodes)
        for client in range(6):
            kind: Type = script.chance.choice(("PNCOUNTER", "GCOUNTER", "LWW"))
            change = script.change(f"{kind[0].lower()}0", kind, 0.0)
            script.ask(at_ms, client, node, change, program="app1", timeout_s=1.5)
    return script.plan(6_000)


def held_on_the_way(seed: int) -> Plan:
    """Nodes that stand still while a program's requests are on their way to them."""
    script = Script(seed, 2)
    for at_ms in range(600, 6_000, 2_500):
        for node in script.nodes:
            script.step(at_ms, "pause", node, lasts_ms=2_200)
    for at_ms in range(100, 8_000, 40):
        node, client = script.chance.choice(script.nodes), script.chance.randrange(6)
        put = script.put(f"l{client}", "LWW")
        script.ask(at_ms, client, node, put, program="app1", timeout_s=0.5)
    return script.plan(8_500)


def killed_before_the_reply(seed: int) -> Plan:
    """Nodes that die between the write and its reply, with retries that find them again."""
    script = Script(seed, 2)
    chance = script.chance
    for client in range(8):
        for node in script.nodes:
            script.step(50, "lose", node, f"client{client}", lasts_ms=9_000, amount=0.4)
    for at_ms in range(400, 8_000, 700):
        script.step(at_ms + chance.randrange(300), "kill", chance.choice(script.nodes), lasts_ms=50)
    script.busy(
        script.nodes, COUNTERS, from_ms=100, to_ms=8_000, every_ms=60, retries=2, deletes=0.05
    )
    return script.plan(9_000)


def hour_ahead(seed: int) -> Plan:
    """One clock is an hour ahead."""
    script = Script(seed)
    script.step(100, "clock step", "n1", amount=3_600_000.0)
    script.busy(
        script.nodes, ("PNCOUNTER", "SIBLINGS"), from_ms=300, to_ms=3_000, every_ms=60, deletes=0.1
    )
    return script.plan(3_500)


def clocks_apart(seed: int) -> Plan:
    """Registers written in turn at nodes whose clocks are some seconds apart."""
    script = Script(seed)
    script.step(100, "clock step", "n1", amount=4_000.0)
    script.step(100, "clock step", "n2", amount=-3_000.0)
    script.busy(script.nodes, ("LWW",), from_ms=300, to_ms=4_000, every_ms=70, deletes=0.2)
    return script.plan(4_500)


def clocks_set_back_over_a_restart(seed: int) -> Plan:
    """All clocks go back by a minute while a node with nothing but a checkpoint is down."""
    script = Script(seed, **EAGER_CHECKPOINTS)
    script.busy(("n2",), ("LWW",), from_ms=200, to_ms=1_500, every_ms=60, deletes=0.0)
    for node in script.nodes:
        script.step(1_800, "checkpoint", node)
    script.step(3_000, "stop", "n2", lasts_ms=400)
    for node in script.nodes:
        script.step(3_200, "clock step", node, amount=-60_000.0)
    script.busy(("n2",), ("LWW",), from_ms=5_500, to_ms=6_500, every_ms=60, deletes=0.0)
    return script.plan(7_000)


def clocks_set_back_before_a_join(seed: int) -> Plan:
    """All clocks go back by a minute; then a newcomer gets a snapshot and writes."""
    script = Script(seed, 2, snapshot_instead_of_log_ops=20, **EAGER_CHECKPOINTS)
    script.busy(script.nodes, ("LWW",), from_ms=200, to_ms=2_500, every_ms=50, deletes=0.0)
    for node in script.nodes:
        script.step(3_000, "clock step", node, amount=-60_000.0)
    script.step(3_200, "join", "x1", "n1")
    script.step(3_210, "clock step", "x1", amount=-60_000.0)
    script.busy(("x1",), ("LWW",), from_ms=6_000, to_ms=9_000, every_ms=80, deletes=0.0)
    return script.plan(10_000)


def left_behind(seed: int) -> Plan:
    """A member that is cut off while the others write more than their logs keep."""
    script = Script(seed, push_buffer_bytes=300, **SHORT_LOG)
    script.busy(script.nodes, ALL, from_ms=100, to_ms=1_000, every_ms=50, keys=4)
    script.step(1_000, "cut", "n3", lasts_ms=7_000)
    script.busy(("n1", "n2"), ALL, from_ms=1_200, to_ms=5_500, every_ms=40, keys=4, deletes=0.3)
    script.busy(("n3",), ALL, from_ms=1_200, to_ms=5_500, every_ms=500, keys=4)
    script.busy(script.nodes, ALL, from_ms=8_200, to_ms=10_000, every_ms=100, keys=4)
    return script.plan(10_500)


def replaced(seed: int) -> Plan:
    """A node that lost its disk and is asked while it comes back, over a slow link."""
    script = Script(seed)
    script.busy(script.nodes, ALL, from_ms=100, to_ms=8_000, every_ms=70)
    script.step(3_000, "slow link", "n2", lasts_ms=6_000, amount=0.8)
    script.step(3_000, "wipe", "n2", "n1", lasts_ms=200)
    script.busy(("n2",), ALL, from_ms=3_100, to_ms=8_000, every_ms=40, reads=0.8)
    return script.plan(9_000)


def put_back(seed: int) -> Plan:
    """An old copy of a directory is put back, also below the file system, and written to."""
    script = Script(seed)
    script.busy(script.nodes, ALL, from_ms=100, to_ms=7_000, every_ms=60)
    script.step(1_000, "copy", "n1")
    script.step(3_000, "restore", "n1", lasts_ms=100, flag=seed % 2 == 0)
    script.step(2_900, "cut", "n1", lasts_ms=script.chance.choice((200, 2_000)))
    script.busy(("n1",), ALL, from_ms=3_100, to_ms=6_000, every_ms=40)
    return script.plan(8_000)


def dies_after_telling_one(seed: int) -> Plan:
    """A member whose last writes only one other has is given up."""
    script = Script(seed)
    script.step(800, "cut pair", "n1", "n3", lasts_ms=6_000)
    script.busy(("n1",), ALL, from_ms=900, to_ms=3_000, every_ms=50)
    script.busy(("n2", "n3"), ALL, from_ms=100, to_ms=6_000, every_ms=90)
    script.step(3_050, "forget", "n1", "n2", flag=False)
    return script.plan(7_000)


def two_forgets(seed: int) -> Plan:
    """Two members are given up, one after the other or at once."""
    script = Script(seed, 5)
    script.busy(script.nodes, ALL, from_ms=100, to_ms=5_000, every_ms=80)
    script.step(1_500, "forget", "n1", "n3")
    script.step(1_500 + script.chance.choice((0, 400, 2_000)), "forget", "n2", "n4")
    return script.plan(6_000)


def restarts(seed: int) -> Plan:
    """Nodes that are killed again and again while they are written to."""
    script = Script(seed, **({} if seed % 2 else EAGER_CHECKPOINTS))
    chance = script.chance
    script.busy(script.nodes, ALL, from_ms=100, to_ms=7_000, every_ms=40)
    for at_ms in range(500, 6_500, 500):
        node = chance.choice(script.nodes)
        script.step(at_ms + chance.randrange(300), "kill", node, lasts_ms=100)
    return script.plan(8_000)


def awaited_over_a_restart(seed: int) -> Plan:
    """A context names what its node lacks; the node restarts from a checkpoint before it comes."""
    script = Script(seed)
    script.step(400, "cut", "n3", lasts_ms=4_500)
    for number in range(6):
        key = f"s{number}"
        script.ask(600, number, "n1", script.put(key))
        script.read(1_000, number, "n1", key)
        script.ask(1_500, number, "n3", script.put(key, mode="context"))
    script.step(2_500, "checkpoint", "n3")
    script.step(3_500, "kill", "n3", lasts_ms=300)
    script.busy(script.nodes, ("PNCOUNTER",), from_ms=100, to_ms=6_000, every_ms=150)
    return script.plan(7_000)


def full_disks(seed: int) -> Plan:
    """Disks without room when a checkpoint is due."""
    script = Script(seed, checkpoint_interval_ms=500, checkpoint_keys=6)
    script.busy(script.nodes, ALL, from_ms=100, to_ms=6_000, every_ms=50)
    for at_ms in range(600, 5_000, 1_200):
        script.step(at_ms, "disk full", script.chance.choice(script.nodes), lasts_ms=700)
    return script.plan(12_000)


def two_types(seed: int) -> Plan:
    """Keys that are created under several types at once, on both sides of a cut."""
    script = Script(seed, 2)
    script.step(100, "cut", "n1", lasts_ms=2_500)
    for number in range(20):
        at_ms, key = 200 + 100 * number, f"m{number % 10}"
        for client, node in enumerate(script.nodes):
            kind = script.chance.choice(ALL)
            script.ask(at_ms, client, node, script.change(key, kind, 0.0))
    return script.plan(3_500)


def one_collects(seed: int) -> Plan:
    """Deleted keys of which only one node has let go what is left."""
    script = Script(seed)
    script.busy(script.nodes, ("LWW",), from_ms=100, to_ms=2_000, every_ms=50, keys=8, deletes=0.6)
    for at_ms in range(2_500, 7_000, 900):
        script.step(at_ms, "checkpoint", "n1")
    return script.plan(7_500)


HASTY_REPORTS = {
    "heartbeat_interval_ms": 200,
    "relay_interval_ms": 200,
    "anti_entropy_interval_ms": 400,
    **EAGER_CHECKPOINTS,
}


def taken_in(seed: int) -> Plan:
    """A newcomer, far away and with a slow clock, that writes as soon as it may."""
    script = Script(seed, snapshot_instead_of_log_ops=20, **HASTY_REPORTS)
    script.busy(script.nodes, ("LWW",), from_ms=100, to_ms=2_000, every_ms=60)
    script.step(2_000, "join", "x1", "n1")
    script.step(2_001, "slow link", "x1", lasts_ms=14_000, amount=2.0)
    script.step(2_002, "clock step", "x1", amount=-6_000.0)
    script.busy(script.nodes, ("LWW",), from_ms=2_000, to_ms=15_000, every_ms=60, deletes=0.6)
    script.busy(("x1",), ("LWW",), from_ms=2_100, to_ms=15_000, every_ms=50, deletes=0.0, reads=0.0)
    return script.plan(16_000)


def far_away(seed: int) -> Plan:
    """A member that hears what others have long before it can pull it."""
    script = Script(seed, pull_bytes=200, **HASTY_REPORTS)
    script.step(100, "clock step", "n1", amount=-6_000.0)
    script.step(200, "cut pair", "n1", "n3", lasts_ms=12_000)
    script.step(200, "slow link", "n3", lasts_ms=12_000, amount=0.8)
    script.busy(("n1",), ("LWW",), from_ms=300, to_ms=9_000, every_ms=50, deletes=0.0, keys=6)
    script.busy(("n3",), ("LWW",), from_ms=300, to_ms=9_000, every_ms=70, deletes=0.6, keys=6)
    return script.plan(12_500)


def forgotten_with_writes_on_the_way(seed: int) -> Plan:
    """A dead member's last registers are at one other only, and come slowly; deletes go on."""
    script = Script(seed, pull_bytes=200, **HASTY_REPORTS)
    script.step(100, "clock step", "n1", amount=-6_000.0)
    script.step(200, "cut pair", "n1", "n3", lasts_ms=12_000)
    script.step(200, "slow link", "n3", lasts_ms=12_000, amount=0.8)
    script.busy(("n1",), ("LWW",), from_ms=300, to_ms=3_000, every_ms=40, deletes=0.0, keys=6)
    script.busy(("n3",), ("LWW",), from_ms=300, to_ms=9_000, every_ms=70, deletes=0.6, keys=6)
    script.step(3_000, "forget", "n1", "n3", flag=False)
    return script.plan(12_500)


def quorum_then_lost(seed: int) -> Plan:
    """A member that nobody hears, with writes that wait for others' disks, is given up."""
    script = Script(seed)
    script.step(800, "cut one way", "n1", lasts_ms=6_000, flag=True)
    for at_ms in range(900, 3_000, 100):
        key = f"s{script.chance.randrange(4)}"
        level = script.chance.choice(("quorum", "all", "2"))
        script.ask(at_ms, at_ms // 100 % 8, "n1", script.put(key), durability=level)
    script.step(4_500, "forget", "n1", "n2", flag=False)
    return script.plan(7_000)


def late_from_the_dead(seed: int) -> Plan:
    """A member's last writes wait for a slow disk at the only other one that gets them."""
    script = Script(seed)
    script.busy(("n1",), ALL, from_ms=100, to_ms=4_000, every_ms=30)
    script.step(1_000, "slow disk", "n2", lasts_ms=7_000, amount=0.6)
    script.step(1_500, "cut pair", "n1", "n3", lasts_ms=9_000)
    script.step(2_000 + 90 * (seed % 10), "forget", "n1", "n3", flag=seed % 2 == 0)
    script.busy(("n3",), ALL, from_ms=100, to_ms=8_000, every_ms=150)
    return script.plan(9_500)


def expiring_apart(seed: int) -> Plan:
    """Registers that expire soon, written on both sides of a cut; then nothing till it heals."""
    script = Script(seed, **HASTY_REPORTS)
    chance = script.chance
    for from_ms in (200, 4_200):
        script.step(from_ms, "cut", "n1", lasts_ms=3_000)
        for at_ms in range(from_ms + 50, from_ms + 900, 40):
            key = f"l{chance.randrange(6)}"
            put = replace(script.put(key, "LWW"), ttl_ms=chance.choice((0, 300, 900)))
            script.ask(at_ms, at_ms // 40 % 8, chance.choice(script.nodes), put)
        for number in range(6):
            for client, node in enumerate(script.nodes, 8):
                script.read(from_ms + 3_600, client, node, f"l{number}")
    return script.plan(9_000)
