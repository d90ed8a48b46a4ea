"""Settings for all tests.

Property tests are derandomised: the same code gives the same verdict every time. To search for
new counterexamples: ``KVNODE_HYPOTHESIS=search pytest tests/laws tests/core --timeout=900``.
"""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, Phase, settings

# As the command does it, before anything imports grpc: commands run in this process too.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

# A shell starts background jobs with SIGINT ignored, and what is started inherits that: tests that
# interrupt a process would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

_HEALTH = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]

settings.register_profile(
    "fixed",
    derandomize=True,
    deadline=None,  # a shared machine is slow now and then
    max_examples=100,
    database=None,
    suppress_health_check=_HEALTH,
)
settings.register_profile(
    "search",
    derandomize=False,
    deadline=None,
    max_examples=1000,
    database=None,
    print_blob=True,
    suppress_health_check=_HEALTH,
)
settings.register_profile(
    "verdict",  # red or green soon, without the smallest example: for mutations
    settings.get_profile("fixed"),
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile(os.environ.get("KVNODE_HYPOTHESIS", "fixed"))
