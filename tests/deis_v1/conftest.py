"""One etcd for all tests that do not break it; each test finds a platform in it as it was just installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.v1_settings import VERB
from ansible_collections.paas.hardening.plugins.module_utils._controls.v1_settings_wish import ARGUMENTS
from ansible_collections.paas.hardening.plugins.module_utils._core.run import run
from tests.deis_v1.servers import Certificates, Etcd, install


@pytest.fixture(scope="session")
def member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    with Etcd(tmp_path_factory.mktemp("etcd") / "member").running() as etcd:
        yield etcd


@pytest.fixture
def etcd(member: Etcd) -> Etcd:
    install(member)
    return member


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates") / "pki")


def parameters(**options: Any) -> dict[str, Any]:
    """The options as the module gets them."""
    return {**{name: about.get("default") for name, about in ARGUMENTS.items()}, **options}


def settings(etcd: Etcd | None = None, check: bool = False, **options: Any) -> dict[str, Any]:
    """Run the verb as the module does."""
    known = {"endpoints": [etcd.url]} if etcd else {}
    # The machine is noisy, and each request with an account costs etcd a hash that is slow on purpose.
    return run(VERB.begin, parameters(**{"timeout": 60, **known, **options}), check=check, diff=True)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A folder for backups."""
    made = tmp_path / "backups"
    made.mkdir(mode=0o700)
    return str(made)
