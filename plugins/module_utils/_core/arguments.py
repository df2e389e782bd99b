# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pieces of argument specifications that several verbs share, and how they are put together."""

from __future__ import annotations

from typing import Any, Dict, Mapping

WAIT_ARGUMENTS: Dict[str, Any] = {
    "wait_timeout": {"type": "int", "default": 300},
}


def merge(*pieces: Mapping[str, Any]) -> Dict[str, Any]:
    """Join argument specifications; an option that two pieces define is a defect of the collection (ValueError)."""
    joined: Dict[str, Any] = {}
    for piece in pieces:
        twice = set(joined) & set(piece)
        if twice:
            raise ValueError(f"defined twice: {', '.join(sorted(twice))}")
        joined.update(piece)
    return joined
