"""Bugs in identities, in joining and in forgetting."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kvnode.core.errors import Refused
from kvnode.core.report import Report
from kvnode.core.roster import Held, Roster
from kvnode.node.intake import Intake
from kvnode.node.membership import Membership
from kvnode.node.peers import Peer
from kvnode.node.replicator import Replicator
from kvnode.storage import directory
from tests.sim.mutants import schedules
from tests.sim.mutants.planting import Planting, mutant


@mutant(1, plan=schedules.put_back)
def copied_directory_keeps_its_identity(plant: Planting) -> None:
    """A directory that was put back goes on writing under its origin, nobody asks its peers."""

    def _place(here: Path) -> str:
        return "anywhere"

    def _check_own(self: Replicator, peer: Peer, report: Report) -> None:
        return None

    plant.function(directory._place, _place)
    plant.method(Replicator, "_check_own", _check_own)


@mutant(1, plan=schedules.put_back)
def peers_are_not_asked_what_this_node_wrote(plant: Planting) -> None:
    """A node does not look whether peers know more of its own writes than it does."""

    def _check_own(self: Replicator, peer: Peer, report: Report) -> None:
        return None

    plant.method(Replicator, "_check_own", _check_own)


@mutant(24, plan=schedules.replaced)
def joining_node_answers(plant: Planting) -> None:
    """A node that has not caught up yet takes clients' calls."""

    def refusal(self: Membership) -> Refused | None:
        return None if self.place == "joining" else real(self)

    real = Membership.refusal
    plant.method(Membership, "refusal", refusal)


@mutant(24, plan=schedules.replaced)
def newcomer_serves_when_the_sponsor_says_so(plant: Planting) -> None:
    """A newcomer serves without waiting for all members' admission and for what they had."""

    def waits_for(self: Roster, newcomer: int, vector: Mapping[int, int]) -> list[int]:
        return []

    plant.method(Roster, "waits_for", waits_for)


@mutant(26, plan=schedules.late_from_the_dead)
def late_message_of_a_forgotten_member_is_merged(plant: Planting) -> None:
    """Blocks of a forgotten member are taken whatever the members have acknowledged."""

    def _fence(self: Membership) -> None:
        self.engine.replica.limits = {}

    def _is_forgotten(self: Intake) -> bool:
        return False

    plant.method(Membership, "_fence", _fence)
    plant.method(Intake, "_is_forgotten", _is_forgotten)


@mutant(26, plan=schedules.forgotten_with_writes_on_the_way)
def forget_is_complete_at_once(plant: Planting) -> None:
    """A forgotten member counts no more before all others have acknowledged the forget."""

    def pending(self: Roster, vector: Mapping[int, int]) -> list[int]:
        return []

    plant.method(Roster, "pending", pending)


@mutant(26, plan=schedules.two_forgets)
def second_forget_is_not_acknowledged(plant: Planting) -> None:
    """Who has acknowledged one forget acknowledges no larger set later."""

    def with_acknowledgement(self: Roster, member: int, held: Mapping[int, Held]) -> Roster:
        return self if self.acks.get(member) else real(self, member, held)

    real = Roster.with_acknowledgement
    plant.method(Roster, "with_acknowledgement", with_acknowledgement)
