"""A program that is tied to us runs as whom it was told, and ends when we do, by the signal that was asked for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from ansible_collections.paas.hardening.plugins.module_utils._host.lifeline import tied

NOBODY = (65534, 65534)


def test_it_becomes_the_program_as_whom_it_was_told() -> None:
    said = subprocess.run(tied(["/usr/bin/id", "-u"]), capture_output=True, text=True, check=True)
    assert said.stdout.strip() == str(os.geteuid())
    if os.geteuid() == 0:
        for word, wanted in {"-u": "65534", "-g": "65534", "-G": "65534"}.items():
            said = subprocess.run(tied(["/usr/bin/id", word], account=NOBODY), capture_output=True, text=True, check=True)
            assert said.stdout.strip() == wanted


def test_it_ends_with_us_by_the_signal_that_was_asked_for() -> None:
    hears, tells = os.pipe()
    # Signals that a shell traps show which one came.
    script = f"trap 'echo quit >&{tells}; exit' QUIT; echo ready; while :; do sleep 0.05; done"
    child = os.fork()
    if child == 0:
        account = NOBODY if os.geteuid() == 0 else (-1, -1)
        process = subprocess.Popen(tied(["/bin/bash", "-c", script], signal.SIGQUIT, account), stdout=subprocess.PIPE, pass_fds=[tells])
        assert process.stdout
        process.stdout.readline()
        os._exit(0)
    os.close(tells)
    os.waitpid(child, 0)
    with os.fdopen(hears) as told:
        assert told.read() == "quit\n"


def test_shared_memory_of_its_own_goes_with_it_even_when_it_is_killed() -> None:
    key = 0x70000000 + os.getpid()
    leave = f"import ctypes, os, signal; assert ctypes.CDLL(None).shmget({key}, 56, 0o1600) >= 0; os.kill(os.getpid(), signal.SIGKILL)"
    ended = subprocess.run(tied([sys.executable, "-I", "-c", leave], apart=os.geteuid() == 0), check=False)
    left = [line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines() if line.split()[0] == str(key)]
    for identifier in left:
        subprocess.run(["ipcrm", "-m", identifier], check=True)
    assert ended.returncode == -signal.SIGKILL
    assert left == [] or os.geteuid() != 0
