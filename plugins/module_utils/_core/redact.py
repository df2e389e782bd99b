# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps secrets out of results, diffs, errors and reports. A masked value is a type of its own, which no API write accepts."""

from __future__ import annotations

import json
import re
from typing import Any, Mapping, Sequence, Tuple

_SECRET_NAME = re.compile(
    r"(pass(word|wd|phrase)?|pwd|secret|token|credential|(private|access|api|account|client).?key|[_-]key$|hmac|cookie|auth|dsn|conn.?string)", re.IGNORECASE
)
# Names that speak of a secret without holding one.
_PLAIN_NAME = re.compile(
    r"(secretName|secretKeyRef|\w*secretRef|imagePullSecrets|tokenExpiration\w*|automountServiceAccountToken|\w*SECRET_(PREFIX|NAME)|\w*BIND_ADDR|"
    r"password_encryption)",
    re.IGNORECASE,
)
# This annotation of kubectl repeats the whole object, the data of a Secret with it.
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

_KEYS = r"(?:api|access|private|account|client)[_-]?key|[_-]key"
_WORDS = rf"(?:passwo?r?d|passphrase|pwd|secret|token|authorization|credential|{_KEYS})[\w.-]{{0,40}}|\bauth(?![\w.-])"
_VALUE = r"""(?:
    [|>][+-]?[ \t]*\n(?:[ \t]+[^\n]*(?:\n|\Z))+   # a YAML block
    | \\+"[^"]*"?                                 # quoted, inside of a quoted text
    | "(?:[^"\\]|\\.)*"?
    | '[^']*'?
    | (?:(?:bearer|basic|token)\s+)?[^\s"'][^\s"]*
)"""
_ASSIGNED = re.compile(rf"""((?:{_WORDS})\\*["']?\s*(?:=>|[:=>])\s*){_VALUE}""", re.IGNORECASE | re.VERBOSE | re.DOTALL)
_FLAG = re.compile(rf"((?<![\w-])--?[\w-]{{0,40}}(?:{_WORDS})\s+)[^\s-]\S*", re.IGNORECASE)
# The greedy part reaches the last @: a password may hold one, or a slash.
_USERINFO = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]{0,30}://)[^\s\"']*@")
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY[A-Z ]*-----.*?(-----END [A-Z ]*PRIVATE KEY[A-Z ]*-----|\Z)", re.DOTALL)
_ENCODED = re.compile(r"LS0tLS1CRUdJTi[\w+/=-]+|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*")  # PEM in base64; JSON web tokens

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

    def __reduce_ex__(self, protocol: Any) -> Any:
        # What yaml.dump, pickle and copy ask; json.dumps refuses by itself.
        raise TypeError("a masked value cannot be serialised")


def secret_name(name: str) -> bool:
    """Tell whether a field or variable of this name usually holds a secret."""
    return name == _LAST_APPLIED or (bool(_SECRET_NAME.search(name)) and not _PLAIN_NAME.fullmatch(name))


def mask(kind: str, path: Sequence[Any], value: Any) -> Any:
    """Return the value as it may be shown at this place of an object of this kind: secrets become Masked, at any depth."""
    if kind == "Secret" and path and path[0] in ("data", "stringData"):
        return Masked()
    names = [step if isinstance(step, str) else str(step.value) for step in path]
    if names and names[-1] == "value" and len(names) > 1:
        names.pop()
    if names and secret_name(names[-1]) and not isinstance(value, bool):
        refers = isinstance(value, Mapping) and set(value) in ({"name", "valueFrom"}, {"valueFrom"}, {"secretKeyRef"})
        return _mask_inside(kind, tuple(path), value) if refers else Masked()
    return _mask_inside(kind, tuple(path), value)


def _mask_inside(kind: str, path: Tuple[Any, ...], value: Any) -> Any:
    if isinstance(value, Mapping):
        # An entry {name: PASSWORD, value: ...} of an env list is named by its name, not by its key.
        named = any(isinstance(value.get(key), str) and secret_name(value[key]) for key in ("name", "key"))
        hidden = (["value"] if named else []) + (["data", "stringData"] if value.get("kind") == "Secret" else [])
        return {key: Masked() if key in hidden else mask(kind, path + (key,), inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        # The word after --password is one, too.
        return [Masked() if isinstance(inner, str) and _announces(before) else _mask_inside(kind, path, inner) for before, inner in zip([None, *value], value)]
    if isinstance(value, str):
        return scrub(value)
    return value


def _announces(word: Any) -> bool:
    return isinstance(word, str) and word.startswith("-") and "=" not in word and secret_name(word)


def scrub(text: str, secrets: Sequence[str] = ()) -> str:
    """Remove from a text what looks like a secret (user names and passwords in URLs, private keys, tokens, assignments) and every given value."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, HIDDEN)
    text = _PEM.sub(HIDDEN, text)
    text = _ENCODED.sub(HIDDEN, text)
    text = _USERINFO.sub(r"\1" + HIDDEN + "@", text)
    text = _FLAG.sub(r"\1" + HIDDEN, text)
    return _ASSIGNED.sub(r"\1" + HIDDEN, text)


def show(value: Any) -> Any:
    """Return a masked value as plain data for people: text instead of Masked, JSON text instead of nested data."""
    if isinstance(value, Masked):
        return HIDDEN
    if isinstance(value, (dict, list)):
        return json.dumps(value, default=str, sort_keys=True)
    return value
