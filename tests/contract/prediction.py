"""What objects look like when a plan has been carried out, and objects in the form in which two of them can be compared."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Item, Path, Plan, Ref, ref_of

# What the server and its controllers write by themselves.
_OF_THE_SERVER = ("resourceVersion", "managedFields", "generation", "creationTimestamp", "uid")
_OF_CONTROLLERS = ("deployment.kubernetes.io/revision",)

Documents = Mapping[Ref, Mapping[str, Any]]


def predicted(before: Documents, plan: Plan) -> dict[Ref, Mapping[str, Any]]:
    """Return the objects as they should be after the plan."""
    after: dict[Ref, Any] = {ref: copy.deepcopy(dict(document)) for ref, document in before.items()}
    for change in plan.changes:
        if change.path:
            _place(after[change.ref], change.path, change.after)
        elif change.after is ABSENT:
            after.pop(change.ref, None)
        else:
            after[change.ref] = copy.deepcopy(change.after)
    return after


def _place(document: Any, path: Path, value: Any) -> None:
    here = document
    for step, following in itertools.pairwise(path):
        if isinstance(step, Item):
            found = _entry(here, step)
            if found is None:
                found = {step.key: step.value}
                here.append(found)
            here = found
        else:
            here = here.setdefault(step, [] if isinstance(following, Item) else {})
    last = path[-1]
    if isinstance(last, Item):
        here[:] = [entry for entry in here if entry.get(last.key) != last.value]
        if value is not ABSENT:
            here.append(value)
    elif value is ABSENT:
        here.pop(last, None)
    else:
        here[last] = value


def _entry(entries: Any, step: Item) -> Any:
    return next((entry for entry in entries if entry.get(step.key) == step.value), None)


def canonical(document: Mapping[str, Any]) -> str:
    """Return the object as sorted JSON, without its status and what the server counts by itself."""
    metadata = {key: value for key, value in document["metadata"].items() if key not in _OF_THE_SERVER}
    notes = {key: value for key, value in (metadata.pop("annotations", None) or {}).items() if key not in _OF_CONTROLLERS}
    rest = {key: value for key, value in document.items() if key not in ("status", "metadata")}
    return json.dumps({**rest, "metadata": {**metadata, "annotations": notes}}, sort_keys=True, indent=1)


def by_address(documents: list[Mapping[str, Any]]) -> dict[Ref, Mapping[str, Any]]:
    return {ref_of(document): document for document in documents}
