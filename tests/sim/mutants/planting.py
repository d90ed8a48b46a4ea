"""Planting a bug in production code, for as long as a ``with`` block lasts.

A *mutant* replaces functions or methods of kvnode by broken variants. Functions are imported by
name and kept in tables, so one is replaced wherever kvnode's modules have it. The variant must
have the parameters of what it stands for: a production function that changed shape makes its
mutants fail loudly, not silently survive.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any

from tests.sim.plan import Plan
from tests.sim.schedule import draw


class CannotPlantError(AssertionError):
    """Production code is not what the mutant was made for."""


class Planting:
    """What one mutant has replaced."""

    def __init__(self) -> None:
        self.places: list[str] = []
        self._undo: list[Callable[[], None]] = []

    def function(self, original: Callable[..., Any], broken: Callable[..., Any]) -> None:
        """Replace a function in every module and table of kvnode."""
        self._compare(original, broken)
        found = len(self.places)
        for name, module in sorted(sys.modules.items()):
            if name == "kvnode" or name.startswith("kvnode."):
                self._in_module(module, original, broken)
        if len(self.places) == found:
            raise CannotPlantError(f"{original!r} is nowhere in kvnode")

    def method(self, owner: type, name: str, broken: Callable[..., Any]) -> None:
        """Replace a method, or the getter of a property."""
        original = vars(owner).get(name)
        if original is None:
            raise CannotPlantError(f"{owner.__name__} has no {name}")
        replacement: Any = broken
        if isinstance(original, property):
            assert original.fget is not None
            self._compare(original.fget, broken)
            replacement = property(broken)
        else:
            self._compare(original, broken)
        setattr(owner, name, replacement)
        self.places.append(f"{owner.__module__}.{owner.__name__}.{name}")
        self._undo.append(partial(setattr, owner, name, original))

    def undo(self) -> None:
        """Everything as it was."""
        while self._undo:
            self._undo.pop()()

    def _in_module(
        self, module: ModuleType, original: Callable[..., Any], broken: Callable[..., Any]
    ) -> None:
        for name, value in list(vars(module).items()):
            if value is original:
                setattr(module, name, broken)
                self._undo.append(partial(setattr, module, name, original))
                self.places.append(f"{module.__name__}.{name}")
            elif isinstance(value, dict) and not name.startswith("__"):
                for key in [key for key, entry in value.items() if entry is original]:
                    value[key] = broken
                    self._undo.append(partial(value.__setitem__, key, original))
                    self.places.append(f"{module.__name__}.{name}[{key!r}]")

    def _compare(self, original: Callable[..., Any], broken: Callable[..., Any]) -> None:
        expected = [(p.name, p.kind) for p in inspect.signature(original).parameters.values()]
        found = [(p.name, p.kind) for p in inspect.signature(broken).parameters.values()]
        if expected != found:
            raise CannotPlantError(
                f"{original!r} takes {[name for name, _ in expected]}, "
                f"its broken variant {[name for name, _ in found]}"
            )


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted bug."""

    name: str
    traps: tuple[int, ...]
    """Of DESIGN, section 8; none: a bug of another kind."""
    broken: str
    """What is broken, in one line."""
    plant: Callable[[Planting], None]
    plan: Callable[[int], Plan] = field(default=draw)
    """The schedule of a seed, where the usual ones would need more than 200."""


MUTANTS: list[Mutant] = []


def mutant(
    *traps: int, plan: Callable[[int], Plan] = draw
) -> Callable[[Callable[[Planting], None]], Callable[[Planting], None]]:
    """Register a function that plants; its docstring says what is broken."""

    def register(plant: Callable[[Planting], None]) -> Callable[[Planting], None]:
        assert plant.__doc__, f"{plant.__name__} does not say what is broken"
        name = plant.__name__.replace("_", "-")
        broken = plant.__doc__.strip().splitlines()[0]
        MUTANTS.append(Mutant(name, traps, broken, plant, plan))
        return plant

    return register


@contextmanager
def planted(bug: Mutant) -> Iterator[Planting]:
    """The bug is in kvnode meanwhile."""
    planting = Planting()
    try:
        bug.plant(planting)
        yield planting
    finally:
        planting.undo()
