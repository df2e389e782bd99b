"""What the benchmarks found: figures with their bars, shown as a table and written as JSON."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One number. ``value`` is None when it was not measured, and ``passed`` when there is no bar or no value; ``raw`` holds every single reading.

    The same ``seed`` gives the same measurement again, where chance has a part in it.
    """

    name: str
    value: float | None
    unit: str
    bar: str = ""
    passed: bool | None = None
    note: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None


def at_most(name: str, value: float | None, unit: str, bar: float, note: str = "", raw: Mapping[str, Any] | None = None, seed: int | None = None) -> Figure:
    """A figure that must not be above the bar."""
    return Figure(name, _rounded(value), unit, f"<= {bar:g}", None if value is None else value <= bar, note, raw or {}, seed)


def at_least(name: str, value: float | None, unit: str, bar: float, note: str = "", raw: Mapping[str, Any] | None = None, seed: int | None = None) -> Figure:
    """A figure that must not be below the bar."""
    return Figure(name, _rounded(value), unit, f">= {bar:g}", None if value is None else value >= bar, note, raw or {}, seed)


def told(name: str, value: float | None, unit: str, note: str = "", raw: Mapping[str, Any] | None = None) -> Figure:
    """A figure without a bar."""
    return Figure(name, _rounded(value), unit, note=note, raw=raw or {})


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """How many times the fast one fits into the slow one: the median over the rounds, each of which measured both."""
    return statistics.median(long / short for long, short in zip(slow, fast, strict=True))


def table(figures: Iterable[Figure]) -> str:
    """The figures as lines for a terminal."""
    heads = ("name", "value", "unit", "bar", "passed")
    rows = [(figure.name, _text(figure.value), figure.unit, figure.bar or "-", _verdict(figure)) for figure in figures]
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (heads, tuple("-" * w for w in widths), *rows)]
    notes = [f"  {figure.name}: {figure.note}" for figure in figures if figure.note]
    return "\n".join([*lines, *(["", "Notes", *notes] if notes else [])])


def write(figures: Iterable[Figure], target: Path, seconds: float) -> None:
    """Write the figures and what they were measured on."""
    target.parent.mkdir(parents=True, exist_ok=True)
    document = {"machine": machine(), "seconds": round(seconds, 1), "figures": [asdict(figure) for figure in figures]}
    target.write_text(json.dumps(document, indent=2) + "\n")


def machine() -> dict[str, Any]:
    """The facts without which the numbers say little."""
    memory = next(int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:"))
    processors = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "processor": processors[0] if processors else platform.machine(),
        "processors": os.cpu_count(),
        "memory_mib": memory // 1024,
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "kubernetes": importlib.metadata.version("kubernetes"),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _verdict(figure: Figure) -> str:
    return {True: "yes", False: "NO", None: "-"}[figure.passed]
