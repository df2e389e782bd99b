# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings by which a platform finds the store of its metrics: what stands there, and what has to. Pure."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import (
    REVISION,
    SWITCH,
    Settings,
    containers_of,
    in_base64,
    numbered,
    revision_of,
    workload_of,
)
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Wanted
from ansible_collections.paas.hardening.plugins.module_utils._controls.pods import container_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.registry_settings import new_secret
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Item, Path, look
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import MetricsStore, MetricsUser, Sender, Setting

_WHY = "metrics are kept outside of the cluster"
# On the sender's pod template: the place that we named in its arguments, so that another one takes its place and not its side.
SENT_TO = "paas.hardening/metrics-sent-to"
_SECRET = ("password",)
_BY_CLOCK = "CronJob"

Values = Tuple[Tuple[str, Any], ...]


def place_settings(facts: MetricsStore, fields: Mapping[str, str], settings: Settings, namespace: str, heritage: str) -> List[Wanted]:
    """Return every field that has to be right for the platform to use the store, in the order in which they are written.

    A Secret that is missing in ``settings`` is made. Raises NotFound for a workload that is missing, Refused for arguments of another shape.
    """
    wanted: List[Wanted] = []
    revision: Optional[str] = None
    if facts.secret:
        data = {key: in_base64(text) for key, text in _keys(facts, fields).items()}
        secret = settings.secrets.get(facts.secret)
        if secret is None:
            owner = workload_of(settings, facts.users[0].workload)
            wanted.append(new_secret(facts.secret, namespace, heritage, data, {}, owner, _WHY))
        else:
            own = [Wanted(secret, ("data", key), text, _WHY, stage=SWITCH, values_secret=True) for key, text in data.items()]
            revision = revision_of(secret, own)
            wanted += own + numbered(secret, ("metadata",), REVISION, revision)
    also = values_of(facts, fields)
    if facts.sender and (facts.sender.workload.kind, facts.sender.workload.name) in settings.workloads:
        wanted += _sent(facts.sender, workload_of(settings, facts.sender.workload), fields["write_url"])
    for user in facts.users:
        if user.optional and (user.workload.kind, user.workload.name) not in settings.workloads:
            continue
        document = workload_of(settings, user.workload)
        for entry in _variables(facts, user, fields, document, also):
            wanted.append(entry)
            also = ()
        if facts.secret and user.workload.kind != _BY_CLOCK:
            wanted += numbered(document, ("spec", "template", "metadata"), REVISION, revision)
    return wanted


def values_of(facts: MetricsStore, fields: Mapping[str, str]) -> Values:
    """Return the chart's keys that it reads once it is told the location, with what they have to hold; ABSENT stands for a secret."""
    if not facts.location[0]:
        return ()
    found: Dict[str, Any] = {}
    for setting in [setting for user in facts.users for setting in user.settings]:
        if setting.values_key:
            found.setdefault(setting.values_key, ABSENT if setting.field in _SECRET else fields[setting.field])
    return tuple(found.items())


def _keys(facts: MetricsStore, fields: Mapping[str, str]) -> Dict[str, str]:
    """Return the keys of the Secret, each with the text that belongs there."""
    return {setting.secret_key: fields[setting.field] for user in facts.users for setting in user.settings if setting.secret_key}


def _variables(facts: MetricsStore, user: MetricsUser, fields: Mapping[str, str], document: Mapping[str, Any], also: Values) -> Iterator[Wanted]:
    names = {setting.variable for setting in user.settings}
    for path, container in containers_of(document):
        if container["name"] != user.workload.container and not names & {entry["name"] for entry in container.get("env") or ()}:
            continue
        for setting in user.settings:
            for entry in _variable(facts, setting, fields[setting.field], document, (*path, "env", Item("name", setting.variable)), also):
                yield entry
                also = ()


def _variable(facts: MetricsStore, setting: Setting, text: str, document: Mapping[str, Any], path: Path, also: Values) -> Iterator[Wanted]:
    """A variable in the form in which it stands there, so that no upgrade finds both forms side by side, which the server refuses."""
    key, value = facts.location if facts.location[0] else (str(setting.values_key), text)
    reference = {"secretKeyRef": {"name": facts.secret, "key": setting.secret_key}}
    part: Dict[str, Any] = {"valueFrom": reference} if setting.secret_key else {"value": text}
    there = look(document, path)
    if there is ABSENT:
        # As a whole: half an entry would be an empty text.
        yield Wanted(document, path, {"name": setting.variable, **part}, _WHY, key, value, stage=SWITCH, values_also=also)
        return
    if "value" in there and setting.field not in _SECRET:
        part = {"value": text}
    [(name, wanted)] = part.items()
    yield Wanted(document, (*path, name), wanted, _WHY, key, value, stage=SWITCH, values_also=also)
    other = "value" if name == "valueFrom" else "valueFrom"
    yield Wanted(document, (*path, other), ABSENT, "one takes the place of the other", stage=SWITCH)


def _sent(sender: Sender, document: Mapping[str, Any], url: str) -> List[Wanted]:
    """The arguments of the sender, with one place more, and the note of it."""
    arguments = list(container_of(document, sender.workload.container).get("args") or ())
    own = [number for number, text in enumerate(arguments) if text.startswith(sender.last_own)]
    if not own:
        raise Refused(
            f"{sender.workload.name} has no argument {sender.last_own}..., so what of its arguments comes from the values cannot be told.",
            f"Add {sender.argument}{url} to {sender.values_key} by hand, and upgrade.",
            subject=sender.workload.name,
        )
    note: Path = ("spec", "template", "metadata", "annotations", SENT_TO)
    former = look(document, note)
    kept = [text for text in arguments if former is ABSENT or former == url or text != sender.argument + former]
    if sender.argument + url not in kept:
        kept.append(sender.argument + url)
    path: Path = ("spec", "template", "spec", "containers", Item("name", sender.workload.container), "args")
    return [
        Wanted(document, path, kept, _WHY, sender.values_key, kept[own[0] + 1 :], stage=SWITCH),
        Wanted(document, note, url, "tells it from places that somebody else named", stage=SWITCH),
    ]
