# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chart values: how defaults and a user's values become the effective ones, and the overlay that carries a setting into them."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any, Dict, List, Mapping, Optional

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT

GLOBAL = "global"
_DOT = re.compile(r"(?<!\\)\.")


def keys_of(path: str) -> List[str]:
    """Split a values path such as ``controller.registration_mode`` into its keys; a dot inside a key is written with a backslash before it."""
    keys = [key.replace("\\.", ".") for key in _DOT.split(path)]
    if not all(keys):
        raise Invalid(f"The values path {path!r} has an empty part.", "Write the keys with one dot between them.", subject=path)
    return keys


def coalesce(chart_values: Mapping[str, Any], user_values: Mapping[str, Any], subcharts: Optional[Mapping[str, Any]] = None) -> Dict[str, Any]:
    """Return the effective values as Helm computes them; the arguments stay as they are.

    The user wins over the chart, maps merge deeply, lists and scalars are replaced whole, and a null of the user takes a default away.
    ``subcharts`` is the tree of sub-chart names: ``global`` is pushed down into each of them, where the parent wins.
    """
    effective = _merged(deepcopy(dict(user_values)), deepcopy(dict(chart_values)))
    _push_globals(effective, subcharts or {})
    return effective


def _merged(over: Dict[str, Any], under: Mapping[str, Any]) -> Dict[str, Any]:
    for key, default in under.items():
        if key not in over:
            over[key] = default
        elif over[key] is None:
            # A null takes a default away, but a null where there is no default to take away stays.
            if default is not None:
                del over[key]
        elif isinstance(over[key], dict) and isinstance(default, Mapping):
            _merged(over[key], default)
    return over


def _push_globals(values: Dict[str, Any], subcharts: Mapping[str, Any]) -> None:
    shared = values.get(GLOBAL)
    for name, below in subcharts.items():
        own = values.setdefault(name, {})
        if isinstance(own, dict):
            share(shared, own)
            _push_globals(own, below)


def share(shared: Any, own: Dict[str, Any]) -> None:
    """Put the ``global`` map of a parent chart into the values of one of its sub-charts, where the parent wins."""
    mine = own.setdefault(GLOBAL, {})
    if isinstance(shared, Mapping) and isinstance(mine, Mapping):
        own[GLOBAL] = _parent_first(shared, mine)


def _parent_first(parent: Mapping[str, Any], own: Mapping[str, Any]) -> Dict[str, Any]:
    result = dict(own)
    for key, value in parent.items():
        mine = own.get(key, {})
        if isinstance(value, Mapping):
            # Helm leaves a scalar of the sub-chart alone when the parent has a table there, and the other way round.
            if isinstance(mine, Mapping):
                result[key] = _parent_first(value, mine)
        elif key not in own or not isinstance(mine, Mapping):
            result[key] = deepcopy(value)
    return result


def value_at(values: Mapping[str, Any], path: str) -> Any:
    """Return the value at a values path, or ABSENT."""
    here: Any = values
    for key in keys_of(path):
        if not isinstance(here, Mapping) or key not in here:
            return ABSENT
        here = here[key]
    return here


def overlay(entries: Mapping[str, Any]) -> Dict[str, Any]:
    """Turn ``{"controller.registration_mode": "admin_only"}`` into the nested document that ``helm upgrade -f`` reads.

    Raises Invalid when one path lies inside another.
    """
    document: Dict[str, Any] = {}
    given = {tuple(keys_of(path)): value for path, value in entries.items()}
    for keys, value in given.items():
        here = document
        for number, key in enumerate(keys[:-1], 1):
            if keys[:number] in given:
                raise Invalid(f"The values path {'.'.join(keys)!r} lies inside another one that has a value of its own.", subject=".".join(keys))
            here = here.setdefault(key, {})
        here[keys[-1]] = deepcopy(value)
    return document


def merge_overlays(*documents: Mapping[str, Any]) -> Dict[str, Any]:
    """Merge overlay documents as several ``-f`` options do: maps deeply, anything else replaced by the later one."""
    result: Dict[str, Any] = {}
    for document in documents:
        _lay_over(result, document)
    return result


def _lay_over(under: Dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(under.get(key), dict):
            _lay_over(under[key], value)
        else:
            under[key] = deepcopy(value)
