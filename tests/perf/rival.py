"""Environments of their own, in the cache: with what is compared with us, or judges us from outside.

For a comparison both sides run with one that has everything that this collection needs, too, so that Python, ansible-core and the client are the same.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from tests.quality.checkout import ROOT, passes, run
from tests.quality.toolchain import cache

# What `pip install ansible` gives with the ansible-core of requirements.txt, and what kubernetes.core asks for to patch.
PACKAGES = ("ansible>=12,<15", "jsonpatch")


def programs(report: Callable[[str], None]) -> Path:
    """The folder with ansible-playbook and the collections of the package ansible. Raises AssertionError with pip's output."""
    return environment("bench", [*PACKAGES, *(ROOT / "requirements.txt").read_text().splitlines()[1:]], report)


def environment(name: str, packages: list[str], report: Callable[[str], None]) -> Path:
    """The folder with the programs of these packages; made once, and kept in the cache. Raises AssertionError with pip's output."""
    key = hashlib.sha256("\0".join([sys.version, *packages]).encode()).hexdigest()[:12]
    folder = cache() / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        place = folder / key
        if not (place / "ready").exists():
            report(f"{packages[0]} is installed once, about a minute")
            for outdated in folder.iterdir():
                if outdated.is_dir():
                    shutil.rmtree(outdated)
            passes([sys.executable, "-m", "venv", str(place)])
            python = str(place / "bin/python")
            uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", python, *packages]
            if run(uv)[0] != 0:
                # uv does not read pip's configuration; pip does.
                passes([python, "-m", "pip", "install", "--quiet", *packages], timeout=1800)
            (place / "ready").touch()
    return place / "bin"
