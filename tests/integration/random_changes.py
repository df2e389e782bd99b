"""Random live changes: any field of an object, to a value of its own type that the API server may or may not accept."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Item, Path

# What tells the entries of a list apart, in the order of preference.
_KEYS = ("mountPath", "containerPort", "topologyKey", "ip", "port", "name")
_NOT_OURS = ("apiVersion", "kind", "status")
# Changed by the server at will, or the identity of the object; the signature of helm is not ours to write either.
_METADATA = ("labels", "annotations")
_OPEN_MAPS = ("labels", "annotations", "data", "nodeSelector", "limits", "requests", "whole")
_WORDS = ["alpha", "beta", "Always", "IfNotPresent", "8Mi", "1", "true", "ClusterFirst", "/other", "Y2FuYXJ5"]


def random_change(dice: random.Random, document: dict[str, Any]) -> tuple[Path, Any]:
    """Return a path of the document and a new value for it; ABSENT takes the field away."""
    path, value = dice.choice(list(_fields(document, ())))
    if isinstance(value, dict):
        return (*path, f"added-{dice.randrange(9)}"), dice.choice(_WORDS)
    if dice.random() < 0.2:
        return path, ABSENT
    return path, _other(dice, value)


def _fields(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict):
        if path and path[-1] in _OPEN_MAPS:
            yield path, value
        for key, inner in value.items():
            if (not path and key in _NOT_OURS) or (path == ("metadata",) and key not in _METADATA) or "helm.sh/" in key:
                continue
            # Another key makes it another entry.
            if path and isinstance(path[-1], Item) and path[-1].key == key:
                continue
            yield from _fields(inner, (*path, key))
        return
    key = _key_of(value) if isinstance(value, list) else None
    if key:
        for entry in value:
            yield from _fields(entry, (*path, Item(key, entry[key])))
    yield path, value


def _key_of(entries: list[Any]) -> str | None:
    for key in _KEYS:
        if entries and all(isinstance(entry, dict) and key in entry for entry in entries) and len({str(entry[key]) for entry in entries}) == len(entries):
            return key
    return None


def _other(dice: random.Random, value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + dice.choice((-1, 1, 7))
    if isinstance(value, str):
        return dice.choice([*_WORDS, f"{value}x"])
    if isinstance(value, list):
        return dice.choice((value[:-1], [*value, *value[:1]], [_other(dice, value[0]), *value[1:]] if value and not isinstance(value[0], dict) else []))
    return value
