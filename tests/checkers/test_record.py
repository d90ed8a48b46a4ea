"""A history survives the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkers import record
from tests.checkers.history import Call, Fault, Final, History, Seen, Written
from tests.checkers.ideal import Wanderer


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    history = Wanderer(1).run(200)
    history.faults.append(Fault("cut", ("n1", "n2"), 10.0, None, "one way"))
    history.lost_origins[3] = 17
    history.reissued = frozenset({2})
    history.settled = True
    history.finals.append(Final("n4", {}, "", {}, None, frozenset({(1, 2)})))
    path = tmp_path / "history.jsonl"
    record.write(path, history)
    assert record.read(path) == history


def test_keys_and_values_can_be_any_bytes(tmp_path: Path) -> None:
    every = bytes(range(256))
    call = Call(
        1, 1, "n1", 0.0, 1.0, "ok", request=every,
        writes=(Written("put", every, "SIBLINGS", every, context=frozenset({(2**64 - 1, 1)})),),
        seen=(Seen(every, {(1, 1): every}, ((1, 2), every)),),
    )  # fmt: skip
    record.write(tmp_path / "h", History([call]))
    assert record.read(tmp_path / "h").calls == [call]


def test_a_file_whose_writer_was_killed_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    history = Wanderer(2).run(20)
    path = tmp_path / "history.jsonl"
    with record.Recorder(path) as recorder:
        for call in history.calls:
            recorder.call(call)
    path.write_bytes(path.read_bytes()[:-5])
    assert record.read(path).calls == history.calls[:-1]


@pytest.mark.parametrize(
    "text",
    ['{"other":1}\n', '{"history":2}\n', '{"history":1}\nx\n{}\n', '{"history":1}\n{"odd":1}\n'],
)
def test_what_is_no_history_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(text)
    with pytest.raises(record.RecordError):
        record.read(path)
