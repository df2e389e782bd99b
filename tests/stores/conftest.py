"""A source and a target, made once for all tests of object stores; every test has buckets of its own."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import Engine, find
from lab import builds
from tests.stores.servers import Gateway, Minio


@pytest.fixture(scope="session")
def engine() -> Engine:
    return find()


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory, report: Callable[[str], None]) -> Iterator[Minio]:
    builds.ensure(["minio", "versitygw"], report)
    with Minio(tmp_path_factory.mktemp("minio")).running() as server:
        yield server


@pytest.fixture(scope="session")
def target(source: Minio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("gateway")).running() as server:
        yield server


@pytest.fixture
def bucket() -> str:
    """A name that no other test uses."""
    return f"bucket-{secrets.token_hex(6)}"


@pytest.fixture
def work(tmp_path: Path) -> str:
    return str(tmp_path / "work")
