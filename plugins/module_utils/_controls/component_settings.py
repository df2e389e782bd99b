# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings by which components find a service they need (object storage, a database): what stands there, and what has to. Pure."""

from __future__ import annotations

import base64
import binascii
from dataclasses import replace
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Protocol, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Site, Wanted
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotFound
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Item, Path, look
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import Component, Setting, Way, Workload

# Counts, on a Secret with settings, how often we wrote it, and says on a pod template, with the name of that Secret, under which of them the pods were
# started: they read the Secret only when they start, and nothing restarts them when it changes.
REVISION = "paas.hardening/settings-revision"
SWITCH, REFRESH = "switch", "refresh copies"
_WHY = "a service outside of the cluster"
_TEMPLATE: Path = ("spec", "template")
_POD: Path = (*_TEMPLATE, "spec")
# What runs by the clock reads the settings each time anew: it needs no restart, and need not be there.
_BY_CLOCK = "CronJob"
_POD_BY_CLOCK: Path = ("spec", "jobTemplate", "spec", "template", "spec")
# Fields that are never written into a file or shown.
SECRET_FIELDS = frozenset({"access_key", "secret_key", "service_account", "account_key", "connection_string", "user_key", "password", "url", "replica_url"})

Documents = Mapping[Tuple[str, str], Mapping[str, Any]]


class Service(Protocol):
    """What of a service's table the settings are made of."""

    @property
    def users(self) -> Tuple[Component, ...]:
        """The components, in the order in which they are restarted after a change."""

    @property
    def secret(self) -> str:
        """One Secret for all of them, or nothing."""

    @property
    def annotation(self) -> str:
        """The annotation on it that names the kind of service, or nothing."""


class Settings(NamedTuple):
    """What the settings are made of, as observed: workloads by kind and name, and Secrets by name."""

    workloads: Documents
    secrets: Mapping[str, Mapping[str, Any]]


def workload_of(settings: Settings, workload: Workload) -> Mapping[str, Any]:
    """Return a workload as observed. Raises NotFound for one that is not there."""
    document = settings.workloads.get((workload.kind, workload.name))
    if document is None:
        raise NotFound(f"{workload.kind} {workload.name} does not exist.", "Is the platform complete? Run workflow_info.", subject=workload.name)
    return document


def wanted_settings(facts: Service, way: Way, fields: Mapping[str, str], settings: Settings) -> List[Wanted]:
    """Return every field that has to be right for all components to use the store, in the order in which they are written.

    ``fields`` holds the store's fields by the names of Way.
    """
    wanted: List[Wanted] = []
    of_all: List[Tuple[str, Optional[str]]] = []
    if facts.secret:
        shared = _shared_secret(facts, way, fields, settings.secrets[facts.secret])
        of_all.append((f"{REVISION}.{facts.secret}", revision_of(settings.secrets[facts.secret], shared)))
        wanted += shared + numbered(settings.secrets[facts.secret], ("metadata",), REVISION, of_all[0][1])
    for user in present(facts, settings):
        marks = list(of_all)
        if user.secret:
            own = _own_secret(user, way, fields, settings.secrets[user.secret])
            revision = revision_of(settings.secrets[user.secret], own)
            marks.append((f"{REVISION}.{user.secret}", revision))
            wanted += own + numbered(settings.secrets[user.secret], ("metadata",), REVISION, revision)
        for workload in user.workloads:
            if workload.kind == _BY_CLOCK and (workload.kind, workload.name) not in settings.workloads:
                continue
            document = workload_of(settings, workload)
            wanted += _variables(facts, user, way, fields, document)
            for name, revision in marks if workload.kind != _BY_CLOCK else ():
                wanted += numbered(document, (*_TEMPLATE, "metadata"), name, revision)
    return wanted


def chart_settings(facts: Service, settings: Settings, wanted: Sequence[Wanted], stated: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> List[Wanted]:
    """Return the same fields as the chart states them, what else the chart has in the shared Secret, and our own marks gone: the way back.

    ``stated`` gives the chart's object for one that was observed.
    """
    values: Dict[Tuple[str, Path], Tuple[Mapping[str, Any], Any, bool]] = {}
    if facts.secret:
        secret = settings.secrets[facts.secret]
        for key, value in (stated(secret).get("data") or {}).items():
            values[facts.secret, ("data", key)] = (secret, value, True)
    for entry in wanted:
        chart = stated(entry.document)
        path = entry.path
        if isinstance(path[-2], Item) and look(chart, path[:-1]) is ABSENT:
            # A variable that the chart does not state goes as a whole.
            path = path[:-1]
        value = ABSENT if is_mark(path) else look(chart, path)
        values[entry.document["metadata"]["name"], path] = (entry.document, value, entry.leads)
    why = "back to the bundled store, as asked"
    # Which variables the chart states is what tells the two stores apart; all that a Secret holds counts as a credential here.
    return [
        Wanted(document, path, value, why, stage=SWITCH, values_secret=document["kind"] == "Secret", leads=leads)
        for (_name, path), (document, value, leads) in values.items()
    ]


def revision_of(secret: Mapping[str, Any], entries: Sequence[Wanted]) -> Optional[str]:
    """Return the number that the Secret's settings have, or will have once these fields are written; None for settings that we never wrote."""
    stated = look(secret, ("metadata", "annotations", REVISION))
    number = int(stated) if isinstance(stated, str) and stated.isdigit() else 0
    if all(entry.holds for entry in entries):
        return str(number) if number else None
    return str(number + 1)


def is_mark(path: Path) -> bool:
    """Tell whether a path is that of a number of ours, not of a setting."""
    return any(isinstance(step, str) and step.startswith(REVISION) for step in path)


def numbered(document: Mapping[str, Any], metadata: Path, name: str, revision: Optional[str]) -> List[Wanted]:
    """Return the mark of that number as it should stand below ``metadata``, or nothing without a number."""
    if revision is None:
        return []
    return [Wanted(document, (*metadata, "annotations", name), revision, "pods read the settings only when they start", stage=SWITCH)]


def present(facts: Service, settings: Settings) -> Tuple[Component, ...]:
    """Return the components that the platform has."""
    return tuple(user for user in facts.users if not user.optional or _is_there(user, settings))


def _is_there(user: Component, settings: Settings) -> bool:
    steady = [(workload.kind, workload.name) for workload in user.workloads if workload.kind != _BY_CLOCK]
    return (not user.secret or user.secret in settings.secrets) and (not steady or any(name in settings.workloads for name in steady))


def configured(facts: Service, settings: Settings, wanted: Sequence[Wanted]) -> Dict[str, bool]:
    """Tell for each component that is there, by the name of its first workload, whether it looks at the right place; restarts and copies left aside.

    A wrong credential does not lead anywhere else: it is mended, and nothing has to be moved for it.
    """
    wrong = {entry.document["metadata"]["name"] for entry in wanted if entry.stage == SWITCH and _leads(entry) and not entry.holds}
    found = {}
    for user in present(facts, settings):
        names = {facts.secret, user.secret, *(workload.name for workload in user.workloads)}
        found[user.workloads[0].name] = not names & wrong
    return found


def _leads(entry: Wanted) -> bool:
    if is_mark(entry.path) or not entry.leads:
        return False
    return entry.document["kind"] != "Secret" or not (entry.values_secret or entry.value is ABSENT)


def read_secret(site: Site, params: Mapping[str, Any], keys: str) -> Optional[Mapping[str, Any]]:
    """Return the Secret that ``credentials_secret`` names, None when it names none. Raises NotFound, which says the ``keys`` that it should have."""
    name = params.get("credentials_secret")
    if not name:
        return None
    try:
        return site.objects.get(KINDS["Secret"], name, site.namespace)
    except NotFound:
        raise NotFound(
            f"credentials_secret names the Secret {name}, which does not exist in the namespace {site.namespace}.",
            f"Create it there, with the keys {keys}, or name another.",
            subject="credentials_secret",
        ) from None


def text_in(secret: Mapping[str, Any], key: str) -> Optional[str]:
    """Return the text under a key of a Secret, None when there is none or it is no text."""
    try:
        return base64.b64decode((secret.get("data") or {})[key], validate=True).decode()
    except (KeyError, binascii.Error, ValueError):
        return None


def in_base64(text: str) -> str:
    """Return a text as the data of a Secret carry it."""
    return base64.b64encode(text.encode()).decode()


def settings_of(user: Component, way: Way) -> Tuple[Setting, ...]:
    """Return the settings of a component: its own, or those of the way."""
    return user.settings or way.settings


def containers_of(document: Mapping[str, Any]) -> Iterator[Tuple[Path, Mapping[str, Any]]]:
    """Yield every container of a workload with its path, those that only prepare first."""
    pod = _POD_BY_CLOCK if document["kind"] == _BY_CLOCK else _POD
    for group in ("initContainers", "containers"):
        for container in look(document, (*pod, group)) or ():
            yield (*pod, group, Item("name", container["name"])), container


def _field_of(setting: Setting, user: Component) -> str:
    return setting.field.format(component=user.role)


def _is_secret(field: str) -> bool:
    return field.partition(".")[0] in SECRET_FIELDS


def _shared_secret(facts: Service, way: Way, fields: Mapping[str, str], secret: Mapping[str, Any]) -> List[Wanted]:
    """The one Secret of all components. Keys of another kind of store go: what reads the Secret takes them for settings of the new one."""
    wanted = []
    for setting in way.settings:
        if setting.secret_key and setting.field in fields:
            path: Path = ("data", setting.secret_key)
            wanted.append(_secret_field(secret, path, setting, setting.field, fields[setting.field], setting.values_key))
    ours = {setting.secret_key for setting in way.settings}
    for key in sorted(secret.get("data") or {}):
        if key not in ours:
            wanted.append(Wanted(secret, ("data", key), ABSENT, f"belongs to another kind of store than {way.kind}", stage=SWITCH))
    if facts.annotation:
        wanted.append(Wanted(secret, ("metadata", "annotations", facts.annotation), way.kind, _WHY, way.kind_values_key, way.kind, stage=SWITCH))
    return wanted


def _own_secret(user: Component, way: Way, fields: Mapping[str, str], secret: Mapping[str, Any]) -> List[Wanted]:
    wanted = []
    for setting in settings_of(user, way):
        name = _field_of(setting, user)
        if setting.secret_key and name in fields:
            values_key = setting.values_key.format(component=user.role) if setting.values_key else None
            wanted.append(_secret_field(secret, ("data", setting.secret_key), setting, name, fields[name], values_key))
    return wanted


def _secret_field(secret: Mapping[str, Any], path: Path, setting: Setting, field: str, text: str, values_key: Optional[str]) -> Wanted:
    stated = in_base64(text) if setting.values_encoded else text
    return Wanted(secret, path, in_base64(text), _WHY, values_key, stated, stage=SWITCH, values_secret=_is_secret(field), leads=setting.leads)


def _variables(facts: Service, user: Component, way: Way, fields: Mapping[str, str], document: Mapping[str, Any]) -> List[Wanted]:
    """The variables of one workload: the kind of service, and where it is, literally or by reference to the Secret in which it stands."""
    wanted = []
    for container in _containers(document, user, way):
        for setting in settings_of(user, way):
            name = _field_of(setting, user)
            if not setting.variable or name not in fields:
                continue
            secret = _is_secret(setting.field)
            values_key = setting.values_key.format(component=user.role) if setting.values_key else None
            reference = {"secretKeyRef": {"name": user.secret or facts.secret, "key": setting.secret_key}}
            part, value = ("valueFrom", reference) if setting.secret_key else ("value", fields[name])
            entries = _variable(document, container, setting.variable, part, value, values_key, fields[name], secret)
            wanted += [replace(entry, leads=setting.leads) for entry in entries]
    if user.kind_variable:
        own = (*_POD, "containers", Item("name", user.workloads[0].container))
        wanted += _variable(document, own, user.kind_variable, "value", way.kind, way.kind_values_key, way.kind, False)
    return wanted


def _variable(
    document: Mapping[str, Any], container: Path, name: str, part: str, value: Any, values_key: Optional[str], text: Optional[str], secret: bool
) -> List[Wanted]:
    """A variable by its value or by reference. One that is not stated yet is written, and taken back, as a whole: half an entry would be an empty text."""
    path = (*container, "env", Item("name", name))
    if look(document, path) is ABSENT:
        return [Wanted(document, path, {"name": name, part: value}, _WHY, values_key, text, stage=SWITCH, values_secret=secret)]
    other = "value" if part == "valueFrom" else "valueFrom"
    return [
        Wanted(document, (*path, part), value, _WHY, values_key, text, stage=SWITCH, values_secret=secret),
        Wanted(document, (*path, other), ABSENT, "one takes the place of the other", stage=SWITCH),
    ]


def _containers(document: Mapping[str, Any], user: Component, way: Way) -> Iterator[Path]:
    """Yield the path of every container that reads the settings: the component's own, and those that state the same variables, such as init containers."""
    names = {setting.variable for setting in settings_of(user, way) if setting.variable}
    own = {workload.container for workload in user.workloads}
    for path, container in containers_of(document):
        if container["name"] in own or names & {entry["name"] for entry in container.get("env") or ()}:
            yield path


def holders(facts: Service) -> Sequence[str]:
    """Return the names of all Secrets with settings."""
    return sorted({facts.secret, *(user.secret for user in facts.users)} - {""})


def secrets_of(facts: Service, find: Callable[[str], Optional[Mapping[str, Any]]]) -> Dict[str, Mapping[str, Any]]:
    """Return the Secrets with settings by their names. Raises NotFound when one is missing of a component that every complete platform has."""
    needed = {facts.secret, *(user.secret for user in facts.users if not user.optional)}
    found = {}
    for name in holders(facts):
        secret = find(name)
        if secret is not None:
            found[name] = secret
        elif name in needed:
            raise NotFound(f"Secret {name} does not exist.", "Is the platform complete? Run workflow_info.", subject=name)
    return found


def touched(facts: Service) -> List[Tuple[str, str]]:
    """Return kind and name of everything in the platform's namespace that a switch may change."""
    workloads = [(workload.kind, workload.name) for user in facts.users for workload in user.workloads]
    return [*workloads, *(("Secret", name) for name in holders(facts))]


def copies_wanted(
    facts: Service, wanted: Sequence[Wanted], addresses: Mapping[str, str], secrets: Sequence[Mapping[str, Any]], apps: Sequence[Mapping[str, Any]]
) -> List[Wanted]:
    """Return the fields that carry the settings on to the apps: the copies of the Secret in their namespaces, and the address in their releases' variables.

    ``wanted`` are the platform's own settings, ``addresses`` the values of variables that an app may state, ``secrets`` those of the apps' namespaces. The
    platform makes all this with a release and does not look at it again; an app that is started anew then fetches its code from a store that is not there.
    """
    source = {entry.path: entry.value for entry in wanted if entry.document["metadata"]["name"] == facts.secret and entry.path[0] == "data"}
    copies = [secret for secret in secrets if secret["metadata"]["name"] == facts.secret]
    result = [_refreshed(copy, path, value, "the apps read this copy") for copy in copies for path, value in source.items()]
    named = {(secret["metadata"]["namespace"], secret["metadata"]["name"]): secret for secret in secrets}
    found: Dict[Any, Wanted] = {}
    for app in apps:
        for container in look(app, (*_POD, "containers")) or ():
            for entry in container.get("env") or ():
                if entry["name"] not in addresses:
                    continue
                value = addresses[entry["name"]]
                reference = (entry.get("valueFrom") or {}).get("secretKeyRef") or {}
                release = named.get((app["metadata"]["namespace"], reference.get("name")))
                if release is not None:
                    # Several processes of one release share its variables.
                    path: Path = ("data", reference["key"])
                    found[id(release), path] = _refreshed(release, path, in_base64(value), "the app fetches its code from there at its next start")
                elif "value" in entry:
                    path = (*_POD, "containers", Item("name", container["name"]), "env", Item("name", entry["name"]), "value")
                    found[id(app), path] = _refreshed(app, path, value, "the app fetches its code from there")
    return [*result, *found.values()]


def _refreshed(document: Mapping[str, Any], path: Path, value: Any, why: str) -> Wanted:
    return Wanted(document, path, value, why, stage=REFRESH, step=True)
