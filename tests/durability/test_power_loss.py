"""What a power cut leaves of a commit reads as before or after it, nothing between (P2)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .apart import apart
from .flips import TAIL, Specimen
from .interruptions import checkpoint, one_checkpoint, one_large_block, one_more_block
from .power import META_BYTES, misread
from .specimen import examine, lies

SAMPLED_STEPS = 10


@pytest.fixture
def specimen(tmp_path: Path) -> Specimen:
    """Its log goes further than its state."""
    return Specimen(tmp_path)


def store_of(specimen: Specimen) -> int:
    """What marks its log and state."""
    return int(json.loads(specimen.whole["v1/identity.json"])["store"], 16)


def check(specimen: Specimen, name: str, before: bytes, last: bytes) -> int:
    """Read all images of the commit that was just made; how many there are."""
    after = (specimen.path / name).read_bytes()
    read = apart(misread, specimen.path, name, store_of(specimen), before, after, last)
    assert not (read.trace + read.signal), read
    count, wrong = read.value
    assert not wrong, f"{len(wrong)} of {count} read wrong: {wrong[:5]}"
    assert isinstance(count, int)
    return count


@pytest.mark.slow
def test_a_log_cut_at_every_byte_of_its_last_block(specimen: Specimen) -> None:
    block = apart(one_more_block, specimen.path).value
    assert check(specimen, TAIL, specimen.whole[TAIL], block) > len(block)
    found = apart(examine, specimen.path).value
    assert not lies(specimen.right, found)
    assert not (found.refused + found.failed)
    assert not found.reported


@pytest.mark.slow
def test_a_move_from_the_tail_cut_at_every_page(specimen: Specimen) -> None:
    """What waits is read from the tail until LMDB has it."""
    log = specimen.path / "v1" / "log" / "data.mdb"
    assert not apart(one_more_block, specimen.path).trace
    before = log.read_bytes()
    assert before == specimen.whole["v1/log/data.mdb"], "it did not wait"
    block = apart(one_large_block, specimen.path).value
    assert check(specimen, "v1/log/data.mdb", before, block[:200]) > META_BYTES


@pytest.mark.slow
def test_a_checkpoint_cut_at_every_page(specimen: Specimen) -> None:
    ended = apart(one_checkpoint, specimen.path)
    assert not (ended.trace + ended.signal), ended
    name = "v1/state/data.mdb"
    assert check(specimen, name, specimen.whole[name], b"late/05") > META_BYTES


@pytest.mark.slow
def test_a_checkpoint_killed_at_every_step(specimen: Specimen) -> None:
    """Steps sampled over the whole: the log still has all, so the account is as before."""
    steps = apart(checkpoint, specimen.path, 0).value
    assert steps > 2 * SAMPLED_STEPS
    specimen.restore()
    for step in range(1, steps + 1, steps // SAMPLED_STEPS):
        assert apart(checkpoint, specimen.path, step).signal == "SIGKILL"
        found = apart(examine, specimen.path).value
        assert not lies(specimen.right, found), step
        assert found.account == specimen.right
        assert not (found.refused + found.failed)
        assert not found.reported
        specimen.restore()


def test_a_file_that_was_cut_short_is_refused(specimen: Specimen) -> None:
    """What LMDB does not notice until it reads there, which ends the process."""
    for part in ("log", "state"):
        name = f"v1/{part}/data.mdb"
        for size in (0, 10, 4096, 3 * 4096, len(specimen.whole[name]) - 4096):
            (specimen.path / name).write_bytes(specimen.whole[name][:size])
            found = apart(examine, specimen.path)
            assert found.value is not None, (name, size, found)
            assert found.value.refused, (name, size)
            specimen.restore()
