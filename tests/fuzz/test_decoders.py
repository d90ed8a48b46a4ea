"""A slice of ``python -m tests.fuzz``, and any msgpack value at all behind a right checksum."""

from __future__ import annotations

from pathlib import Path
from tempfile import gettempdir

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvnode.core.errors import StateError

from .corpus import valid
from .mutations import BOMBS
from .targets import CORPUS, Target, crc_seal, targets
from .trial import Result, attempt, trial

INPUTS = 500
SEED = 4
EXAMPLES = 60
TARGETS = {target.name: target for target in targets(Path(gettempdir()))}
SEALED = [name for name, target in TARGETS.items() if target.envelope is not None]

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=20)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.integers(0, 9), inner),
    max_leaves=30,
)


def ours(name: str, tmp_path: Path) -> Target:
    """The target, with its file in the test's own folder."""
    (found,) = (target for target in targets(tmp_path) if target.name == name)
    return found


@pytest.mark.parametrize("name", TARGETS)
def test_changed_inputs_are_accepted_or_refused(name: str, tmp_path: Path) -> None:
    result = trial(ours(name, tmp_path), INPUTS, SEED)
    assert not result.crashes, [(crash.what, crash.raw.hex()) for crash in result.crashes[:3]]
    assert result.accepted > INPUTS // 50, "nearly nothing gets past the door"
    assert result.refused > INPUTS // 50, "nearly nothing is refused"


@pytest.mark.parametrize("name", SEALED)
def test_any_value_behind_a_right_checksum(name: str, tmp_path: Path) -> None:
    target = ours(name, tmp_path)
    envelope = target.envelope
    assert envelope is not None
    whole, result = target.corpus[0], Result(name)

    @settings(max_examples=EXAMPLES)
    @given(values | st.lists(values, min_size=3, max_size=12))
    def run(value: object) -> None:
        attempt(target, envelope.seal(msgpack.packb(value), whole), result)
        assert not result.crashes, result.crashes[0]

    run()
    assert result.inputs >= EXAMPLES // 2


@pytest.mark.parametrize("name", SEALED)
def test_bombs(name: str, tmp_path: Path) -> None:
    target = ours(name, tmp_path)
    envelope = target.envelope
    assert envelope is not None
    result = Result(name)
    for bomb in BOMBS:
        for inside in (bomb, b"\x92" + bomb, b"\x98\x01\x01" + bomb):
            attempt(target, envelope.seal(inside, target.corpus[0]), result)
    assert not result.crashes, result.crashes[0]


def test_the_corpus_is_what_the_encoders_make() -> None:
    """Run ``python -m tests.fuzz.corpus`` after a format has changed."""
    for name, inputs in valid().items():
        assert TARGETS[name].corpus == sorted(set(inputs)), name
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)


def test_a_broken_decoder_is_found(tmp_path: Path) -> None:
    """The canary: each kind of crash is one."""
    good = ours("loser", tmp_path)

    def forgets_to_translate(raw: bytes) -> object:
        return msgpack.unpackb(raw[5:])[3]

    def takes_anything(raw: bytes) -> object:
        return raw[:-1]

    def hoards(raw: bytes) -> object:
        bytes(8 << 20)
        return good.decode(raw)

    for decode, encode, expected in (
        (forgets_to_translate, None, "Error"),
        (takes_anything, lambda value: value, "encodes to other bytes"),
        (hoards, None, "made it take"),
    ):
        broken = Target("loser", decode, (StateError,), encode, envelope=crc_seal(1))
        result = trial(broken, 100, SEED)
        assert any(expected in crash.what for crash in result.crashes), expected
