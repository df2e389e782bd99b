# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a recovery point does not hold, in words, so that nobody takes it for more than it is."""

from __future__ import annotations

from typing import Any, List, Mapping, Sequence

from ansible_collections.paas.hardening.plugins.module_utils._backup.pgbackrest.kind import is_archived

_CLAIM = "PersistentVolumeClaim"


def uncovered(point: Mapping[str, Mapping[str, Any]], kinds: Sequence[str]) -> List[str]:
    """Return as sentences what is in none of its files. ``point`` has what it says of each of its kinds, ``kinds`` all that one can have. Pure."""
    absent = [kind for kind in kinds if kind not in point]
    found = [f"no {', '.join(absent)} in this point"] if absent else []
    claims = point.get("objects", {}).get("kinds", {}).get(_CLAIM, 0)
    if claims and "volumes" not in point:
        found.append(f"objects: what the {_CLAIM}s hold ({claims}): have a point of kind volumes on the host that has it")
    if is_archived(point.get("postgres")):
        found.append("postgres: the backup and its log are in the repository of pgBackRest, not in this one")
    missing = point.get("buckets", {}).get("not_there", [])
    if missing:
        found.append(f"buckets: the store has no {', '.join(missing)}")
    # What objects leave out comes back by itself, or is in the kind secrets: that is told by counts.
    found += [f"{kind}: {about['left_out']}" for kind, about in sorted(point.items()) if isinstance(about.get("left_out"), str)]
    return found
