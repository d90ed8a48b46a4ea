"""The planted bugs can still be planted, and are gone afterwards."""

from __future__ import annotations

import sys
from collections.abc import Container

import pytest

import kvnode.core.entry as entries
from kvnode.core.types import lww
from kvnode.core.types.lww import Register
from tests.sim import mutation
from tests.sim.mutants import MUTANTS, CannotPlantError, Mutant, Planting, planted
from tests.sim.mutants.schedules import two_types
from tests.sim.mutation import hunt, run

TRAPS_OF_THE_CORE = {*range(1, 21), 22, 23, 24, 26}


def test_every_trap_of_the_core_has_a_mutant() -> None:
    assert {trap for bug in MUTANTS for trap in bug.traps} >= TRAPS_OF_THE_CORE
    assert len({bug.name for bug in MUTANTS}) == len(MUTANTS) >= 28


@pytest.mark.parametrize("bug", MUTANTS, ids=lambda bug: bug.name)
def test_a_mutant_fits_the_production_code_and_leaves_no_trace(bug: Mutant) -> None:
    before = _bindings()
    with planted(bug) as planting:
        assert planting.places
        assert _bindings() != before
    assert _bindings() == before


def test_a_variant_of_another_shape_is_refused() -> None:
    planting = Planting()
    with pytest.raises(CannotPlantError):
        planting.function(lww.merge, lambda a, b: a)
    with pytest.raises(CannotPlantError):
        planting.method(Planting, "no_such_method", lambda self: None)
    with pytest.raises(CannotPlantError):
        planting.function(_bindings, _bindings)


def test_a_function_is_replaced_wherever_it_is_bound() -> None:
    def merge(
        a: Register, b: Register, seen_a: Container[object] = (), seen_b: Container[object] = ()
    ) -> Register:
        return lww.EMPTY

    real = lww.merge
    planting = Planting()
    planting.function(lww.merge, merge)
    assert lww.merge is entries._MERGE[lww.ID] is merge
    planting.undo()
    assert lww.merge is entries._MERGE[lww.ID] is real


def test_a_planted_bug_is_caught_and_the_run_says_by_whom(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(1, seeds_max=3, names=["second-type-replaces-the-first"]) == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert "seed 1" in line
    assert "siblings" in line


def test_a_bug_that_is_none_survives() -> None:
    """The canary of the hunt: kvnode as it is is not caught."""
    harmless = Mutant("harmless", (), "nothing is broken", lambda _: None, two_types)
    assert hunt(harmless, 2).seed is None


def test_a_survivor_fails_the_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    harmless = Mutant("harmless", (), "nothing is broken", lambda _: None, two_types)
    monkeypatch.setattr(mutation, "MUTANTS", [harmless])
    assert run(1, seeds_max=1) == 1
    assert "SURVIVED 1 seeds: nothing is broken" in capsys.readouterr().out


def _bindings() -> dict[str, int]:
    """Everything that kvnode's modules, tables and classes bind, by place."""
    out: dict[str, int] = {}
    for name, module in sorted(sys.modules.items()):
        if name.startswith("kvnode"):
            for attribute, value in vars(module).items():
                out[f"{name}.{attribute}"] = id(value)
                inner = value if isinstance(value, dict) else getattr(value, "__dict__", {})
                if attribute.startswith("__") or not (isinstance(value, dict | type)):
                    continue
                out |= {f"{name}.{attribute}.{key}": id(each) for key, each in inner.items()}
    return out
