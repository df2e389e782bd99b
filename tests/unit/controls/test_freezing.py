"""Workloads that stand still: what is noted on them is enough to go on, whoever goes on."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.control import plan_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.freezing import FROZEN, freeze, frozen_replicas, thaw
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT


def workload(replicas: Any, noted: str | None = None) -> dict[str, Any]:
    annotations = {} if noted is None else {FROZEN: noted}
    metadata = {"name": "web", "namespace": "shop", "resourceVersion": "3", "annotations": annotations}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {} if replicas is None else {"replicas": replicas}}


def changes(document: dict[str, Any], make: Any) -> list[tuple[str, Any, Any, str]]:
    return [(change.field, change.before, change.after, change.stage) for change in plan_of(make(document, "why")).changes]


NOTE = f'metadata.annotations["{FROZEN}"]'


@pytest.mark.parametrize(("replicas", "noted"), [(3, "3"), (0, "0"), (None, "1")])
def test_a_freeze_notes_how_many_there_were_in_the_same_write(replicas: int | None, noted: str) -> None:
    planned = changes(workload(replicas), freeze)
    assert planned[0] == (NOTE, ABSENT, noted, "freeze")
    if replicas:
        assert planned[1:] == [("spec.replicas", replicas, 0, "freeze")]


def test_what_stands_still_is_not_frozen_again_and_keeps_its_number() -> None:
    frozen = workload(0, noted="3")
    assert changes(frozen, freeze) == []
    assert frozen_replicas(frozen) == 3
    assert changes(frozen, thaw) == [("spec.replicas", 0, 3, "thaw"), (NOTE, "3", ABSENT, "thaw")]


def test_a_thaw_is_planned_before_anything_stands_still() -> None:
    assert changes(workload(2), thaw) == [("spec.replicas", 0, 2, "thaw"), (NOTE, "2", ABSENT, "thaw")]


def test_a_freeze_that_was_half_undone_by_somebody_else_is_made_whole() -> None:
    assert changes(workload(1, noted="3"), freeze) == [("spec.replicas", 1, 0, "freeze")]


def test_a_note_that_is_no_number_is_none() -> None:
    assert frozen_replicas(workload(1, noted="many")) is None
    assert frozen_replicas(workload(1)) is None
