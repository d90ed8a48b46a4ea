"""A flipped bit anywhere is found, told, refused or without effect: a slice of ``flips``."""

from __future__ import annotations

import pytest

from .flips import FILES, Specimen, flip, flips
from .specimen import KEYS

LOG, STATE, IDENTITY = FILES
SAMPLE = 60
SEED = 3


@pytest.fixture(scope="module")
def specimen(tmp_path_factory: pytest.TempPathFactory) -> Specimen:
    """One for all."""
    return Specimen(tmp_path_factory.mktemp("flips"))


@pytest.mark.slow
def test_sampled_bits(specimen: Specimen) -> None:
    found = flips(specimen, SAMPLE, SEED)
    assert not found.problems, str(found)
    assert len(found.outcomes) >= 5, f"the sample is too much alike: {found}"


def positions(specimen: Specimen, name: str, needle: bytes) -> list[int]:
    """Where the bytes are in a file, also in pages that are free now."""
    raw, found, at = specimen.whole[name], [], -1
    while (at := raw.find(needle, at + 1)) >= 0:
        found.append(at)
    assert found, needle
    return found


@pytest.mark.parametrize(
    ("name", "needle", "offset", "expected"),
    [
        (STATE, b"plain/0250", 9, {"start refused"}),  # a key: now the one behind the next
        (STATE, b"plain/0399", 9, {"reported"}),  # a key: one that never was
        (STATE, b"value 250 value", 3, {"reported"}),
        (LOG, b"value 250 value", 3, {"reported"}),
        (LOG, b"late/05", 3, {"start refused"}),  # to be replayed
        (STATE, b"request 0000", 5, {"start refused"}),  # a retry would count twice
        (STATE, b"it is a specimen", 3, {"reported"}),  # the quarantine's
        (IDENTITY, b'"origin"', 14, {"start refused", "reported"}),
    ],
)
def test_what_a_bit_does_where_it_matters(
    specimen: Specimen, name: str, needle: bytes, offset: int, expected: set[str]
) -> None:
    kinds = set()
    found = positions(specimen, name, needle)
    for position in [*found[:4], *found[4:][-4:]]:
        kind, problem = flip(specimen, name, position + offset, 1)
        assert not problem, (position, kind, problem)
        kinds.add(kind)
    assert kinds & expected, kinds


def test_the_index_of_the_log_has_no_wrong_chain_value(specimen: Specimen) -> None:
    """An honest block would look like a second history, and its origin be fenced for good."""
    assert len(specimen.right["ends"]) > KEYS // 50
    chain: bytes = specimen.right["ends"][3][1]
    kinds = {
        flip(specimen, LOG, position + offset, 0)[0]
        for position in positions(specimen, LOG, chain)
        for offset in (0, len(chain) - 1)
    }
    assert "start refused" in kinds
    assert "false without a word" not in kinds
