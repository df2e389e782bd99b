# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the release record of Helm 2: a protobuf message, walked by its wire format with the standard library alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Mapping, Tuple, Union

from ansible_collections.paas.hardening.plugins.module_utils._cluster.manifest import read_yaml
from ansible_collections.paas.hardening.plugins.module_utils._cluster.values import GLOBAL, share
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure

# Charts nest sub-charts two or three deep; a message that goes on is not a chart.
_DEEPEST = 32
# No chart has as many; a message of empty fields would fill the memory.
_MOST_FIELDS = 100_000

_EVENTS = {
    1: "pre-install", 2: "post-install", 3: "pre-delete", 4: "post-delete", 5: "pre-upgrade", 6: "post-upgrade",
    7: "pre-rollback", 8: "post-rollback", 9: "test-success", 10: "test-failure", 11: "crd-install",
}  # fmt: skip
_STATUSES = {
    1: "deployed", 2: "uninstalled", 3: "superseded", 4: "failed", 5: "uninstalling", 6: "pending-install", 7: "pending-upgrade", 8: "pending-rollback",
}  # fmt: skip
_POLICIES = {0: "hook-succeeded", 1: "hook-failed", 2: "before-hook-creation"}

Field = Union[int, bytes]


class Damaged(Exception):
    """The bytes are not the message they should be."""


@dataclass(frozen=True, repr=False)
class Chart2:
    """A chart as Helm 2 stores it, sub-charts and templates included."""

    name: str = ""
    version: str = ""
    app_version: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)
    dependencies: Tuple[Chart2, ...] = ()

    def subcharts(self) -> Dict[str, Any]:
        """Return the tree of sub-chart names."""
        return {chart.name: chart.subcharts() for chart in self.dependencies}

    def effective(self, given: Mapping[str, Any]) -> Dict[str, Any]:
        """Return the effective values of the whole tree as Helm 2 computes them, from those that the user gave.

        Unlike later versions, Helm 2 loses a null on the way to a sub-chart, whose default then stays.
        """
        values = _laid_over(self.values, given)
        for chart in self.dependencies:
            own = values.get(chart.name, {})
            if isinstance(own, dict):
                own = dict(own)
                share(values.get(GLOBAL), own)
                values[chart.name] = chart.effective(own)
        return values

    def all_templates(self, prefix: str = "") -> Dict[str, str]:
        """Return every template by the path that a manifest's ``# Source:`` line names."""
        here = f"{prefix}{self.name}"
        found = {f"{here}/{name}": text for name, text in self.templates.items()}
        for chart in self.dependencies:
            found.update(chart.all_templates(f"{here}/charts/"))
        return found


def _laid_over(under: Mapping[str, Any], over: Mapping[str, Any]) -> Dict[str, Any]:
    result = {key: value for key, value in over.items() if value is not None}
    for key, default in under.items():
        if key not in over:
            result[key] = default
        elif isinstance(default, Mapping) and isinstance(over[key], Mapping):
            result[key] = _laid_over(default, over[key])
    return result


def read_release(payload: bytes) -> Dict[str, Any]:
    """Return the parts of a Helm 2 release: name, namespace, version, status, chart (Chart2), config, manifest and hooks.

    Raises Failure, without any of the content, when the bytes are not such a message.
    """
    try:
        message = _fields(payload)
        hooks = [_hook(_fields(_bytes(part))) for part in message.get(6, [])]
        return {
            "name": _text(message, 1),
            "status": _STATUSES.get(_number(_inner(_inner(message, 2), 1), 1), "unknown"),
            "chart": _chart(_inner(message, 3), 0),
            "config": _values(_inner(message, 4)),
            "manifest": _text(message, 5),
            "hooks": hooks,
            "version": _number(message, 7),
            "namespace": _text(message, 8),
        }
    except (Damaged, UnicodeDecodeError):
        raise Failure("A Helm 2 release record cannot be read: it is damaged.", "What the next upgrade does cannot be known from it.") from None


def _chart(message: Mapping[int, List[Field]], depth: int) -> Chart2:
    if depth > _DEEPEST:
        raise Damaged
    metadata = _inner(message, 1)
    templates = [_fields(_bytes(part)) for part in message.get(2, [])]
    return Chart2(
        name=_text(metadata, 1),
        version=_text(metadata, 4),
        app_version=_text(metadata, 13),
        values=_values(_inner(message, 4)),
        # A template may hold any bytes; it is only searched for words.
        templates={_text(part, 1): _last(part, 2, b"").decode("utf-8", "replace") for part in templates},
        dependencies=tuple(_chart(_fields(_bytes(part)), depth + 1) for part in message.get(3, [])),
    )


def _hook(message: Mapping[int, List[Field]]) -> Dict[str, Any]:
    return {
        "name": _text(message, 1),
        "kind": _text(message, 2),
        "path": _text(message, 3),
        "manifest": _text(message, 4),
        "events": [_EVENTS.get(code, "unknown") for code in _numbers(message.get(5, []))],
        "delete_policies": [_POLICIES.get(code, "unknown") for code in _numbers(message.get(8, []))],
    }


def _values(message: Mapping[int, List[Field]]) -> Dict[str, Any]:
    raw = _text(message, 1)
    values = read_yaml(raw) if raw.strip() else {}
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise Damaged
    return values


def _fields(payload: bytes) -> Dict[int, List[Field]]:
    found: Dict[int, List[Field]] = {}
    for count, (number, value) in enumerate(_walk(payload)):
        if count > _MOST_FIELDS:
            raise Damaged
        found.setdefault(number, []).append(value)
    return found


def _walk(payload: bytes) -> Iterator[Tuple[int, Field]]:
    at = 0
    while at < len(payload):
        key, at = _varint(payload, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise Damaged
        if wire == 0:
            value, at = _varint(payload, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(payload, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise Damaged
        if at + size > len(payload):
            raise Damaged
        yield number, payload[at : at + size]
        at += size


def _varint(payload: bytes, at: int) -> Tuple[int, int]:
    result = 0
    for shift in range(0, 70, 7):
        if at >= len(payload):
            raise Damaged
        byte = payload[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
    raise Damaged


def _numbers(parts: List[Field]) -> Iterator[int]:
    """Yield the numbers of a repeated field, which proto3 packs into one run of bytes."""
    for part in parts:
        if isinstance(part, int):
            yield part
            continue
        at = 0
        while at < len(part):
            number, at = _varint(part, at)
            yield number


def _bytes(part: Field) -> bytes:
    if not isinstance(part, bytes):
        raise Damaged
    return part


def _last(message: Mapping[int, List[Field]], number: int, default: bytes) -> bytes:
    parts = message.get(number)
    return _bytes(parts[-1]) if parts else default


def _inner(message: Mapping[int, List[Field]], number: int) -> Dict[int, List[Field]]:
    return _fields(_last(message, number, b""))


def _text(message: Mapping[int, List[Field]], number: int) -> str:
    return _last(message, number, b"").decode("utf-8")


def _number(message: Mapping[int, List[Field]], number: int) -> int:
    parts = message.get(number)
    if not parts:
        return 0
    if not isinstance(parts[-1], int):
        raise Damaged
    return parts[-1]
