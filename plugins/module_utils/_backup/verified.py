# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup for those who are about to do what cannot be undone: the newest point that holds what they ask for, read whole, or a refusal."""

from __future__ import annotations

import time
from typing import Any, Mapping, NamedTuple, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.duration import seconds_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import moment
from ansible_collections.paas.hardening.plugins.module_utils._backup.recovery_point import damage_of, fitting, repository
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, Refused

_NEEDED = ("repository", "signing_key_file")


class VerifiedBackup(NamedTuple):
    """A point whose every byte is as it was signed: its name, its moment in UTC, and what it holds."""

    identifier: str
    instant: str
    kinds: Tuple[str, ...]


def verified_backup(params: Mapping[str, Any], prefix: str = "backup_") -> VerifiedBackup:
    """Return the newest point that has all kinds and is young enough.

    The options are called repository, signing_key_file, older_key_files, kinds and max_age, with the prefix before. Raises Invalid for an option that is
    missing, Refused when there is no such point or it is damaged, and what reading a repository raises.
    """
    for name in _NEEDED:
        if not params.get(prefix + name):
            raise Invalid(f"{prefix}{name} is missing.", "Without a verified backup nothing is deleted: see workflow_backup.", prefix + name)
    given = {name: params.get(prefix + name) for name in (*_NEEDED, "older_key_files")}
    catalogue = repository({**given, "older_key_files": given["older_key_files"] or []})
    kinds = frozenset(params[f"{prefix}kinds"])
    oldest_age = seconds_of(params[f"{prefix}max_age"], f"{prefix}max_age")
    now = time.time()
    points = catalogue.read().points
    point = fitting(points, kinds, now - oldest_age, now)
    wanted = f"with {', '.join(sorted(kinds))} " if kinds else ""
    if point is None:
        newest = fitting(points, kinds, 0.0, now)
        seen = f"the newest is of {moment(newest.instant)}" if newest else "there is none"
        raise Refused(
            f"{catalogue.folder} has no proved point {wanted}that is younger than {params[f'{prefix}max_age']}: {seen}.",
            "Make one with workflow_backup, then run again.",
            subject=f"{prefix}repository",
        )
    reason = damage_of(catalogue, point)
    if reason:
        raise Refused(f"The newest point, {point.identifier}, is damaged: {reason}", "Make another one with workflow_backup.", subject=f"{prefix}repository")
    return VerifiedBackup(point.identifier, moment(point.instant), tuple(sorted(point.kinds)))
