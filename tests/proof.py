"""What the tests measured, as a table at their end; with ``--proof FILE`` also as JSON, with every test's outcome and seconds."""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest

from tests.perf.figures import Figure, table

_PROPERTY = "figure"
Measured = Callable[..., None]


def measured_by(item: pytest.Item) -> Measured:
    """A function that notes figures of this test, and fails the test when a bar is missed."""

    def note(*figures: Figure) -> None:
        item.user_properties.extend((_PROPERTY, asdict(figure)) for figure in figures)
        assert [f"{figure.name}: {figure.value} {figure.unit}, the bar is {figure.bar}" for figure in figures if figure.passed is False] == []

    return note


class Proof:
    """Gathers how each test of the run ended, and what it measured; when it goes on with a proof that another run began, after what that one told."""

    def __init__(self, file: pathlib.Path | None, goes_on: bool = False) -> None:
        self._file = file
        before = json.loads(file.read_text()) if file and goes_on else {}
        self._tests: dict[str, dict[str, Any]] = before.get("tests", {})
        self._figures = [Figure(**data) for data in before.get("figures", [])]
        self._status = before.get("exit_status", 0)
        self._begun = time.monotonic() - before.get("seconds", 0.0)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = self._tests.setdefault(report.nodeid, {"outcome": "passed", "seconds": 0.0})
        test["seconds"] = round(test["seconds"] + report.duration, 2)
        if not report.passed:
            test["outcome"] = report.outcome
        if report.when == "teardown":
            self._figures += [Figure(**data) for name, data in report.user_properties if name == _PROPERTY]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._figures:
            terminalreporter.section("measured")
            terminalreporter.write_line(table(self._figures))

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        if not self._file:
            return
        outcomes = [test["outcome"] for test in self._tests.values()]
        told = {
            "exit_status": int(exitstatus) or self._status,
            "seconds": round(time.monotonic() - self._begun, 1),
            **{outcome: outcomes.count(outcome) for outcome in ("passed", "failed", "skipped")},
            "figures": [asdict(figure) for figure in self._figures],
            "tests": self._tests,
        }
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(told, indent=2) + "\n")
