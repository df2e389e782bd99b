"""What holds for the whole test run: a polite request to stop is obeyed like Ctrl-C, and nobody's own settings change what the tests see."""

from __future__ import annotations

import os
import pathlib
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests import labs
from tests.proof import Measured, Proof, measured_by

if TYPE_CHECKING:
    from lab.cluster import Cluster

FOREIGN = ("ANSIBLE_", "K8S_AUTH_", "KUBECONFIG")

# Tests that stay together in one process when several share them out, because what they need is slow to make. The longest first, but of three that begin
# together only two bring up a lab; the last ones are short, so that the processes end together.
GROUPS = (
    ("tests/integration/test_harden", "tests/moves"),
    ("tests/quality/test_sanity",),
    ("tests/contract",),
    ("tests/integration",),
    ("tests/quality",),
    ("tests/lab",),
    ("tests/platforms/test_st", "tests/platforms/test_edges", "tests/platforms/test_seed"),
    # The longest of those that `make proof-backup` shares out by file.
    ("tests/backup/test_proof_pgbackrest",),
    ("tests/backup/test_proof_drycc", "tests/backup/test_proof_m", "tests/backup/test_proof_o"),
    ("tests/backup",),
    ("tests/unit/cluster",),
    ("tests/unit/playbooks",),
    ("tests/platforms",),
    ("tests/unit/controls",),
    ("tests/hosts", "tests/databases", "tests/stores", "tests/registries"),
    ("tests/unit/backup", "tests/unit/helm", "tests/unit/metrics"),
    ("tests",),
)


def interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--proof", type=pathlib.Path, help="write what was measured, and every test's outcome and seconds, to this file, as JSON")
    parser.addoption("--proof-goes-on", action="store_true", help="add to what this file has from a run before")
    parser.addoption("--interruptions", type=int, default=2, help="how many moves of a whole platform are hit at random")
    parser.addoption("--interruption-seed", type=int, default=1, help="the same number hits them in the same way")


def pytest_configure(config: pytest.Config) -> None:
    if not in_a_worker(config):
        config.pluginmanager.register(Proof(config.option.proof, config.option.proof_goes_on))
    # pytest tears its fixtures down after a KeyboardInterrupt, but dies of SIGTERM.
    signal.signal(signal.SIGTERM, interrupt)
    # Whoever starts a job in the background lets it ignore Ctrl-C, and its children with it: the tests of Ctrl-C need it heard.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        del os.environ[name]
    os.environ["ANSIBLE_COLLECTIONS_PATH"] = str(config.rootpath / ".cache")
    if not in_a_worker(config):
        labs.take_down_orphans()


def pytest_unconfigure(config: pytest.Config) -> None:
    # A worker that is interrupted has few seconds.
    if not in_a_worker(config):
        labs.take_down_orphans()


def in_a_worker(config: pytest.Config) -> bool:
    """Tell whether this is one of several processes that share the tests out (pytest -n)."""
    return hasattr(config, "workerinput")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if in_a_worker(config):
        items.sort(key=lambda item: group(item.nodeid))


def group(nodeid: str) -> int:
    """The number of the group that a test belongs to."""
    return next(number for number, path in enumerate(GROUPS) if nodeid.startswith(path))


class Groups(LoadScopeScheduling):
    """Shares out whole groups. (Marks of pytest-xdist's own would do, but pytest 9.2 does not show them to it.)"""

    def _split_scope(self, nodeid: str) -> str:
        return GROUPS[group(nodeid)][0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups | None:
    """Groups, unless a way of sharing out was asked for (--dist)."""
    config.option.loadscopereorder = False
    return Groups(config, log) if config.option.dist == "load" else None


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Says on the terminal what takes long, in the middle of a test run whose output is captured."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            # Which stream that is, is known here only. A worker's own standard output leads nowhere.
            print(f"\n  {text}", end="", flush=True, file=sys.stderr if in_a_worker(request.config) else sys.stdout)

    return say


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Measured:
    """Notes figures for the table at the end, and fails when a bar is missed."""
    return measured_by(request.node)


@pytest.fixture(scope="session")
def lab_cluster(report: Callable[[str], None]) -> Iterator[Cluster]:
    """The lab that all tests of a real cluster share: a real control plane with two real nodes, and whatever platform a test puts there."""
    with labs.running(labs.shared_name(), report, nodes=2) as cluster:
        yield cluster
