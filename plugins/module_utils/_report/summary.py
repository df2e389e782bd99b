# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The short summary for people at the end of a run: recommendation, before, after, proof, and whether it will last."""

from __future__ import annotations

import textwrap
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._cluster.values import merge_overlays

_WIDTH = 100
_FIELDS_SHOWN = 3
_MARKS = {"pass": "ok", "fixed": "FIXED", "would-fix": "WOULD FIX", "fail": "FAIL", "unknown": "UNKNOWN", "not-applicable": "n/a"}


def summary(results: Sequence[Mapping[str, Any]]) -> List[str]:
    """Return the lines of the summary for the results of the verbs, in the order in which they ran."""
    lines: List[str] = []
    counts: Dict[str, int] = {}
    failed = [result for result in results if result.get("failed")]
    for result in results:
        for finding in result.get("findings") or ():
            counts[finding["status"]] = counts.get(finding["status"], 0) + 1
            lines += _finding(finding)
    for result in failed:
        lines += _failure(result)
    total = ", ".join(f"{number} {_MARKS[status].lower()}" for status, number in sorted(counts.items()))
    changed = sum(1 for result in results if result.get("changed") and all(finding["status"] != "would-fix" for finding in result.get("findings") or ()))
    end = f" Failed: {len(failed)}; what comes after it was not looked at." if failed else ""
    return [*lines, "", f"Findings: {sum(counts.values())} ({total or 'none'}). Changed in this run: {changed}.{end}"]


def _failure(result: Mapping[str, Any]) -> List[str]:
    """What stopped the run, and what it had written until then."""
    hint = (result.get("failure") or {}).get("hint") or ""
    said = str(result.get("msg") or "")
    rows = [("because", said[: -len(hint)].rstrip() if hint and said.endswith(hint) else said), ("do", hint)]
    written = list(dict.fromkeys(change["object"] for change in result.get("plan") or ()))
    if written:
        rows.append(("changed", ", ".join(written[:_FIELDS_SHOWN]) + (f" and {len(written) - _FIELDS_SHOWN} more" if len(written) > _FIELDS_SHOWN else "")))
    return ["", "[FAILED] The run stopped here", *_rows(row for row in rows if row[1])]


def _finding(finding: Mapping[str, Any]) -> List[str]:
    lines = ["", f"[{_MARKS[finding['status']]}] {finding['title']} ({finding['control']}, {finding['severity']})"]
    rows = [("on", finding["subject"]), ("before", finding["observed"])]
    if finding["status"] == "would-fix":
        rows.append(("wanted", finding["expected"]))
    elif finding["after"] != finding["observed"]:
        rows.append(("after", finding["after"]))
    rows += [("proof", f"{check['verdict']}: {check['what']} -> {check['observed']}") for check in finding["proof"]["checks"]]
    rows += _durability(finding["durability"])
    rows += [("because", reason) for reason in finding["reasons"]]
    if finding["hint"]:
        rows.append(("do", finding["hint"]))
    return lines + _rows(rows)


def _rows(rows: Iterable[Tuple[str, Any]]) -> List[str]:
    lines: List[str] = []
    for label, text in rows:
        lines += textwrap.wrap(str(text), _WIDTH, initial_indent=f"  {label:<8} ", subsequent_indent=" " * 11, break_long_words=False)
    return lines


def _durability(verdicts: Sequence[Mapping[str, Any]]) -> List[Tuple[str, str]]:
    """One row for all fields of which the same is to be said: a move has dozens."""
    fields: Dict[Tuple[str, str], List[str]] = {}
    for verdict in verdicts:
        fields.setdefault(("lasts" if verdict["lasts"] else "REVERTS", verdict["reason"]), []).append(verdict["field"])
    rows = []
    for (label, reason), names in fields.items():
        different = list(dict.fromkeys(names))
        shown = ", ".join(different[:_FIELDS_SHOWN]) + (f" and {len(different) - _FIELDS_SHOWN} more" if len(different) > _FIELDS_SHOWN else "")
        rows.append((label, f"{shown}: {reason}"))
    return rows


def merged_overlay(results: Sequence[Mapping[str, Any]]) -> Dict[str, Any]:
    """Return the Helm values of all results in one tree."""
    return merge_overlays(*(result.get("overlay") or {} for result in results))
