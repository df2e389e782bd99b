# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges the variables of a playbook and its roles before anything is touched: unknown names, wrong values, numbers that cannot be."""

from __future__ import annotations

import difflib
from typing import Any, List, Mapping

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator


def variable_problems(given: Mapping[str, Any], specs: Mapping[str, Mapping[str, Any]]) -> List[str]:
    """Return what is wrong with the given variables, each with the variable, its value and the remedy; an empty list when nothing is.

    ``specs`` has the options of each prefix: a variable whose name begins with a prefix has to be one of its options. Every number has to be 1 or more.
    """
    problems: List[str] = []
    for prefix, options in specs.items():
        mine = {name: value for name, value in given.items() if name.startswith(f"{prefix}_")}
        problems += [_unknown(name, options) for name in sorted(set(mine) - set(options))]
        known = {name: value for name, value in mine.items() if name in options}
        result = ArgumentSpecValidator(options).validate(known)
        problems += result.error_messages
        if not result.error_messages:
            values = result.validated_parameters
            numbers = [name for name in sorted(known) if options[name].get("type") == "int" and values[name] is not None and values[name] < 1]
            problems += [f"{name} is {values[name]}: give 1 or more." for name in numbers]
    return problems


def _unknown(name: str, options: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, options, n=1)
    remedy = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(sorted(options))}."
    return f"{name}: no such variable. {remedy}"
