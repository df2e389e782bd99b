"""How long hosts take to come up and to go, on a machine that does nothing else. A part of the proofs, since a busy machine says nothing."""

from __future__ import annotations

import time

from lab.hosts.fleet import Fleet
from tests import labs


def test_a_host_is_up_within_ten_seconds_and_gone_within_five() -> None:
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
    print(f"up in {up:.1f} s, gone in {down:.1f} s")
    assert up < 10
    assert down < 5
