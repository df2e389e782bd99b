# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The buckets of the server on this host: whether they are there, keep versions, may lock objects, and whom their policies let in."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from typing import Dict, FrozenSet, List, NamedTuple, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Forbidden, Invalid, Unauthorized
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.policies import Statement, document_of, statements_of
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.wishes import Bucket
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.signed import Answer, Client

ENABLED, SUSPENDED = "Enabled", "Suspended"
_SPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_ABSENT = ("ObjectLockConfigurationNotFoundError", "NoSuchBucketPolicy", "NoSuchObjectLockConfiguration")
_STRANGE_KEYS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "XMinioInvalidAccessKeyId", "InvalidAccessKey")
# Of what comes back in a listing of buckets.
_NAME = re.compile(r"<Name>([^<]{1,255})</Name>")


class Seen(NamedTuple):
    """A bucket as it is. ``versioning`` is Enabled, Suspended or empty; ``retention`` is the mode and the days, when it locks by itself."""

    versioning: str
    lock: bool
    retention: Optional[Tuple[str, int]]
    statements: FrozenSet[Statement]


def failure_of(answer: Answer, what: str) -> Failure:
    """Return what an answer means that is not good. Nothing of its body is told."""
    if answer.code in _STRANGE_KEYS:
        return Unauthorized(
            f"The store does not know the root credential: {what}: {answer}.", "Was it changed by hand? Restart the server.", what, answer.status
        )
    if answer.status in (401, 403):
        return Forbidden(f"The store refuses: {what}: {answer}.", "Look at the server's log.", what, answer.status)
    return Invalid(f"The store does not do it: {what}: {answer}.", "Look whether this server, in this version, has it.", what, answer.status)


def listed(client: Client) -> List[str]:
    """Return the names of all buckets. Raises Failure."""
    answer = client.ask("GET", "/")
    if not answer.good:
        raise failure_of(answer, "list of buckets")
    return _NAME.findall(answer.body.decode(errors="replace"))


def look(client: Client, name: str) -> Seen:
    """Look at a bucket that there is. Raises Failure."""
    versioning = _asked(client, name, "versioning")
    lock = _asked(client, name, "object-lock")
    kept, days = (_text(lock, "Mode"), _text(lock, "Days")) if lock else ("", "")
    return Seen(
        _text(versioning, "Status") if versioning else "",
        bool(lock) and _text(lock, "ObjectLockEnabled") == ENABLED,
        (kept, int(days)) if kept and days.isdigit() else None,
        policy_of(client, name),
    )


def policy_of(client: Client, name: str) -> FrozenSet[Statement]:
    """Return whom the policy of a bucket lets in. Raises Failure."""
    policy = _asked(client, name, "policy")
    return statements_of(json.loads(policy)) if policy else frozenset()


def _asked(client: Client, name: str, part: str) -> bytes:
    answer = client.ask("GET", f"/{name}", {part: ""})
    if answer.code in _ABSENT:
        return b""
    if not answer.good:
        raise failure_of(answer, f"{part} of {name}")
    return answer.body


def _text(body: bytes, name: str) -> str:
    """Return the text of the first element of this name, whatever its name space."""
    for element in ET.fromstring(body).iter():
        if element.tag.rpartition("}")[2] == name:
            return (element.text or "").strip()
    return ""


def differences(wanted: Bucket, seen: Optional[Seen]) -> List[Tuple[str, object, object]]:
    """Return (field, what is, what is wanted) of a bucket; None is what is not there. Pure."""
    found: List[Tuple[str, object, object]] = []
    if seen is None:
        found.append(("bucket", None, "made"))
    now = seen.versioning if seen else ""
    if wanted.versioning and now != ENABLED:
        found.append(("versioning", now or None, ENABLED))
    if not wanted.versioning and now == ENABLED:
        found.append(("versioning", now, SUSPENDED))
    if wanted.lock and seen is None:
        found.append(("object lock", None, ENABLED))
    kept = (wanted.mode, wanted.days) if wanted.days else None
    if wanted.lock and (seen is None or seen.lock) and kept != (seen.retention if seen else None):
        found.append(("retention", _words(seen.retention if seen else None), _words(kept)))
    return found


def _words(retention: Optional[Tuple[str, int]]) -> Optional[str]:
    return f"{retention[1]} days, {retention[0].lower()}" if retention else None


def enforce(client: Client, wanted: Bucket) -> None:
    """Make a bucket what it has to be, if it is not. Raises Failure."""
    seen = look(client, wanted.name) if wanted.name in listed(client) else None
    if seen is None:
        _send(client, wanted.name, "", b"", {"x-amz-bucket-object-lock-enabled": "true"} if wanted.lock else {})
        seen = look(client, wanted.name)
    fields = {field for field, _now, _then in differences(wanted, seen)}
    if "versioning" in fields:
        status = ENABLED if wanted.versioning else SUSPENDED
        _send(client, wanted.name, "versioning", f'<VersioningConfiguration xmlns="{_SPACE}"><Status>{status}</Status></VersioningConfiguration>'.encode())
    if "retention" in fields:
        rule = f"<Rule><DefaultRetention><Mode>{wanted.mode}</Mode><Days>{wanted.days}</Days></DefaultRetention></Rule>" if wanted.days else ""
        text = f'<ObjectLockConfiguration xmlns="{_SPACE}"><ObjectLockEnabled>{ENABLED}</ObjectLockEnabled>{rule}</ObjectLockConfiguration>'
        _send(client, wanted.name, "object-lock", text.encode())


def write_policy(client: Client, name: str, statements: FrozenSet[Statement]) -> None:
    """Write whom a bucket's policy lets in; with no statement it is taken away. Raises Failure."""
    if statements:
        _send(client, name, "policy", json.dumps(document_of(statements)).encode())
        return
    answer = client.ask("DELETE", f"/{name}", {"policy": ""})
    if not answer.good and answer.code not in _ABSENT:
        raise failure_of(answer, f"policy of {name}")


def _send(client: Client, name: str, part: str, body: bytes, headers: Optional[Dict[str, str]] = None) -> None:
    answer = client.ask("PUT", f"/{name}", {part: ""} if part else {}, body, headers)
    if not answer.good:
        raise failure_of(answer, f"{part or 'making'} of {name}")
