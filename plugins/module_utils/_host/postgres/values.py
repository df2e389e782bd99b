# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of PostgreSQL: values that mean the same are the same, whatever their unit, and how they are written into a file."""

from __future__ import annotations

import re
from typing import Any, Optional

_MEMORY = {"B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
_TIME = {"us": 0.001, "ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-z]*)\s*")
_UNIT = re.compile(r"(\d*)([A-Za-z]+)")
_TRUE, _FALSE = ("on", "true", "yes", "1"), ("off", "false", "no", "0")


def text_of(value: Any) -> str:
    """Return a value of an inventory as PostgreSQL writes it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def canonical(value: str, kind: str, unit: Optional[str]) -> str:
    """Return the value as pg_settings shows it: ``256MB`` of a setting that counts pages of 8 kB is ``32768``.

    ``kind`` and ``unit`` are those of pg_settings (vartype, unit). What is no value of that kind is returned as it is.
    """
    if kind == "bool":
        small = value.strip().lower()
        return "on" if small in _TRUE else "off" if small in _FALSE else value
    if kind == "enum":
        small = value.strip().lower()
        return {"true": "on", "yes": "on", "1": "on", "false": "off", "no": "off", "0": "off"}.get(small, small)
    if kind in ("integer", "real"):
        return _number(value, kind, unit)
    return value


def _number(value: str, kind: str, unit: Optional[str]) -> str:
    match = _NUMBER.fullmatch(value)
    if not match:
        return value
    number, suffix = float(match[1]), match[2]
    if suffix:
        counted = _UNIT.fullmatch(unit or "")
        scale = _MEMORY if suffix in _MEMORY else _TIME
        if not counted or suffix not in scale or counted[2] not in scale:
            return value
        number = number * scale[suffix] / (int(counted[1] or 1) * scale[counted[2]])
    if kind == "integer":
        return str(round(number))
    return str(int(number)) if number == int(number) else repr(number)


def as_number(value: str) -> Optional[float]:
    """Return a canonical value as a number, or None when it is none."""
    try:
        return float(value)
    except ValueError:
        return None


def line(name: str, value: str) -> str:
    """Return the line of a configuration file that sets the value."""
    quoted = value.replace("\\", "\\\\").replace("'", "''")
    return f"{name} = '{quoted}'"
