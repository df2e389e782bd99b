"""How long hosts take to come up and to go, on a machine that does nothing else. A part of the proofs, since a busy machine says nothing."""

from __future__ import annotations

import time

from lab.hosts.fleet import Fleet
from tests import labs
from tests.perf import figures
from tests.proof import Measured


def test_a_host_is_up_within_ten_seconds_and_gone_within_five(measured: Measured) -> None:
    fleet = Fleet(f"{labs.shared_name()}-times")
    try:
        fleet.up(["warm"])
        begun = time.monotonic()
        fleet.up(["timed"])
        up = time.monotonic() - begun
        begun = time.monotonic()
        fleet.down()
        down = time.monotonic() - begun
    finally:
        fleet.down()
    measured(figures.at_most("a host is up after", up, "s", 10), figures.at_most("a host is gone after", down, "s", 5))
