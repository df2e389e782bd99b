"""What holds for the whole test run: a polite request to stop is obeyed like Ctrl-C, and nobody's own settings change what the tests see."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType

import pytest

from tests import labs

FOREIGN = ("ANSIBLE_", "K8S_AUTH_", "KUBECONFIG")


def interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def pytest_configure(config: pytest.Config) -> None:
    # pytest tears its fixtures down after a KeyboardInterrupt, but dies of SIGTERM.
    signal.signal(signal.SIGTERM, interrupt)
    # Whoever starts a job in the background lets it ignore Ctrl-C, and its children with it: the tests of Ctrl-C need it heard.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        del os.environ[name]
    os.environ["ANSIBLE_COLLECTIONS_PATH"] = str(config.rootpath / ".cache")
    labs.take_down_orphans()


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Says on the terminal what takes long, in the middle of a test run whose output is captured."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n  {text}", end="", flush=True)

    return say
