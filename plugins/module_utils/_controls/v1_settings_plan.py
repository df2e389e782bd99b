# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to change so that the keys of a platform in etcd are as asked, what must not be changed, and what is left to a person. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Dict, FrozenSet, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._controls.areas import Area
from ansible_collections.paas.hardening.plugins.module_utils._controls.host_server import AreaPlanner
from ansible_collections.paas.hardening.plugins.module_utils._controls.v1_settings_wish import Wish
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import Source
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Plan, Ref
from ansible_collections.paas.hardening.plugins.module_utils._host.etcd.keys import Node, Tree
from ansible_collections.paas.hardening.plugins.module_utils._platforms import deis_v1 as facts

REGISTRATION = Area("v1-registration", "Registration is closed to passers-by", "high")
TLS = Area("v1-tls", "The routers speak TLS 1.2, with a certificate, and send everybody there", "high")
FIREWALL = Area("v1-router-firewall", "The routers let in only who and what is wanted", "medium")
ROUTER = Area("v1-router", "The routers tell nothing about themselves, and have limits", "low")
API = Area("v1-controller", "The controller shows only its API", "low")
LOGS = Area("v1-logs", "Logs leave the platform", "medium")
PLANES = Area("v1-planes", "Control plane, data plane and routers have machines of their own", "low")
OTHERS = Area("v1-keys", "Other keys are as asked", "medium")
BACKUP = Area("v1-backup", "All keys are in a file outside of the platform", "high")
PASSWORD = Area("v1-database-password", "The database does not have the password that every installation has", "critical")
ETCD = Area("v1-etcd", "Nobody reads or writes etcd, which holds every secret, without a certificate or an account", "critical")
STORE = Area("v1-store", "The platform's object store is not open to everybody", "medium")
LEAVE = Area("v1-end-of-life", "The platform gets corrections for what is found in it", "high")
PORTS = Area("v1-ports", "Docker and etcd are not reached from here", "critical")

_OF_TABLE = {
    facts.REGISTRATION: REGISTRATION,
    facts.TLS: TLS,
    facts.FIREWALL: FIREWALL,
    facts.ROUTER: ROUTER,
    facts.API: API,
    facts.LOGS: LOGS,
    facts.PLANES: PLANES,
}
# In the order in which they are written: what shuts out comes behind what lets in.
AREAS = (*(_OF_TABLE[name] for name in (facts.TLS, facts.ROUTER, facts.API, facts.LOGS, facts.FIREWALL, facts.PLANES, facts.REGISTRATION)), OTHERS)
ALL_AREAS = (*AREAS, BACKUP, PASSWORD, ETCD, STORE, LEAVE)
_SOURCES = {**{area: name for name, area in _OF_TABLE.items()}, BACKUP: "backup", ETCD: "etcd", STORE: "store"}
_CLOSED = re.compile("|".join(facts.CLOSING))
_SHOWN, _MOST_MEMBERS = 5, 5
_FORMAT = 1


class Door(NamedTuple):
    """How one comes to etcd: whether by TLS, whether everybody may read (None: not known), its release, and the number of its members."""

    encrypted: bool
    open: Optional[bool]
    release: str
    members: Optional[int]


class Machine(NamedTuple):
    """One machine as fleet knows it."""

    name: str
    metadata: FrozenSet[str]
    release: str


class Observed(NamedTuple):
    """All that was seen. ``administrators`` is how many can log in, None when that is not known, with the reason; ``kept`` the names of good backups."""

    tree: Tree
    door: Door
    machines: Tuple[Machine, ...]
    administrators: Optional[int]
    reason: str
    kept: FrozenSet[str]


def source_of(area: Area) -> Source:
    """Return where the recommendation of an area comes from."""
    return Source(facts.DOCUMENT, *facts.SENTENCES.get(_SOURCES.get(area, ""), facts.SENTENCES[""]))


def effective(setting: facts.Setting, tree: Tree) -> str:
    """Return the value by which the platform's code goes. An empty one is none to it."""
    value = tree.value(setting.key)
    if value:
        return value
    return effective(facts.BY_OPTION[setting.follows], tree) if setting.follows else setting.default


def after(tree: Tree, values: Mapping[str, Optional[str]]) -> Tree:
    """Return the tree as it is when the values are written."""
    nodes = {key: node for key, node in tree.nodes.items() if key not in values}
    nodes.update({key: Node(value, 0, False) for key, value in values.items() if value is not None})
    return tree._replace(nodes=nodes)


def backup_text(tree: Tree) -> str:
    """Return all keys in one form for the same keys. What goes by itself is left out: who announced it does so again."""
    keys = {key: node.value for key, node in tree.nodes.items() if not node.fleeting}
    return json.dumps({"format": _FORMAT, "keys": keys}, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def backup_name(text: str) -> str:
    """Return the name of the file with this content: the same keys are in one file."""
    return f"keys-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


def release_of(tree: Tree) -> Tuple[int, ...]:
    """Return the platform's release as its own key tells it, or nothing."""
    found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", tree.value(facts.VERSION) or "")
    return tuple(int(part or 0) for part in found.groups()) if found else ()


class Planner(AreaPlanner):
    """Plans from one observation. ``refusals`` are what would be dangerous to do, by area; what an area has refused is not planned."""

    def __init__(self, wish: Wish, observed: Observed) -> None:
        super().__init__()
        self._wish, self._seen, self._tree = wish, observed, observed.tree
        self.refusals: List[Tuple[Area, Refused]] = []
        self._then = after(observed.tree, wish.values)

    def plan(self) -> Plan:
        """Return what has to change."""
        found: Dict[Area, List[Change]] = {area: [] for area in AREAS}
        for key, value in self._wish.values.items():
            path = key[len(facts.ROOT) + 1 :]
            area = _OF_TABLE[facts.BY_PATH[path].area] if path in facts.BY_PATH else OTHERS
            found[area] += self._key(key, value, path)
        self._refuse(found)
        refused = {area for area, _refusal in self.refusals}
        groups = [(area, changes) for area, changes in found.items() if area not in refused]
        self._remarks()
        for area, refusal in self.refusals:
            self._remark(area, refusal.message, refusal.hint)
        changes = [change for _area, some in groups for change in some]
        return self._plan_of([(BACKUP, self._backup(self._tree)), *groups, (BACKUP, self._backup(self._written(changes)) if changes else [])])

    def _key(self, key: str, value: Optional[str], path: str) -> List[Change]:
        node = self._tree.nodes.get(key)
        if (node.value if node else None) == value:
            return []
        setting = facts.BY_PATH.get(path)
        why = f"asked for by {setting.option}" if setting else "asked for by keys"
        before, wanted = (ABSENT if one is None else shown(setting, one) for one in (node.value if node else None, value))
        if setting is None or setting.secret:
            # The kind by which no value of it is ever shown.
            return [Change(Ref("etcd", "Secret", key), ("data",), before, wanted, why)]
        return [Change(Ref("etcd", "Key", key), ("value",), before, wanted, why)]

    def _written(self, changes: List[Change]) -> Tree:
        return after(self._tree, {change.ref.name: self._wish.values[change.ref.name] for change in changes})

    def _backup(self, tree: Tree) -> List[Change]:
        folder = self._wish.backup_folder
        name = backup_name(backup_text(tree))
        if not folder or name in self._seen.kept:
            return []
        keys = sum(not node.fleeting for node in tree.nodes.values())
        return [Change(Ref("", "File", f"{folder}/{name}"), ("content",), ABSENT, f"{keys} keys", "there is no backup of these keys yet")]

    # What must not be done

    def _refuse(self, found: Mapping[Area, List[Change]]) -> None:
        for area, changes in found.items():
            for change in changes:
                self._refuse_key(area, change.ref.name)
        changed = {change.ref.name for changes in found.values() for change in changes}
        self._refuse_closing(changed)
        self._refuse_redirect(changed)
        self._refuse_lockout(changed)
        self._refuse_planes(changed)

    def _refused(self, area: Area, message: str, hint: str, subject: str) -> None:
        self.refusals.append((area, Refused(message, hint, subject)))

    def _refuse_key(self, area: Area, key: str) -> None:
        setting = facts.BY_PATH.get(key[len(facts.ROOT) + 1 :])
        if key in self._tree.folders:
            self._refused(area, f"{key} is a folder in etcd, and cannot hold a value.", f"Look at what is in it: etcdctl ls --recursive {key}", key)
        release = release_of(self._tree)
        if setting and self._wish.values[key] is not None and release and release < setting.since:
            told, since = (".".join(str(part) for part in parts) for parts in (release, setting.since))
            self._refused(area, f"Release {told} does not read {key}: that came with {since}.", "Leave the option out.", setting.option)

    def _refuse_closing(self, changed: set[str]) -> None:
        setting = facts.BY_OPTION["registration_mode"]
        closes = setting.key in changed and _CLOSED.fullmatch(effective(setting, self._then)) and not _CLOSED.fullmatch(effective(setting, self._tree))
        if not closes or self._wish.administrator_exists or (self._seen.administrators or 0) > 0:
            return
        hint = (
            "Register the administrator first: this platform lets nobody in as the first one once it is closed. Then set administrator_exists, "
            "or have it asked (administrator_token_file, controller_url)."
        )
        said = f" ({self._seen.reason})" if self._seen.reason else ""
        self._refused(REGISTRATION, f"Whether an administrator exists is not known{said}.", hint, "administrator_exists")

    def _refuse_redirect(self, changed: set[str]) -> None:
        setting, certificate = facts.BY_OPTION["enforce_https"], facts.BY_OPTION["tls_certificate"]
        sent = effective(setting, self._then) == "true"
        lacking = not effective(certificate, self._then)
        # Whatever is wanted for TLS is wanted together.
        if sent and lacking and changed & {setting.key, facts.BY_OPTION["hsts_enabled"].key, certificate.key} and not self._wish.tls_ended_before:
            hint = (
                "Give tls_certificate and tls_key, too. Where a load balancer ends TLS, and sends X-Forwarded-Proto, set tls_ended_before: "
                "without that header everybody is sent around for ever."
            )
            self._refused(TLS, "Everybody would be sent to HTTPS, and the routers have no certificate.", hint, setting.option)

    def _refuse_lockout(self, changed: set[str]) -> None:
        setting, listed = facts.BY_OPTION["enforce_whitelist"], facts.BY_OPTION["controller_whitelist"]
        if self._wish.allow_lockout or effective(setting, self._then) != "true" or not changed & {setting.key, listed.key}:
            return
        if not effective(listed, self._then):
            hint = "Give controller_whitelist, too, with your own network in it, or set allow_lockout."
            self._refused(FIREWALL, "Nobody would reach the controller: it has no whitelist.", hint, setting.option)
        shut = [name for name in self._tree.children(facts.APPLICATIONS) if not self._tree.value(facts.WHITELISTS % name)]
        if shut and setting.key in changed:
            hint = "Give each application a whitelist first (deis whitelist:add), or set allow_lockout."
            self._refused(FIREWALL, f"Nobody would reach {len(shut)} applications, which have no whitelist: {_some(shut)}.", hint, setting.option)

    def _refuse_planes(self, changed: set[str]) -> None:
        setting = facts.BY_OPTION["placement_options"]
        if setting.key not in changed or effective(setting, self._then) != "true":
            return
        lacking = self._planes_lacking()
        if lacking:
            hint = "Give machines their metadata first (fleet's metadata in the cloud-config): units that no machine fits are scheduled nowhere."
            self._refused(PLANES, f"No machine that fleet knows of has {' or '.join(lacking)}.", hint, setting.option)

    def _planes_lacking(self) -> List[str]:
        there = {name for machine in self._seen.machines for name in machine.metadata}
        return [name for name in facts.PLANE_METADATA if name not in there]

    # What is left to a person

    def _remarks(self) -> None:
        for setting in facts.SETTINGS:
            self._advise(setting)
        self._of_keys()
        self._of_etcd()
        if facts.STORE_GATEWAY in self._tree.nodes:
            hint = "Put a firewall before the routers for that name, or run without Ceph: no whitelist and no redirect of the routers holds for it."
            self._remark(STORE, f"Everybody reaches the store's gateway, with its keys, at {facts.STORE_NAME}.{self._domain}.", hint)
        if not self._wish.backup_folder:
            hint = "Name backup_folder. Have the database and the registry backed up, too: they are not in etcd."
            self._remark(BACKUP, "No backup of the keys was asked for.", hint)
        self._leave()

    @property
    def _domain(self) -> str:
        return self._tree.value(facts.DOMAIN) or "(the domain)"

    def _advise(self, setting: facts.Setting) -> None:
        area, value = _OF_TABLE[setting.area], effective(setting, self._then)
        if setting.good and not re.fullmatch(setting.good, value):
            told = "" if setting.kind == facts.PEM else f" ({setting.path} is {value})" if value else f" ({setting.path} is not set)"
            self._remark(area, f"{setting.advice[:1].upper()}{setting.advice[1:]}{told}.", f"Set {setting.option} to something else.")
        if setting.choices and setting.kind == facts.TEXT and value not in setting.choices and not self._wish.values.get(setting.key):
            self._remark(area, f"{setting.path} is {value!r}, which the platform does not know.", f"Set {setting.option}: {', '.join(setting.choices)}.")
        needed, like = setting.needs
        if needed and self._then.value(setting.key) and not _fits(effective(facts.BY_OPTION[needed], self._then), like):
            self._remark(area, f"{setting.path} has no effect: {facts.BY_OPTION[needed].path} is not set so.", f"Set {needed}, too.")

    def _of_keys(self) -> None:
        for key, instead in facts.UNHEEDED.items():
            if key in self._tree.nodes:
                self._remark(OTHERS, f"{key} has no effect in newer releases.", f"Set {instead}, and take the old key away (keys).")
        weak = [key for key in facts.DATABASE_PASSWORDS if self._then.value(key) == facts.WELL_KNOWN_PASSWORD]
        if weak:
            hint = (
                "Have a backup of the database, then give others in keys: the database's own start takes them over for its roles. "
                "On a server of your own, change the role's password there at the same time."
            )
            self._remark(PASSWORD, f"{_some(weak)} {'is' if len(weak) == 1 else 'are'} what every installation begins with.", hint)
        drain = effective(facts.BY_OPTION["logs_drain"], self._then)
        if drain:
            self._remark(LOGS, f"Logs of all applications leave in clear text ({drain.partition('://')[0]}): the platform knows no other way.", _DRAIN_HINT)

    def _of_etcd(self) -> None:
        door = self._seen.door
        if not door.encrypted:
            hint = "Keep its ports shut for all but members (closed_hosts looks): components of this platform cannot speak TLS to etcd."
            self._remark(ETCD, "etcd is reached without TLS, and sends every secret in clear text.", hint)
        if door.open:
            hint = "Keep its ports shut for all but members. Where authentication is on, take the rights from the role guest: it has them all at first."
            self._remark(ETCD, "Whoever reaches etcd reads every secret, without a certificate or an account.", hint)
        elif door.open is None:
            self._remark(ETCD, "Whether etcd lets in everybody could not be seen.", "Try it from another host: curl ENDPOINT/v2/keys")
        if door.members is not None and door.members > _MOST_MEMBERS:
            self._remark(ETCD, f"etcd has {door.members} members: each write waits for most of them.", "Three or five are enough; others may be proxies.")

    def _leave(self) -> None:
        fleets = sorted({machine.release for machine in self._seen.machines if machine.release})
        known = [f"fleet {', '.join(fleets)}"] if fleets else []
        known += [f"etcd {self._seen.door.release}"] if self._seen.door.release.startswith(("2", "0")) else []
        release = self._tree.value(facts.VERSION)
        hint = f"Move the applications to a platform that is maintained (Drycc, or Hephy). Left to people: {'; '.join(facts.LEFT_TO_PEOPLE)}."
        text = f"Nobody mends {facts.TITLE}{f' ({release})' if release else ''} any more, CoreOS and fleet neither"
        self._remark(LEAVE, f"{text}{f': {_some(known)} run here' if known else ''}.", hint)


_DRAIN_HINT = "Keep the way to the receiver private, or take the journal of the hosts there by TLS."


def _fits(value: str, like: str) -> bool:
    return bool(value) if like == "*" else value == like


def _some(names: List[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def shown(setting: Optional[facts.Setting], value: str) -> str:
    """Return a value as a plan shows it: of what has many lines, a digest."""
    return f"SHA-256 {hashlib.sha256(value.encode()).hexdigest()[:16]}" if setting is not None and setting.kind == facts.PEM else value


def machines_of(tree: Optional[Tree]) -> Iterator[Machine]:
    """Yield the machines out of fleet's own keys; what is no description of a machine is none."""
    for key, node in sorted((tree.nodes if tree else {}).items()):
        if key.endswith("/object"):
            try:
                told: Any = json.loads(node.value)
            except ValueError:
                continue
            if isinstance(told, dict):
                metadata = told.get("Metadata") or {}
                held = frozenset(name for name, value in metadata.items() if value == "true") if isinstance(metadata, dict) else frozenset()
                yield Machine(key.split("/")[-2], held, str(told.get("Version") or ""))
