# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings by which a platform finds its image registry: what stands there, and what has to. Pure."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import OWNER
from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import (
    REVISION,
    SWITCH,
    Settings,
    in_base64,
    numbered,
    revision_of,
    workload_of,
)
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Wanted
from ansible_collections.paas.hardening.plugins.module_utils._controls.registry_target import CREDENTIALS, Target
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Item, Path, look
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import ImageRegistry, ImageUser

_WHY = "images are kept outside of the cluster"
_BACK = "back to the bundled registry, as asked"
_RELEASE = ("meta.helm.sh/release-name", "meta.helm.sh/release-namespace")
_MANAGED_BY = "app.kubernetes.io/managed-by"
_BY_CLOCK = "CronJob"


def pod_of(document: Mapping[str, Any]) -> Path:
    """Return the path of the pod's specification inside a workload."""
    return ("spec", "jobTemplate", "spec", "template", "spec") if document["kind"] == _BY_CLOCK else ("spec", "template", "spec")


def platform_settings(facts: ImageRegistry, target: Target, settings: Settings, namespace: str, heritage: str) -> List[Wanted]:
    """Return every field that has to be right for the platform to use the registry, in the order in which they are written.

    Secrets that are missing in ``settings`` are made. Raises NotFound for a workload that is missing.
    """
    wanted: List[Wanted] = []
    revisions: Dict[str, Optional[str]] = {}
    for number, (name, keys) in enumerate(target.location.secrets):
        data = {setting.secret_key: in_base64(target.fields[setting.field]) for setting in keys}
        notes = {facts.annotation: target.location.name} if facts.annotation and not number else {}
        secret = settings.secrets.get(name)
        if secret is None:
            wanted.append(new_secret(name, namespace, heritage, data, notes, workload_of(settings, facts.builder)))
            continue
        own = [_field(secret, ("data", key), value) for key, value in data.items()]
        if notes:
            # The chart has this Secret for a registry outside alone: keys of another location would be taken for settings of this one.
            others = sorted(set(secret.get("data") or {}) - set(data))
            own += [Wanted(secret, ("data", key), ABSENT, f"belongs to another location than {target.location.name}", stage=SWITCH) for key in others]
            own += [_field(secret, ("metadata", "annotations", key), text) for key, text in notes.items()]
        wanted += own
        if any(user.reads_at_start == name for user in facts.users):
            revisions[name] = revision_of(secret, own)
            wanted += numbered(secret, ("metadata",), REVISION, revisions[name])
    for user in facts.users:
        document = settings.workloads.get((user.workload.kind, user.workload.name))
        if document is None and (user.workload.kind == _BY_CLOCK or not user.told):
            continue
        document = workload_of(settings, user.workload)
        also = _values(target) if user.workload == facts.builder else ()
        wanted += _variables(facts, user, target, document, also)
        if user.reads_at_start:
            wanted += numbered(document, ("spec", "template", "metadata"), REVISION, revisions.get(user.reads_at_start))
    return wanted


def bundled_settings(wanted: Sequence[Wanted], stated: Callable[[Mapping[str, Any]], Optional[Mapping[str, Any]]], why: str = _BACK) -> List[Wanted]:
    """Return the same fields as the chart states them, our marks gone, and Secrets that no chart has gone as a whole: the way back.

    ``stated`` gives the chart's object for one that was observed, or None for an object that the chart does not have.
    """
    values: Dict[Tuple[str, Path], Wanted] = {}
    for entry in wanted:
        document = entry.document
        name = str(document["metadata"]["name"])
        chart = stated(document) if "resourceVersion" in document["metadata"] else None
        if chart is None:
            if document["kind"] == "Secret" and "resourceVersion" in document["metadata"]:
                values[name, ()] = Wanted(document, (), ABSENT, why, stage=SWITCH)
            continue
        path = entry.path
        if len(path) > 1 and isinstance(path[-2], Item) and look(chart, path[:-1]) is ABSENT:
            # A variable that the chart does not state goes as a whole.
            path = path[:-1]
        values[name, path] = Wanted(document, path, look(chart, path), why, stage=SWITCH, values_secret=document["kind"] == "Secret")
    return list(values.values())


def leads_outside(wanted: Sequence[Wanted]) -> bool:
    """Tell whether the platform's code looks at the right place. A wrong credential does not lead anywhere else: it is mended without a move."""
    return not any(not entry.holds and REVISION not in entry.path and not entry.values_secret for entry in wanted)


def new_secret(
    name: str, namespace: str, heritage: str, data: Mapping[str, str], notes: Mapping[str, str], owner: Mapping[str, Any], why: str = _WHY
) -> Wanted:
    """A Secret that the chart has only once its values name the location. Signed like the release's own objects, so that an upgrade then takes it over:
    an upgrade to objects that are there already, without that signature, fails."""
    metadata = owner["metadata"]
    signature = {key: text for key, text in (metadata.get("annotations") or {}).items() if key in _RELEASE}
    label = {_MANAGED_BY: (metadata.get("labels") or {}).get(_MANAGED_BY, "")} if signature else OWNER
    document = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}}
    whole = {
        **document,
        "metadata": {"name": name, "namespace": namespace, "labels": {"heritage": heritage, **label}, "annotations": {**notes, **signature}},
        "type": "Opaque",
        "data": dict(data),
    }
    return Wanted(document, (), whole, why, stage=SWITCH)


def _field(secret: Mapping[str, Any], path: Path, value: str) -> Wanted:
    return Wanted(secret, path, value, _WHY, stage=SWITCH, values_secret=path[0] == "data")


def _values(target: Target) -> Tuple[Tuple[str, Any], ...]:
    """The chart's keys for everything else that it states as soon as it is told the location."""
    found: Dict[str, Any] = {}
    for _name, keys in target.location.secrets:
        for setting in keys:
            if setting.values_key and setting.field != "nothing":
                found[setting.values_key] = ABSENT if setting.field in CREDENTIALS else target.fields[setting.field]
    return tuple(found.items())


def _variables(facts: ImageRegistry, user: ImageUser, target: Target, document: Mapping[str, Any], also: Tuple[Tuple[str, Any], ...]) -> Iterator[Wanted]:
    """Yield the variables of one workload: where images are, and what is read out of a Secret."""
    if not user.told:
        return
    text = target.location.name if user.values_value is None else user.values_value
    pod = pod_of(document)
    for group in ("initContainers", "containers"):
        for container in look(document, (*pod, group)) or ():
            stated = {entry["name"] for entry in container.get("env") or ()}
            if container["name"] != user.workload.container and facts.variable not in stated:
                continue
            here = (*pod, group, Item("name", container["name"]))
            yield from _variable(document, here, facts.variable, {"value": target.location.name}, user.values_key, text, also)
            also = ()
            for variable, name, key in user.references:
                yield from _variable(document, here, variable, {"valueFrom": {"secretKeyRef": {"name": name, "key": key}}}, user.values_key, text, ())


def _variable(
    document: Mapping[str, Any], container: Path, name: str, part: Mapping[str, Any], values_key: str, text: Any, also: Tuple[Tuple[str, Any], ...]
) -> Iterator[Wanted]:
    path: Path = (*container, "env", Item("name", name))
    there = look(document, path)
    if there is ABSENT:
        # As a whole: half an entry would be an empty text.
        yield Wanted(document, path, {"name": name, **part}, _WHY, values_key, text, stage=SWITCH, values_also=also)
        return
    for key, value in part.items():
        yield Wanted(document, (*path, key), value, _WHY, values_key, text, stage=SWITCH, values_also=also)
    other = "value" if "valueFrom" in part else "valueFrom"
    yield Wanted(document, (*path, other), ABSENT, "one takes the place of the other", stage=SWITCH)
