# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What workflow_backup_copy is told: where the copy is, as whom one goes there, how it is locked, and for whom it is encrypted."""

from __future__ import annotations

from typing import Any, Dict, Mapping

from ansible_collections.paas.hardening.plugins.module_utils._backup.offsite.send import Locking
from ansible_collections.paas.hardening.plugins.module_utils._backup.offsite.there import PREFIX, Place
from ansible_collections.paas.hardening.plugins.module_utils._backup.recovery_point import REPOSITORY_ARGUMENTS, RETENTION_ARGUMENT
from ansible_collections.paas.hardening.plugins.module_utils._backup.signature import KeyRing
from ansible_collections.paas.hardening.plugins.module_utils._backup.store_keys import read_store_keys
from ansible_collections.paas.hardening.plugins.module_utils._core.arguments import merge
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.objects_api import COMPLIANCE, GOVERNANCE, ObjectApi
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.store import Store

COPIED, FETCHED = "copied", "fetched"
REQUIRED, AVAILABLE, NEVER = "required", "available", "never"
SAMPLE, ALL, NEWEST = "sample", "all", "newest"
_DAY = 86400.0
_LONGEST_LOCK = 36500
ARGUMENTS: Dict[str, Any] = merge(
    REPOSITORY_ARGUMENTS,
    {
        "state": {"type": "str", "choices": [COPIED, FETCHED], "default": COPIED},
        "bucket": {"type": "str", "required": True},
        "prefix": {"type": "str", "default": "recovery-points"},
        "endpoint": {"type": "str"},
        "region": {"type": "str", "default": "us-east-1"},
        "keys_file": {"type": "path", "no_log": False},
        "ca_file": {"type": "path"},
        "object_lock": {"type": "str", "choices": [REQUIRED, AVAILABLE, NEVER], "default": REQUIRED},
        "lock_mode": {"type": "str", "choices": [COMPLIANCE.lower(), GOVERNANCE.lower()], "default": COMPLIANCE.lower()},
        "lock_days": {"type": "int", "default": 30},
        "recipients": {"type": "list", "elements": "str", "default": []},
        "age": {"type": "path"},
        "identity_file": {"type": "path", "no_log": False},
        "scratch_folder": {"type": "path", "default": "/var/tmp"},
        "verify": {"type": "str", "choices": [SAMPLE, ALL], "default": SAMPLE},
        "sample": {"type": "int", "default": 4},
        "seed": {"type": "int"},
        "max_age": {"type": "str"},
        "points": {"type": "str", "choices": [NEWEST, ALL], "default": NEWEST},
        "point": {"type": "str"},
        "known_point": {"type": "str"},
        "retention": RETENTION_ARGUMENT,
        "metrics_file": {"type": "path"},
        "lock_timeout": {"type": "int", "default": 600},
    },
)


def place_of(params: Mapping[str, Any], keys: KeyRing) -> Place:
    """Return where the copy is. Raises Invalid for what cannot be, and MissingDependency without botocore."""
    prefix = str(params["prefix"]).strip("/")
    if prefix and not PREFIX.fullmatch(prefix):
        raise Invalid(f"prefix is {params['prefix']!r}.", "Give letters, digits, dots, hyphens, underscores, and slashes between.", "prefix")
    # Without a file it is the role of this machine, or what botocore finds in the environment.
    access, secret = read_store_keys(params["keys_file"], "keys_file") if params["keys_file"] else ("", "")
    store = Store("s3", params["endpoint"] or "", params["region"], access, secret, ca_file=params["ca_file"] or "")
    return Place(ObjectApi(store, params["bucket"]), prefix, keys)


def locking_of(params: Mapping[str, Any]) -> Locking:
    """Return how what is copied is locked. Raises Invalid."""
    days = int(params["lock_days"])
    if not 1 <= days <= _LONGEST_LOCK:
        raise Invalid(f"lock_days is {days}.", f"Give 1 to {_LONGEST_LOCK} days; object_lock=never locks nothing.", "lock_days")
    return Locking("" if params["object_lock"] == NEVER else str(params["lock_mode"]).upper(), days * _DAY)
