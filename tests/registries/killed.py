"""One run of workflow_registry in a process of its own, which is killed after a while. Its options come as JSON on standard input: they may hold secrets."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from typing import Any

from ansible_collections.paas.hardening.plugins.module_utils._core.run import run
from tests.contract.catalogue import parameters, verb_of

MODULE = "workflow_registry"


def run_for(options: dict[str, Any], seconds: float | None = None) -> tuple[bool, float]:
    """Run it, and kill it after so many seconds; whether it was killed, and how long it ran."""
    begun = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(options))
    process.stdin.close()
    process.stdin = None
    with contextlib.suppress(subprocess.TimeoutExpired):
        said = process.communicate(timeout=seconds)[0]
        assert process.returncode == 0, said
        return False, time.monotonic() - begun
    process.kill()
    process.communicate()
    return True, time.monotonic() - begun


if __name__ == "__main__":
    outcome = run(verb_of(MODULE).begin, parameters(MODULE, json.load(sys.stdin)), check=False, diff=False)
    sys.exit(outcome["msg"] if outcome.get("failed") else 0)
