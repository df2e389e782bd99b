"""Two registries, made once: one that lets everybody in, as Deis has it in the cluster, and one outside that wants an account."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._host.registries.client import Account, Registry
from tests.registries.servers import ACCOUNT, ImageServer


@pytest.fixture(scope="session")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageServer]:
    with ImageServer(tmp_path_factory.mktemp("inside") / "registry", closed=False).running() as server:
        yield server


@pytest.fixture(scope="session")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageServer]:
    with ImageServer(tmp_path_factory.mktemp("outside") / "registry").running() as server:
        yield server


@pytest.fixture
def source(inside: ImageServer) -> Registry:
    return Registry(inside.server, Account(), "http")


@pytest.fixture
def target(outside: ImageServer) -> Registry:
    return Registry(outside.server, Account(ACCOUNT, outside.password), "http")


@pytest.fixture
def repository() -> str:
    """A name that no other test uses."""
    return f"app-{secrets.token_hex(6)}"
