# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store outside that components use before they are led to another one: read out of their own settings."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import (
    SWITCH,
    Settings,
    containers_of,
    present,
    settings_of,
    text_in,
    workload_of,
)
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Wanted
from ansible_collections.paas.hardening.plugins.module_utils._controls.pods import container_of, variable_of
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Item
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.store import Store
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import Component, ObjectStorage, Way

_BUCKET = "bucket."
# Fields of settings that a Store calls otherwise, and those for which it has none.
_RENAMED = {"user_key": "key"}
_NOT_OF_THE_STORE = ("connection_string", "host", "port")


class Former(NamedTuple):
    """The store that is left: how the platform's code reaches it, its buckets by role, and how we do."""

    way: Way
    buckets: Mapping[str, str]
    store: Store


def former_store(facts: ObjectStorage, settings: Settings, at_target: Mapping[str, bool], ca_file: str) -> Optional[Former]:
    """Return the store outside of the components that are not yet where they should be; None when they use the bundled one.

    ``at_target`` says of each component, by its first workload, whether it is there. Raises Refused when they use several stores, or one that cannot be read
    out of their settings.
    """
    away = [user for user in present(facts, settings) if not at_target[user.workloads[0].name] and _is_told(facts, settings, user)]
    places = {user.workloads[0].name: _elsewhere(facts, settings, user) for user in away}
    outside = {name: place for name, place in places.items() if place}
    if not outside:
        return None
    if len(outside) < len(places):
        inside = ", ".join(sorted(name for name, place in places.items() if not place))
        name, place = sorted(outside.items())[0]
        raise Refused(
            f"{name} uses {place}, and {inside} the bundled store: what they hold cannot be brought together.",
            "Lead all components to one of the two first.",
            subject=name,
        )
    return _read(facts, settings, away, ca_file)


def superfluous(facts: ObjectStorage, way: Way, settings: Settings) -> List[Wanted]:
    """Return the variables that lead to a former store and that nobody reads on this way: they go, so that no later way trips over them."""
    former = {setting.variable for other in facts.ways if other.addressed and not way.addressed for setting in other.settings if setting.variable}
    wanted = []
    for workload in [workload for user in facts.users for workload in user.workloads] if former else ():
        document = settings.workloads.get((workload.kind, workload.name))
        if document is None:
            continue
        for path, container in containers_of(document):
            for entry in container.get("env") or ():
                if entry["name"] in former:
                    # It leads nobody any more: that it is there is no reason to move anything.
                    place = (*path, "env", Item("name", entry["name"]))
                    wanted.append(Wanted(document, place, ABSENT, "led to another store", stage=SWITCH, leads=False))
    return wanted


def _elsewhere(facts: ObjectStorage, settings: Settings, user: Component) -> str:
    """Return which other store a component uses, or nothing when it uses the bundled one."""
    container = _container(settings, user)
    if user.kind_variable:
        kind = variable_of(container, user.kind_variable)
        if kind != next(way.kind for way in facts.ways if way.addressed):
            return f"{user.kind_variable}={kind}"
    for way in facts.ways:
        for setting in way.settings:
            if setting.field not in ("host", "endpoint") or not setting.variable:
                continue
            address = variable_of(container, setting.variable) or ""
            if user.secret and (address.startswith("(") or not container):
                address = text_in(settings.secrets[user.secret], setting.secret_key) or ""
            if address and facts.bundled.workload.name not in address:
                return address
    return ""


def _container(settings: Settings, user: Component) -> Mapping[str, Any]:
    """Return what reads the settings; nothing for what runs by the clock and need not be there."""
    workload = user.workloads[0]
    if workload.kind == "CronJob" and (workload.kind, workload.name) not in settings.workloads:
        return {}
    return container_of(workload_of(settings, workload), workload.container)


def _is_told(facts: ObjectStorage, settings: Settings, user: Component) -> bool:
    """Tell whether anything says where a component has its data: one that is not there may never have been told."""
    return bool(_container(settings, user) or _elsewhere(facts, settings, user))


def _read(facts: ObjectStorage, settings: Settings, away: Sequence[Component], ca_file: str) -> Former:
    found = [(user, *_fields(facts, settings, user)) for user in away]
    first, way, fields = found[0]
    common = _common(fields)
    for user, other, more in found[1:]:
        if other is not way or _common(more) != common:
            raise Refused(
                f"{first.workloads[0].name} and {user.workloads[0].name} use stores of different settings, and only one store can be left at a time.",
                "Lead all components to one of them first.",
                subject=user.workloads[0].name,
            )
    buckets: Dict[str, str] = {}
    for user, _way, more in found:
        if user.role:
            buckets[user.role] = user.bucket if way.fixed_buckets else more.get(_BUCKET + user.role, "")
    name = first.workloads[0].name
    missing = sorted(role for role, bucket in buckets.items() if not bucket)
    if missing:
        raise Refused(f"The settings of {name} do not say which bucket is that of {missing[0]}.", "Is the platform complete?", subject=name)
    given = {_RENAMED.get(field, field): text for field, text in common.items() if field not in _NOT_OF_THE_STORE}
    if way.addressed and "host" in common:
        given["endpoint"] = f"{way.schemes[0]}://{common['host']}:{common.get('port', '80')}"
    version = given.pop("auth_version", "")
    try:
        store = Store(way.provider, path_style=way.addressed, ca_file=ca_file, auth_version=int(version) if version.isdigit() else 0, **_of_store(given))
    except Invalid as problem:
        raise Refused(
            f"The store that {name} uses cannot be read out of its settings: {problem.message}", "Mend the settings first, or go back.", subject=name
        ) from None
    return Former(way, buckets, store)


def _of_store(given: Mapping[str, str]) -> Dict[str, Any]:
    return {name: text for name, text in given.items() if text}


def _common(fields: Mapping[str, str]) -> Dict[str, str]:
    """The fields that are not those of one component."""
    return {name: text for name, text in fields.items() if not name.startswith((_BUCKET, "path_style"))}


def _fields(facts: ObjectStorage, settings: Settings, user: Component) -> Tuple[Way, Dict[str, str]]:
    """Return the way on which a component uses its store, and the fields that its settings hold."""
    container = _container(settings, user)
    kind = variable_of(container, user.kind_variable) if user.kind_variable else facts.ways[0].kind
    way = next((way for way in facts.ways if way.kind == kind), None)
    if way is None:
        raise Refused(f"{user.workloads[0].name} uses a kind of store that is not known: {kind}.", "Go back to a known one first.", user.workloads[0].name)
    secret = settings.secrets.get(user.secret or facts.secret, {})
    fields: Dict[str, str] = {}
    for setting in settings_of(user, way):
        name = setting.field.format(component=user.role)
        text = text_in(secret, setting.secret_key) if setting.secret_key else variable_of(container, setting.variable)
        if text is not None:
            fields[name] = text
    return way, fields
