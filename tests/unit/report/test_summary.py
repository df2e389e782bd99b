"""The summary for people tells everything that a result holds, in words that are true in check mode too; the overlay joins Helm values."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.findings import (
    FAIL,
    FIXED,
    NOT_APPLICABLE,
    PASS,
    UNKNOWN,
    WOULD_FIX,
    Check,
    Finding,
    Proof,
    Source,
)
from ansible_collections.paas.hardening.plugins.module_utils._report.summary import merged_overlay, summary

STATUSES = [FAIL, UNKNOWN, WOULD_FIX, FIXED, PASS, NOT_APPLICABLE]


def finding(status: str = PASS, **more: Any) -> dict[str, Any]:
    known: dict[str, Any] = {"observed": "1 router", "expected": "2 routers", "after": "2 routers" if status == FIXED else ""}
    known |= more
    return Finding("router-scale", "More than one router answers", "high", Source("d", "s", "t"), "Deployment deis/deis-router", status, **known).as_data()


def text(*findings: dict[str, Any], changed: bool = False) -> str:
    return "\n".join(summary([{"changed": changed, "findings": list(findings)}]))


def totals(*results: dict[str, Any]) -> tuple[int, str, int]:
    """The last line, read: how many findings, of which statuses, how many changes."""
    line = re.fullmatch(r"Findings: (\d+) \((.+)\)\. Changed in this run: (\d+)\.", summary(list(results))[-1])
    assert line is not None, summary(list(results))[-1]
    return int(line[1]), line[2], int(line[3])


def test_nothing_found() -> None:
    assert totals() == (0, "none", 0)
    assert len(summary([])) == 2
    assert summary([{}, {"skipped": True}, {"findings": None}]) == summary([])


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_has_a_mark_and_is_counted(status: str) -> None:
    lines = summary([{"findings": [finding(status)]}])
    assert lines[1].startswith("[")
    assert "More than one router answers (router-scale, high)" in lines[1]
    assert totals({"findings": [finding(status)]})[0] == 1


def test_marks_are_all_different() -> None:
    assert len({summary([{"findings": [finding(status)]}])[1] for status in STATUSES}) == len(STATUSES)


def test_what_was_changed_shows_before_and_after() -> None:
    lines = text(finding(FIXED))
    assert "before   1 router" in lines
    assert "after    2 routers" in lines
    assert "wanted" not in lines


def test_what_would_be_changed_shows_what_is_wanted() -> None:
    lines = text(finding(WOULD_FIX))
    assert "wanted   2 routers" in lines
    assert "after" not in lines


def test_what_was_right_shows_what_is() -> None:
    lines = text(finding(PASS))
    assert "before   1 router" in lines
    assert "after" not in lines


def test_proof_durability_reasons_and_hint_are_shown() -> None:
    proof = Proof((Check("GET :9090/healthz on pod a", "200", "200", PASS), Check("GET :9090/healthz on pod b", "200", "no answer", FAIL)))
    verdicts = (
        {"field": "spec.replicas", "lasts": False, "reason": "the chart states 1"},
        {"field": "spec.selector", "lasts": True, "reason": "no release owns it"},
    )
    lines = text(finding(FAIL, proof=proof, durability=verdicts, reasons=("one node is away",), hint="Mend the node."))
    assert "proof    pass: GET :9090/healthz on pod a -> 200" in lines
    assert "proof    fail: GET :9090/healthz on pod b -> no answer" in lines
    assert "REVERTS  spec.replicas: the chart states 1" in lines
    assert "lasts    spec.selector: no release owns it" in lines
    assert "because  one node is away" in lines
    assert "do       Mend the node." in lines


def test_long_lines_are_broken_between_words_and_nothing_is_lost() -> None:
    words = [f"word{number}" for number in range(60)]
    name = "a" * 150
    lines = summary([{"findings": [finding(PASS, observed=" ".join(words), hint=f"Look at {name}.")]}])
    assert all(len(line) <= 100 or name in line for line in lines)
    assert " ".join(" ".join(lines).split()).count(" ".join(words)) == 1
    assert any(name in line for line in lines)


def test_findings_stand_in_the_order_in_which_they_came() -> None:
    lines = text(finding(PASS, hint="first"), finding(FAIL, hint="second"))
    assert lines.index("first") < lines.index("second")


def test_the_count_tells_changes_from_wishes() -> None:
    assert totals({"changed": True, "findings": [finding(FIXED)]}, {"changed": True, "findings": [finding(FIXED)]}) == (2, "2 fixed", 2)
    assert totals({"changed": True, "findings": [finding(FIXED), finding(FAIL)]})[2] == 1
    # Check mode says changed too; nothing was.
    assert totals({"changed": True, "findings": [finding(WOULD_FIX)]}) == (1, "1 would fix", 0)
    assert totals({"changed": False, "findings": [finding(PASS)]})[2] == 0


def test_the_count_names_each_status() -> None:
    number, statuses, _changed = totals({"findings": [finding(status) for status in (PASS, PASS, FAIL, UNKNOWN)]})
    assert number == 4
    assert sorted(statuses.split(", ")) == ["1 fail", "1 unknown", "2 ok"]


@pytest.mark.parametrize(
    ("overlays", "merged"),
    [
        ([], {}),
        ([None, {}], {}),
        ([{"a": {"b": 1}}, {"a": {"c": 2}}], {"a": {"b": 1, "c": 2}}),
        ([{"a": {"b": {"c": 1}}}, {"a": {"b": {"d": [1]}}, "e": "x"}], {"a": {"b": {"c": 1, "d": [1]}}, "e": "x"}),
        # The later result wins, whatever stood there.
        ([{"a": 1}, {"a": 2}], {"a": 2}),
        ([{"a": 1}, {"a": {"b": 2}}], {"a": {"b": 2}}),
        ([{"a": {"b": 2}}, {"a": 1}], {"a": 1}),
        ([{"a": None}, {"a": {"b": 2}}], {"a": {"b": 2}}),
    ],
)
def test_overlays_are_joined(overlays: list[Any], merged: dict[str, Any]) -> None:
    results = [{"overlay": overlay} for overlay in overlays]
    before = copy.deepcopy(results)
    assert merged_overlay(results) == merged
    assert results == before, "the results stay as they are"


def test_fields_of_which_the_same_is_to_be_said_stand_in_one_row() -> None:
    verdicts = tuple({"field": f"data.{name}", "lasts": False, "reason": "the chart's value comes back"} for name in "abcde")
    lines = text(finding(FAIL, durability=verdicts))
    assert "REVERTS  data.a, data.b, data.c and 2 more: the chart's value comes back" in lines


def test_a_failure_is_told_after_what_was_done_before_it() -> None:
    failure = {"reason": "TimedOut", "hint": "Look at the pods.", "object": "", "code": None}
    plan = [{"object": f"Deployment deis/{name}", "field": field} for name in "abcd" for field in ("x", "y")]
    broken = {"failed": True, "changed": True, "msg": "It did not become ready. Look at the pods.", "failure": failure, "plan": plan}
    lines = summary([{"changed": True, "findings": [finding(FIXED)]}, broken])
    place = lines.index("[FAILED] The run stopped here")
    assert place > next(number for number, line in enumerate(lines) if "FIXED" in line)
    assert lines[place + 1 : place + 4] == [
        "  because  It did not become ready.",
        "  do       Look at the pods.",
        "  changed  Deployment deis/a, Deployment deis/b, Deployment deis/c and 1 more",
    ]
    assert lines[-1] == "Findings: 1 (1 fixed). Changed in this run: 2. Failed: 1; what comes after it was not looked at."


def test_a_failure_without_a_hint_is_told_too() -> None:
    assert "  because  Broken." in summary([{"failed": True, "msg": "Broken."}])
