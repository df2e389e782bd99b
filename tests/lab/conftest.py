"""A cache of its own for tests that must not touch the user's labs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def own_cache(tmp_path: Path) -> Iterator[Path]:
    """An empty cache folder that the lab uses for the length of a test."""
    before = os.environ.get("PAAS_LAB_CACHE")
    os.environ["PAAS_LAB_CACHE"] = str(tmp_path / "cache")
    yield tmp_path / "cache"
    if before is None:
        del os.environ["PAAS_LAB_CACHE"]
    else:
        os.environ["PAAS_LAB_CACHE"] = before
