""".ci/run passes on what `make test` says, gives it no terminal to ask, and ends everything below it when it is told to stop."""

from __future__ import annotations

import pathlib
import shutil
import signal
import subprocess
import time

import pytest

from tests.quality.checkout import ROOT, environment

STARTED = "started"


def start(folder: pathlib.Path, recipe: str) -> subprocess.Popen[str]:
    """Start the real .ci/run above a Makefile whose `test` does this."""
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", folder / ".ci/run")
    (folder / "Makefile").write_text(f"SHELL := /bin/bash\ntest:\n\t@{recipe}\n")
    return subprocess.Popen([folder / ".ci/run"], cwd="/", env=environment(ROOT), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize(("recipe", "good"), [("echo 3 passed in 1s", True), ("echo 1 failed in 1s; exit 1", False)])
def test_status_and_last_line_are_those_of_make_test(tmp_path: pathlib.Path, recipe: str, good: bool) -> None:
    run = start(tmp_path, recipe)
    output = run.communicate(timeout=60)[0]
    assert (run.returncode == 0) is good
    assert output.splitlines()[0].endswith(" in 1s")


def test_asks_nobody(tmp_path: pathlib.Path) -> None:
    output = start(tmp_path, 'read answer; echo "[$$answer] $$CI"').communicate(timeout=60)[0]
    assert output == "[] true\n"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_everything_below(tmp_path: pathlib.Path, number: signal.Signals, status: int) -> None:
    run = start(tmp_path, f"trap 'sleep 0.3; touch {tmp_path}/cleaned; exit 1' INT; echo $$$$ > {tmp_path}/{STARTED}; for i in {{1..300}}; do sleep 0.2; done")
    deadline = time.monotonic() + 30
    while not (tmp_path / STARTED).exists() or not (tmp_path / STARTED).read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    run.send_signal(number)
    run.communicate(timeout=30)
    assert run.returncode == status
    assert (tmp_path / "cleaned").exists(), "what ran below had no chance to clean up"
    assert not pathlib.Path("/proc", (tmp_path / STARTED).read_text().strip()).exists()
