"""What a long proof leaves behind: every test with its outcome and its seconds, as JSON (``--proof FILE``)."""

from __future__ import annotations

import json
import pathlib
import time
from typing import Any

import pytest


class Proof:
    """Writes down how each test of the run ended."""

    def __init__(self, file: pathlib.Path) -> None:
        self._file = file
        self._tests: dict[str, dict[str, Any]] = {}
        self._begun = time.monotonic()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = self._tests.setdefault(report.nodeid, {"outcome": "passed", "seconds": 0.0})
        test["seconds"] = round(test["seconds"] + report.duration, 2)
        if not report.passed:
            test["outcome"] = report.outcome

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        outcomes = [test["outcome"] for test in self._tests.values()]
        told = {
            "exit_status": int(exitstatus),
            "seconds": round(time.monotonic() - self._begun, 1),
            **{outcome: outcomes.count(outcome) for outcome in ("passed", "failed", "skipped")},
            "tests": self._tests,
        }
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(told, indent=2) + "\n")
