# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Registration is closed: accounts are made by an administrator, never by a passer-by.

What the code of the platforms really obeys differs from what their manuals say; which setting, which request and which answers decide stands
in the tables of _platforms.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._cluster.streams import HttpAnswer, execute, http_through
from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import settings_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Recommendation, Site, Wanted
from ansible_collections.paas.hardening.plugins.module_utils._controls.pods import container_of, patiently, ready_pods, variable_of
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Invalid, NotFound, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, UNKNOWN, Check, Finding, Proof, Source
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Item, Path
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import Accounts, Answer, Door, Platform, Registration

RECOMMENDATION = Recommendation(
    id="registration",
    title="Registration is admin-only",
    severity="high",
    source=Source(
        "Deis Workflow, Production Deployments",
        "Registration is Admin-Only",
        'By default, registration with the Workflow controller is in "admin_only" mode.',
    ),
)
_CLOSING = ("admin_only", "disabled")
_FIRST_COMES = "so it answers as long as no administrator exists, whatever the mode: who registers first becomes one"
_MOST_PODS_PROBED = 3


@dataclass(frozen=True)
class Administrators:
    """How many administrators exist, and how many of them can log in; None when it could not be read, with the reason."""

    active: Optional[int]
    total: Optional[int]
    reason: str = ""


@dataclass(frozen=True)
class Observed:
    """The workload that holds the setting, the workloads that hold inert ones, and the administrators when they were asked for."""

    workload: Mapping[str, Any]
    inert: Tuple[Mapping[str, Any], ...]
    administrators: Optional[Administrators]


class RegistrationControl:
    """Sets the registration mode and proves it by the answer of the registration door."""

    recommendation = RECOMMENDATION
    arguments: Dict[str, Any] = {
        "mode": {"type": "str", "choices": ["admin_only", "disabled", "enabled"], "default": "admin_only"},
        "require_administrator": {"type": "bool", "default": True},
    }

    def observe(self, site: Site, params: Mapping[str, Any]) -> Observed:
        facts = site.platform.registration
        workload = site.objects.get(KINDS[facts.workload.kind], facts.workload.name, site.namespace)
        container_of(workload, facts.workload.container)
        inert = []
        if params["durability"]:
            for setting in facts.inert:
                document = site.objects.find(KINDS[setting.workload.kind], setting.workload.name, site.namespace)
                inert += [document] if document else []
        closes = params["mode"] in _CLOSING and not _means(facts, _setting(workload, facts), facts.values[params["mode"]])
        asked = closes and params["require_administrator"]
        return Observed(workload, tuple(inert), _administrators(site, facts.accounts, workload) if asked else None)

    def wanted(self, platform: Platform, params: Mapping[str, Any], observed: Observed) -> List[Wanted]:
        facts = platform.registration
        value = facts.values[params["mode"]]
        container = container_of(observed.workload, facts.workload.container)
        stated = [entry for entry in container.get("env") or () if entry.get("name") == facts.variable]
        if len(stated) > 1:
            raise Invalid(
                f"Container {facts.workload.container} of {facts.workload.name} states {facts.variable} {len(stated)} times; the last one counts.",
                "Remove the duplicates first (kubectl edit), then run again.",
                subject=facts.workload.name,
            )
        path = _path(facts) + ("value",)
        if not stated and not container.get("envFrom") and facts.default == value:
            # The code's own default is what is wanted: nothing to state, nothing that an upgrade could undo.
            return [Wanted(observed.workload, path, ABSENT, "")]
        self._refuse_lockout(observed)
        if stated and _means(facts, stated[0].get("value"), value):
            # Another spelling of the same ("False", "0") is left as it stands.
            return [Wanted(observed.workload, path, stated[0]["value"], RECOMMENDATION.title, facts.values_path, value)]
        why = f"registration {params['mode']}: {RECOMMENDATION.title}" if params["mode"] in _CLOSING else "registration is opened again, as asked"
        fields = [Wanted(observed.workload, path, value, why, facts.values_path, value)]
        if stated and "valueFrom" in stated[0]:
            fields.append(Wanted(observed.workload, _path(facts) + ("valueFrom",), ABSENT, "a literal value takes the place of the reference"))
        return fields

    def _refuse_lockout(self, observed: Observed) -> None:
        administrators = observed.administrators
        if administrators is None or (administrators.active or 0) > 0:
            return
        if administrators.active is None:
            raise Refused(
                f"Whether an administrator exists could not be read: {administrators.reason}.",
                "Make sure that one exists and can log in, then set require_administrator to false.",
            )
        inactive = f" ({administrators.total} exist but are inactive)" if administrators.total else ""
        raise Refused(
            f"No active administrator exists{inactive}: closing registration now would lock everybody out, or leave the first visitor to become one.",
            "Register the administrator first, then run again; or set require_administrator to false.",
        )

    def against(self, params: Mapping[str, Any]) -> str:
        return "" if params["mode"] in _CLOSING else "Registration is open to everybody, as asked."

    def workloads(self, observed: Observed) -> Sequence[Mapping[str, Any]]:
        return (observed.workload,)

    def unsettled(self, params: Mapping[str, Any], observed: Observed) -> str:
        return ""

    def probe(self, site: Site, params: Mapping[str, Any], observed: Observed) -> Proof:
        facts = site.platform.registration
        expected = "open" if params["mode"] == "enabled" and not _closed_by(observed.workload, facts) else "closed"
        deadline = Deadline(site.connection.retry_seconds)
        pods = patiently(lambda: ready_pods(site.objects, observed.workload), bool, deadline)[:_MOST_PODS_PROBED]
        why_open = _FIRST_COMES if facts.first_user_is_administrator and params["mode"] == "admin_only" else ""
        return Proof(tuple(_knock(site, facts.door, pod, expected, deadline, why_open) for pod in pods))

    def describe(self, platform: Platform, params: Mapping[str, Any], observed: Observed) -> Tuple[str, str, str]:
        facts = platform.registration
        found = _setting(observed.workload, facts)
        subject = f"{facts.workload.kind} {observed.workload['metadata']['namespace']}/{facts.workload.name}"
        return subject, f"{facts.variable}={facts.values[params['mode']]}", f"{facts.variable}={found}"

    def beside(self, platform: Platform, params: Mapping[str, Any], observed: Observed) -> List[Finding]:
        facts = platform.registration
        return [
            *_inert_settings(facts, observed),
            *(_side_doors(facts, observed) if params["mode"] in _CLOSING else ()),
            *_well_known_administrator(facts, observed),
        ]


def _path(facts: Registration) -> Path:
    return ("spec", "template", "spec", "containers", Item("name", facts.workload.container), "env", Item("name", facts.variable))


def _setting(workload: Mapping[str, Any], facts: Registration) -> str:
    """Return the value that the code obeys: the variable, or its own default; what a whole ConfigMap or Secret may set is not known."""
    container = container_of(workload, facts.workload.container)
    value = variable_of(container, facts.variable)
    if value is None:
        return "(perhaps from envFrom)" if container.get("envFrom") else facts.default
    return value


def _means(facts: Registration, found: Any, value: str) -> bool:
    """Tell whether the code takes what was found for the value."""
    if not isinstance(found, str) or found.startswith("("):
        return False
    return (found.lower() == "true") == (value == "true") if facts.boolean else found == value


def _closed_by(workload: Mapping[str, Any], facts: Registration) -> List[str]:
    container = container_of(workload, facts.workload.container)
    return [name for name in facts.closed_by if variable_of(container, name)]


def _administrators(site: Site, accounts: Accounts, workload: Mapping[str, Any]) -> Administrators:
    """Count the administrators in the platform's own database, inside its pod, with the statement on standard input."""
    if _database_is_outside(site.platform, workload):
        return Administrators(None, None, "the platform's database is outside of the cluster, and the one inside no longer tells")
    deadline = Deadline(site.connection.retry_seconds)
    try:
        database = site.objects.get(KINDS[accounts.workload.kind], accounts.workload.name, site.namespace)
        pods = patiently(lambda: ready_pods(site.objects, database), bool, deadline)
        if not pods:
            return Administrators(None, None, f"no pod of {accounts.workload.name} is ready")
        statement = f"select count(*) filter (where is_active), count(*) from {accounts.table} where is_superuser;\n"
        name, command, container = pods[0]["metadata"]["name"], list(accounts.command), accounts.workload.container
        answer = patiently(lambda: execute(site.connection, site.namespace, name, command, container, statement), lambda ended: ended.code == 0, deadline)
    except NotFound:
        return Administrators(None, None, f"{accounts.workload.kind} {accounts.workload.name} is not in the cluster (an external database?)")
    except Failure as error:
        return Administrators(None, None, str(error).rstrip("."))
    active, _bar, total = answer.stdout.strip().partition("|")
    if answer.code != 0 or not active.isdigit() or not total.isdigit():
        return Administrators(None, None, f"psql in {accounts.workload.name} ended with status {answer.code}")
    return Administrators(int(active), int(total))


def _database_is_outside(platform: Platform, workload: Mapping[str, Any]) -> bool:
    """Tell whether the workload that holds the setting asks a database outside; a bundled one that is left over must not be believed."""
    facts = platform.database
    mine = next((user for user in facts.users if platform.registration.workload in user.workloads), None)
    if mine is None:
        return False
    variable = next(setting.variable for setting in settings_of(mine, facts.way) if setting.field.partition(".")[0] in ("host", "url"))
    address = variable_of(container_of(workload, platform.registration.workload.container), variable)
    return address is not None and facts.bundled.name not in address


def _knock(site: Site, door: Door, pod: Mapping[str, Any], expected: str, deadline: Deadline, why_open: str) -> Check:
    """Ask one pod's door. ``why_open`` is what is said of one that is open against what is expected."""
    name = pod["metadata"]["name"]
    what = f"{door.method} {door.path} on pod {name}"
    headers = {"Content-Type": "application/json"} if door.body is not None else {}
    try:
        answer = patiently(
            lambda: http_through(site.connection, site.namespace, name, door.port, door.method, door.path, headers, door.body),
            lambda given: read_answer(door, given)[0] != "unknown",
            deadline,
        )
    except Failure as error:
        return Check(what, expected, f"no answer ({error.message})", UNKNOWN)
    means, text = read_answer(door, answer)
    verdict = UNKNOWN if means == "unknown" else PASS if means == expected else FAIL
    reason = f" ({why_open})" if why_open and means == "open" and verdict == FAIL else ""
    return Check(what, expected, f"{means}: {text}{reason}", verdict)


def read_answer(door: Door, answer: HttpAnswer) -> Tuple[str, str]:
    """Return (open | closed | unknown, what was seen) for an answer of the registration door. Whatever is not known to be an answer is unknown."""
    for known in door.answers:
        if _matches(known, answer):
            return known.means, known.text
    return "unknown", f"status {answer.status}, which says neither open nor closed"


def _matches(known: Answer, answer: HttpAnswer) -> bool:
    if answer.status != known.status:
        return False
    cookies = [value.partition("=")[0].strip() for key, value in answer.headers if key.lower() == "set-cookie"]
    if known.cookie and known.cookie not in cookies:
        return False
    if known.no_cookie and known.no_cookie in cookies:
        return False
    document = _json_object(answer.text) if known.json_field or known.json_names else {}
    if known.json_field and document.get(known.json_field[0]) != known.json_field[1]:
        return False
    if not set(known.json_names) <= set(document):
        return False
    return all(text in answer.text for text in known.contains) and not any(text in answer.text for text in known.lacks)


def _json_object(text: str) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _inert_settings(facts: Registration, observed: Observed) -> List[Finding]:
    findings = []
    for setting, document in zip(facts.inert, observed.inert):
        value = variable_of(container_of(document, setting.workload.container), setting.variable)
        if value is not None:
            findings.append(
                RECOMMENDATION.beside(
                    "inert-setting",
                    "A documented registration setting has no effect",
                    "info",
                    PASS,
                    f"{setting.workload.kind} {setting.workload.name}",
                    "nobody relies on it",
                    f"{setting.variable}={value}",
                    f"Do not rely on {setting.values_path}; set {facts.values_path}.",
                    setting.instead,
                )
            )
    return findings


def _side_doors(facts: Registration, observed: Observed) -> List[Finding]:
    container = container_of(observed.workload, facts.workload.container)
    doors = [name for name in facts.side_doors if variable_of(container, name)]
    if not doors:
        return []
    return [
        RECOMMENDATION.beside(
            "side-door",
            "Anyone with an account at a social log-in provider can still register",
            "high",
            FAIL,
            f"{facts.workload.kind} {facts.workload.name}",
            "no social log-in provider is configured",
            ", ".join(doors),
            f"Remove {', '.join(doors)} from the chart values, or accept the providers' users as your own.",
            f"Account creation over these providers never asks {facts.variable}.",
        )
    ]


def _well_known_administrator(facts: Registration, observed: Observed) -> List[Finding]:
    if not facts.administrator_variables or not facts.well_known_administrator:
        return []
    container = container_of(observed.workload, facts.workload.container)
    if tuple(variable_of(container, name) for name in facts.administrator_variables) != facts.well_known_administrator:
        return []
    return [
        RECOMMENDATION.beside(
            "well-known-administrator",
            "The platform was installed with the administrator that every installation has",
            "critical",
            FAIL,
            f"{facts.workload.kind} {facts.workload.name}",
            "a user name and password of one's own",
            f"{' and '.join(facts.administrator_variables)} are the chart's defaults",
            "Change the password in the platform itself (the variable acts at the first installation only), and set both in the chart values.",
            "Whoever knows the chart can log in as administrator, unless the password was changed since; the variables still show the old one.",
        )
    ]


CONTROL = RegistrationControl()
