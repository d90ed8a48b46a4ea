"""What every refused call has in common, checked in one place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kvnode.core.errors import Reason

from .api import Api, Refusal, refusal


@contextmanager
def nothing_changes(api: Api) -> Iterator[None]:
    """The state is the same afterwards, bit for bit, and the node goes on without a hole."""
    before = api.everything()
    yield
    assert api.everything() == before
    seq = api.seq()
    assert api.put(b"goes on", b"v").result.dot.seq == seq + 1
    assert api.values(b"goes on") == [b"v"]


def assert_refused(api: Api, call: Callable[[], object], reason: Reason) -> Refusal:
    """The call is refused for this reason, in the documented way, and has changed nothing."""
    with nothing_changes(api):
        found = refusal(call)  # checks domain and code too
    assert found.info.reason == reason, found
    assert "\n" not in found.message
    return found
