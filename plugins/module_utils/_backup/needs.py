# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore takes beside the data, in the words in which one kind asks for it and another one has it."""

from __future__ import annotations

from typing import Iterable, List, Mapping, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Refused

_SHOWN = 3
REQUIRED, REPORTED = "required", "reported"


def encryption_key(name: str) -> str:
    """The configuration by which the API server reads what it encrypted with the key of this name (provider/key)."""
    return f"the EncryptionConfiguration with the key {name}"


def secrets_of(namespace: str) -> str:
    """All Secrets of a namespace: credentials of databases and stores, django-secret-key, the builder's keys."""
    return f"the Secrets of the namespace {namespace}"


def file_on_host(path: str) -> str:
    """A file of the host whose data it is, such as one with a pass phrase that stands nowhere else."""
    return f"the file {path}"


def unmet(needs: Mapping[str, Iterable[str]], offered: Iterable[str]) -> Mapping[str, Tuple[str, ...]]:
    """Return, by kind, what of its needs nothing in the point meets. Pure."""
    there = set(offered)
    return {kind: tuple(need for need in wanted if need not in there) for kind, wanted in needs.items()}


def refuse_incomplete(lacking: Mapping[str, Iterable[str]]) -> None:
    """Refuse a point that cannot be restored by itself. Raises Refused, naming what it lacks."""
    missing: List[str] = sorted({need for needs in lacking.values() for need in needs})
    if missing:
        more = f", and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise Refused(
            f"The point is not complete, since a restore also takes {', and '.join(missing[:_SHOWN])}{more}.",
            "Add secrets to kinds, with recipients, and with files for what is no Secret; or set custody to reported when you keep it elsewhere.",
            "kinds",
        )
