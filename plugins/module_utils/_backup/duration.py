# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lengths of time in options: 90m, 24h, 7d, 4w."""

from __future__ import annotations

import re

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def seconds_of(value: str, option: str) -> float:
    """Return the seconds of a length of time. Raises Invalid, naming the option."""
    found = re.fullmatch(r"(\d{1,9})([smhdw])", value.strip())
    if not found or int(found.group(1)) == 0:
        raise Invalid(f"{option} is {value!r}.", "Give a number and a unit: 30m, 24h, 7d or 4w.", option)
    return float(int(found.group(1)) * _UNITS[found.group(2)])
