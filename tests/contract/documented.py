"""Compares a result with what the module's RETURN says of it: exactly the documented keys, with values of the documented types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# What Ansible itself adds to, or wants from, every result.
_OF_ANSIBLE = frozenset({"invocation", "diff", "failed", "msg", "exception", "warnings", "changed"})
# Trees whose keys are those of a chart.
_FREE = frozenset({"overlay"})
_TYPES: Mapping[str, tuple[type, ...]] = {
    "bool": (bool,),
    "dict": (dict,),
    "float": (float, int),
    "int": (int,),
    "list": (list,),
    "str": (str,),
    "raw": (object,),
}


def differences(result: Mapping[str, Any], returned: Mapping[str, Any], failed: bool = False) -> list[str]:
    """Return in words where the result is not what the documentation says."""
    wanted = {name for name, entry in returned.items() if _applies(entry["returned"], failed)} - _OF_ANSIBLE
    optional = {name for name, entry in returned.items() if failed and entry["returned"].startswith("always")}
    found = {name for name in result if not name.startswith("_ansible_")} - _OF_ANSIBLE
    wrong = [f"{name}: documented, not returned" for name in sorted(wanted - found - optional)]
    wrong += [f"{name}: returned, not documented" for name in sorted(found - wanted)]
    for name in sorted(found & wanted):
        wrong += _value(name, result[name], returned[name])
    return wrong


def _applies(when: str, failed: bool) -> bool:
    return when.startswith(("always", "failure" if failed else "success"))


def _value(where: str, value: Any, entry: Mapping[str, Any]) -> Iterator[str]:
    if value is None:
        return
    if not _is(value, entry["type"]):
        yield f"{where}: documented as {entry['type']}, is {type(value).__name__}"
        return
    each = value if isinstance(value, list) else [value]
    if isinstance(value, list) and entry.get("elements"):
        yield from (f"{where}: documented with elements {entry['elements']}, has {type(item).__name__}" for item in value if not _is(item, entry["elements"]))
    if "contains" in entry:
        for item in each:
            yield from _keys(where, item, set(entry["contains"]))
            yield from (line for name in item if name in entry["contains"] for line in _value(f"{where}.{name}", item[name], entry["contains"][name]))
    elif where not in _FREE:
        # Where the keys are not described one by one, the sample shows them.
        shown = entry.get("sample")
        if isinstance(shown, list):
            shown = shown[0] if shown else None
        if isinstance(shown, dict):
            for item in each:
                yield from _as_shown(where, item, shown)


def _as_shown(where: str, item: Mapping[str, Any], shown: Mapping[str, Any]) -> Iterator[str]:
    """Compare with a sample: the same keys, and values of the same type, unless one of them is null."""
    yield from _keys(where, item, set(shown))
    for name in set(shown) & set(item):
        if isinstance(shown[name], dict) and isinstance(item[name], dict):
            yield from _as_shown(f"{where}.{name}", item[name], shown[name])
        elif None not in (shown[name], item[name]) and type(shown[name]) is not type(item[name]):
            yield f"{where}.{name}: the sample has {type(shown[name]).__name__}, it is {type(item[name]).__name__}"


def _keys(where: str, item: Mapping[str, Any], wanted: set[str]) -> Iterator[str]:
    if set(item) != wanted:
        yield f"{where}: has the keys {sorted(item)}, documented are {sorted(wanted)}"


def _is(value: Any, name: str) -> bool:
    return isinstance(value, _TYPES[name]) and not (isinstance(value, bool) and name in ("int", "float"))
