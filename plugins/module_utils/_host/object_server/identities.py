# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The identities of the server on this host, by its own interface for administrators: who there is, with which secret and which rights."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
import zipfile
from typing import Any, Dict, FrozenSet, List, Mapping, NamedTuple, Protocol, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.backends import IAM, Backend
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.buckets import failure_of
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.policies import Statement, document_of, rights_of, statements_of, words_of
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.wishes import Identity
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.signed import Answer, Client

# What one differs in, before and after in words for people; None is what is not there.
Difference = Tuple[str, object, object]
# Or it would be taken for a policy of the server's own.
_OF_IDENTITY = "paas-hardening-{name}"


class Stranger(NamedTuple):
    """Who is there beside those that are wanted, and what to do about it."""

    text: str
    hint: str


class Directory(Protocol):
    """All identities of a server, as they were when it was looked at."""

    def differences(self, wanted: Identity) -> List[Difference]:
        """Return what of an identity is not as it should be."""

    def strangers(self, wanted: Mapping[str, Identity]) -> List[Stranger]:
        """Return who is there without being wanted, or has more than he should by a way that is not ours to close."""

    def enforce(self, client: Client, wanted: Identity) -> None:
        """Make an identity what it has to be. Raises Failure."""


def look(backend: Backend, client: Client) -> Directory:
    """Ask the server for all of them. Raises Failure."""
    return _iam(client) if backend.identities == IAM else _accounts(client)


def nobody(backend: Backend) -> Directory:
    """Return what a server has that has not begun yet."""
    return Iam({}, {}, {}, {}, {}, {}) if backend.identities == IAM else Accounts({})


class Iam:
    """Users with policies: what MinIO exports, and imports again, as a whole (mc admin cluster iam).

    Its other requests encrypt what they send by a method of its own; these two rest on TLS alone.
    """

    def __init__(
        self,
        users: Mapping[str, Mapping[str, Any]],
        policies: Mapping[str, Mapping[str, Any]],
        mappings: Mapping[str, Mapping[str, Any]],
        groups: Mapping[str, Mapping[str, Any]],
        services: Mapping[str, Mapping[str, Any]],
        of_groups: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self._users, self._policies, self._mappings = users, policies, mappings
        self._groups, self._services, self._of_groups = groups, services, of_groups

    def differences(self, wanted: Identity) -> List[Difference]:
        user, name = self._users.get(wanted.access), _policy_name(wanted)
        found: List[Difference] = []
        if user is None:
            found.append(("identity", None, "made"))
        if user is None or user.get("secretKey") != wanted.secret:
            found.append(("secret key", None if user is None else "another", "as given"))
        if user is not None and user.get("status") != "enabled":
            found.append(("status", "disabled", "enabled"))
        attached = str(self._mappings.get(wanted.access, {}).get("policy") or "")
        if attached != name:
            found.append(("policy", attached or None, name))
        rights, now = rights_of(wanted.buckets, wanted.rights), statements_of(self._policies.get(name, {}))
        if now != rights:
            found.append(("rights", words_of(now) or None, words_of(rights)))
        return found

    def strangers(self, wanted: Mapping[str, Identity]) -> List[Stranger]:
        found = []
        for name in sorted(set(self._users) - set(wanted)):
            policy = str(self._mappings.get(name, {}).get("policy") or "no policy")
            found.append(Stranger(f"There is an identity {name}, with {policy}.", f"Declare it, or take it away: mc admin user remove ALIAS {name}."))
        for name, group in sorted(self._groups.items()):
            rights = str(self._of_groups.get(name, {}).get("policy") or "")
            for member in sorted(set(group.get("members") or ()) & set(wanted)) if rights else ():
                hint = f"Take it out: mc admin group remove ALIAS {name} {member}."
                found.append(Stranger(f"{member} has more by the group {name}: {rights}.", hint))
        for name, service in sorted(self._services.items()):
            hint = f"If nobody uses it: mc admin user svcacct rm ALIAS {name}."
            found.append(Stranger(f"There is a further key {name}, with the rights of {service.get('parent') or 'somebody'}.", hint))
        return found

    def enforce(self, client: Client, wanted: Identity) -> None:
        name = _policy_name(wanted)
        parts = {
            "policies.json": {name: document_of(rights_of(wanted.buckets, wanted.rights))},
            "users.json": {wanted.access: {"secretKey": wanted.secret, "status": "enabled"}},
            "user_mappings.json": {wanted.access: {"version": 1, "policy": name}},
        }
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for part, content in parts.items():
                archive.writestr(f"iam-assets/{part}", json.dumps(content))
        _good(client.ask("PUT", "/minio/admin/v3/import-iam", body=packed.getvalue()), f"identity {wanted.access}")


def _policy_name(wanted: Identity) -> str:
    return _OF_IDENTITY.format(name=wanted.access)


def _iam(client: Client) -> Iam:
    answer = _good(client.ask("GET", "/minio/admin/v3/export-iam"), "list of identities")
    known: Dict[str, Mapping[str, Any]] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
            for entry in archive.namelist():
                known[entry.rpartition("/")[2]] = json.loads(archive.read(entry)) or {}
    except (zipfile.BadZipFile, ValueError):
        raise Invalid("The store does not tell its identities in a way that is known.", "Which version of MinIO is it?", "identities") from None
    names = ("users", "policies", "user_mappings", "groups", "svcaccts", "group_mappings")
    return Iam(*(known.get(f"{name}.json", {}) for name in names))


class Accounts:
    """Accounts without policies of their own, as the Versity gateway has them: the policies of buckets say what they may."""

    def __init__(self, known: Mapping[str, Mapping[str, str]]) -> None:
        self._known = known

    def differences(self, wanted: Identity) -> List[Difference]:
        account = self._known.get(wanted.access)
        found: List[Difference] = []
        if account is None:
            found.append(("identity", None, "made"))
        if account is None or account.get("Secret") != wanted.secret:
            found.append(("secret key", None if account is None else "another", "as given"))
        if account is not None and account.get("Role") != "user":
            found.append(("role", account.get("Role"), "user"))
        return found

    def strangers(self, wanted: Mapping[str, Identity]) -> List[Stranger]:
        hint = "Declare it, or take it away: versitygw admin delete-user --access {name}."
        return [
            Stranger(f"There is an identity {name}, with the role {account.get('Role')}.", hint.format(name=name))
            for name, account in sorted(self._known.items())
            if name not in wanted
        ]

    def enforce(self, client: Client, wanted: Identity) -> None:
        there = wanted.access in self._known or wanted.access in _accounts(client)._known
        kind = "MutableProps" if there else "Account"
        texts = {} if there else {"Access": wanted.access}
        root = ET.Element(kind)
        for name, text in {**texts, "Secret": wanted.secret, "Role": "user"}.items():
            ET.SubElement(root, name).text = text
        path, query = ("/update-user", {"access": wanted.access}) if there else ("/create-user", {})
        _good(client.ask("PATCH", path, query, ET.tostring(root)), f"identity {wanted.access}")


def _accounts(client: Client) -> Accounts:
    answer = _good(client.ask("PATCH", "/list-users"), "list of identities")
    known = {}
    for element in ET.fromstring(answer.body).iter():
        parts = {part.tag.rpartition("}")[2]: part.text or "" for part in element}
        if "Access" in parts:
            known[parts["Access"]] = parts
    return Accounts(known)


def statements_for(backend: Backend, bucket: str, wanted: Mapping[str, Identity]) -> FrozenSet[Statement]:
    """Return what the policy of a bucket has to let in: nothing where identities have policies of their own. Pure."""
    if backend.identities == IAM:
        return frozenset()
    found: FrozenSet[Statement] = frozenset()
    for one in wanted.values():
        if bucket in one.buckets:
            found |= rights_of([bucket], one.rights, one.access)
    return found


def _good(answer: Answer, what: str) -> Answer:
    if not answer.good:
        raise failure_of(answer, what)
    return answer
