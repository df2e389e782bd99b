"""Moving a bucket takes hardly longer than rclone run by hand, and no more memory however many objects there are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.perf import storage
from tests.proof import Measured

_LONGEST = 3600
ROUNDS = 3


@pytest.mark.timeout(_LONGEST)
@pytest.mark.parametrize("part", storage.PARTS)
def test_against_rclone_run_by_hand(part: str, report: Callable[[str], None], measured: Measured) -> None:
    measured(*storage.measure([part], ROUNDS, report))
