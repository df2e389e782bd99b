"""Findings, proofs and argument pieces: unknown is never a pass, and what is broken stands first."""

from __future__ import annotations

import json

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core import errors
from ansible_collections.paas.hardening.plugins.module_utils._core.arguments import WAIT_ARGUMENTS, merge
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
    status_of,
    worst_first,
)


def proof(*verdicts: str) -> Proof:
    return Proof(tuple(Check(f"question {number}", "yes", verdict, verdict) for number, verdict in enumerate(verdicts)))


def finding(status: str, after: str = "") -> Finding:
    return Finding("c", "Title", "high", Source("Book", "Chapter", "Sentence."), "Deployment d", status, "2", "1", after)


@pytest.mark.parametrize(
    ("verdicts", "answer"),
    [
        ((), UNKNOWN),
        ((PASS,), PASS),
        ((PASS, PASS), PASS),
        ((PASS, UNKNOWN), UNKNOWN),
        ((UNKNOWN,), UNKNOWN),
        ((PASS, UNKNOWN, FAIL), FAIL),
        ((FAIL,), FAIL),
        # A verdict that nobody defined is not a pass.
        ((PASS, "ok"), UNKNOWN),
    ],
)
def test_a_proof_is_as_good_as_its_worst_check(verdicts: tuple[str, ...], answer: str) -> None:
    assert proof(*verdicts).verdict == answer


def test_a_proof_reads_like_text() -> None:
    assert str(Proof()) == "not probed"
    assert str(proof(PASS, FAIL)) == "question 0: pass; question 1: fail"


@pytest.mark.parametrize(
    ("planned", "enforced", "verdict", "probed", "status"),
    [
        (False, True, PASS, True, PASS),
        (False, False, PASS, True, PASS),
        (True, True, PASS, True, FIXED),
        (True, False, PASS, True, WOULD_FIX),
        (True, False, FAIL, True, WOULD_FIX),
        # The configuration is right and the effect is not there: the worse of the two decides.
        (False, False, FAIL, True, FAIL),
        (False, False, UNKNOWN, True, UNKNOWN),
        (False, True, None, True, UNKNOWN),
        (True, True, UNKNOWN, True, UNKNOWN),
        # Nobody asked for a look from outside.
        (False, True, None, False, PASS),
        (True, True, None, False, FIXED),
    ],
)
def test_the_worse_of_plan_and_proof_decides(planned: bool, enforced: bool, verdict: str | None, probed: bool, status: str) -> None:
    assert status_of(planned, enforced, proof(*([verdict] if verdict else [])), probed) == status


def test_what_is_broken_stands_first() -> None:
    statuses = [NOT_APPLICABLE, PASS, FIXED, WOULD_FIX, UNKNOWN, FAIL]
    assert [entry.status for entry in worst_first([finding(status) for status in statuses])] == statuses[::-1]


def test_findings_of_one_status_keep_their_order() -> None:
    assert [entry.after for entry in worst_first([finding(FAIL, "a"), finding(PASS), finding(FAIL, "b")])] == ["a", "b", ""]


def test_a_finding_is_plain_data() -> None:
    data = finding(PASS).as_data()
    assert json.loads(json.dumps(data)) == data
    assert data["source"] == {"document": "Book", "section": "Chapter", "sentence": "Sentence."}
    assert data["after"] == "1"
    assert finding(FIXED, "2").as_data()["after"] == "2"
    assert data["proof"] == {"verdict": UNKNOWN, "checks": []}


def test_arguments_are_joined_once() -> None:
    assert merge({"a": {"type": "str"}}, WAIT_ARGUMENTS) == {"a": {"type": "str"}, **WAIT_ARGUMENTS}
    with pytest.raises(ValueError, match="wait_timeout"):
        merge(WAIT_ARGUMENTS, {"wait_timeout": {"type": "int"}})


@pytest.mark.parametrize("kind", sorted(errors.Failure.__subclasses__(), key=lambda kind: kind.__name__))
def test_every_failure_says_what_and_what_to_do(kind: type[errors.Failure]) -> None:
    failure = kind("It broke.", "Mend it.", "Pod p", 409)
    assert str(failure) == "It broke. Mend it."
    assert str(kind("It broke.")) == "It broke."
    assert failure.as_data() == {"reason": kind.__name__, "code": 409, "object": "Pod p", "hint": "Mend it."}


def test_unavailability_carries_when_to_come_back() -> None:
    assert errors.Unavailable("x", retry_after=3).retry_after == 3
    assert errors.Unavailable("x").retry_after is None
