# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What will change: fields, their paths, and the plan that check mode, diff and the real run share."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Dict, Iterator, List, Mapping, Tuple, Union

from ansible_collections.paas.hardening.plugins.module_utils._core.redact import Masked, mask, show

_OF_THE_SERVER = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "uid")


class Absent:
    """The type of ABSENT: the field is not there, which is not the same as null."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "(absent)"


ABSENT = Absent()


@dataclass(frozen=True)
class Item:
    """One element of a list that Kubernetes merges by key, for example ``Item("name", "web")`` in ``containers``."""

    key: str
    value: Any

    def __str__(self) -> str:
        return f"[{self.value}]"


Step = Union[str, Item]
Path = Tuple[Step, ...]


def path_text(path: Path) -> str:
    """Write a path the way a person reads it: ``spec.containers[web].env[MODE].value``."""
    text = ""
    for step in path:
        if isinstance(step, Item):
            text += str(step)
        elif "." in step or "/" in step:
            text += f'["{step}"]'
        else:
            text += f".{step}" if text else step
    return text


def look(document: Any, path: Path) -> Any:
    """Return the value that stands at the path, or ABSENT. A list item is found by its merge key, never by its position."""
    here = document
    for step in path:
        if isinstance(step, Item):
            if not isinstance(here, list):
                return ABSENT
            here = next((entry for entry in here if isinstance(entry, Mapping) and entry.get(step.key) == step.value), ABSENT)
        else:
            here = here.get(step, ABSENT) if isinstance(here, Mapping) else ABSENT
        if here is ABSENT:
            return ABSENT
    return here


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are the same to an API: 1 and 1.0 are, but true is no 1 and "1" is neither."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return set(one) == set(other) and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@dataclass(frozen=True)
class Ref:
    """The address of one object."""

    api_version: str
    kind: str
    name: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


def ref_of(document: Mapping[str, Any]) -> Ref:
    """Return the address of a document that carries apiVersion, kind and metadata."""
    metadata = document.get("metadata") or {}
    return Ref(document["apiVersion"], document["kind"], metadata["name"], metadata.get("namespace") or "")


@dataclass(frozen=True)
class Change:
    """One field of one object that has to change, and why.

    An empty path means the whole object: it is created when ``before`` is ABSENT and deleted when ``after`` is ABSENT. Of work that is done in ``stage``s,
    one after the other, ``before`` is what will stand there when the stage comes.
    """

    ref: Ref
    path: Path
    before: Any
    after: Any
    why: str
    stage: str = ""

    @property
    def field(self) -> str:
        return path_text(self.path) or "(object)"

    def as_data(self) -> Dict[str, Any]:
        """Return the change as plain data for a result, with secrets hidden."""
        data = {"object": str(self.ref), "field": self.field, "before": self._shown(self.before), "after": self._shown(self.after), "why": self.why}
        return {**data, "stage": self.stage} if self.stage else data

    def undone(self) -> Change:
        """Return the change that takes this one back."""
        return replace(self, before=self.after, after=self.before)

    def _shown(self, value: Any) -> Any:
        return None if value is ABSENT else show(self._masked(value))

    def _masked(self, value: Any) -> Any:
        return mask(self.ref.kind, self.path, value if self.path else _as_written(value))

    def diff_line(self, side: str) -> str:
        """Return the line of this field on one side (before, after) of a diff; nothing when the field is absent there."""
        value = self.before if side == "before" else self.after
        if value is ABSENT:
            return ""
        masked = self._masked(value)
        return f"{self.field}: {show(masked)}{f' ({side})' if isinstance(masked, Masked) else ''}\n"


def _as_written(document: Any) -> Any:
    """Return a whole object without what the server keeps about it, which changes by itself."""
    kept = {key: value for key, value in document.items() if key != "status"}
    kept["metadata"] = {key: value for key, value in (document.get("metadata") or {}).items() if key not in _OF_THE_SERVER}
    return kept


@dataclass(frozen=True)
class Plan:
    """Everything that has to change, in the order in which it is written.

    ``versions`` holds the resourceVersion under which each object was observed, so that a write on top of somebody else's is refused.
    """

    changes: Tuple[Change, ...] = ()
    versions: Mapping[Ref, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.changes)

    def __add__(self, other: Plan) -> Plan:
        return Plan(self.changes + other.changes, {**self.versions, **other.versions})

    def by_object(self) -> Iterator[Tuple[Ref, List[Change]]]:
        """Yield each object once a stage with all of its changes there: one write for each."""
        groups: Dict[Tuple[str, Ref], List[Change]] = {}
        for change in self.changes:
            groups.setdefault((change.stage, change.ref), []).append(change)
        for (_stage, ref), changes in groups.items():
            yield ref, changes

    def pieces(self) -> Iterator[Plan]:
        """Yield the plan object by object: each piece is one write. Only the first of an object carries the version that was observed: it changes that."""
        left = dict(self.versions)
        for ref, changes in self.by_object():
            version = left.pop(ref, None)
            yield Plan(tuple(changes), {} if version is None else {ref: version})

    def as_data(self) -> List[Dict[str, Any]]:
        return [change.as_data() for change in self.changes]

    def as_diff(self) -> List[Dict[str, str]]:
        """Return the plan in the form of Ansible's diff: one entry an object, one line a field."""
        entries = []
        for ref, changes in self.by_object():
            header = f"{ref} ({changes[0].stage})" if changes[0].stage else str(ref)
            entries.append(
                {
                    "before_header": header,
                    "after_header": header,
                    "before": "".join(change.diff_line("before") for change in changes),
                    "after": "".join(change.diff_line("after") for change in changes),
                }
            )
        return entries
