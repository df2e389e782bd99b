# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps secrets out of results, diffs, errors and reports. A masked value is a type of its own, which no API write accepts."""

from __future__ import annotations

import json
import re
from typing import Any, Mapping, Sequence, Tuple

_SECRET_NAME = re.compile(
    r"(pass(word|wd|phrase)?|secret|token|credential|private.?key|access.?key|secret.?key|api.?key|account.?key|auth|dsn|conn.?string)", re.IGNORECASE
)
_PLAIN_NAME = re.compile(r"(secretName|secretKeyRef|imagePullSecrets|tokenExpiration|automountServiceAccountToken|SECRET_PREFIX|SECRET_NAME|BIND_ADDR)", re.IGNORECASE)
_USERINFO = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)[^/@\s\"']+@")
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_ASSIGNED = re.compile(r"(?i)((?:password|passwd|secret|token|authorization|api[_-]?key)[\"']?\s*[:=]\s*[\"']?)(?:bearer\s+|basic\s+)?[^\s\"',;}]+")

HIDDEN = "(hidden)"


class Masked:
    """Stands where a secret was. It carries nothing of the value and cannot be serialised, so it can never be sent back to a server."""

    def __str__(self) -> str:
        return HIDDEN

    def __repr__(self) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return id(self)


def secret_name(name: str) -> bool:
    """Tell whether a field or variable of this name usually holds a secret."""
    return bool(_SECRET_NAME.search(name)) and not _PLAIN_NAME.search(name)


def mask(kind: str, path: Sequence[Any], value: Any) -> Any:
    """Return the value as it may be shown at this place of an object of this kind: secrets become Masked, at any depth."""
    if kind == "Secret" and path and path[0] in ("data", "stringData"):
        return Masked()
    names = [step if isinstance(step, str) else str(step.value) for step in path]
    if names and names[-1] == "value" and len(names) > 1:
        names.pop()
    if names and secret_name(names[-1]) and not isinstance(value, bool):
        return value if isinstance(value, Mapping) and set(value) <= {"valueFrom", "secretKeyRef", "key", "name"} else Masked()
    return _mask_inside(kind, tuple(path), value)


def _mask_inside(kind: str, path: Tuple[Any, ...], value: Any) -> Any:
    if isinstance(value, Mapping):
        # An entry {name: PASSWORD, value: ...} of an env list is named by its name, not by its key.
        named = isinstance(value.get("name"), str) and "value" in value and secret_name(value["name"])
        return {key: Masked() if named and key == "value" else mask(kind, path + (key,), inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mask_inside(kind, path, inner) for inner in value]
    if isinstance(value, str):
        return scrub(value)
    return value


def scrub(text: str, secrets: Sequence[str] = ()) -> str:
    """Remove from a text what looks like a secret (user names and passwords in URLs, private keys, assignments) and every given value."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, HIDDEN)
    text = _PEM.sub(HIDDEN, text)
    text = _USERINFO.sub(r"\1" + HIDDEN + "@", text)
    return _ASSIGNED.sub(r"\1" + HIDDEN, text)


def show(value: Any) -> Any:
    """Return a masked value as plain data for people: text instead of Masked, JSON text instead of nested data."""
    if isinstance(value, Masked):
        return HIDDEN
    if isinstance(value, (dict, list)):
        return json.dumps(value, default=str, sort_keys=True)
    return value
