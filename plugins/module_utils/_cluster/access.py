# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which rights are missing, asked before the work begins. The questions are requests to create something, but nothing is stored."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple, Union

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import Connection

_API = "authorization.k8s.io/v1"


class Right(NamedTuple):
    """One right, in the words of a role. An empty namespace means a right in the whole cluster."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    subresource: str = ""

    def __str__(self) -> str:
        resource = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        return f"{self.verb} {resource}{f'.{self.group}' if self.group else ''}{f' in namespace {self.namespace}' if self.namespace else ''}"


Wanted = Union[Right, Tuple[str, ...]]


def missing_rights(connection: Connection, wanted: Sequence[Wanted]) -> List[Right]:
    """Return the rights that the identity does not have, in the given order. Each one wanted is (verb, group, resource, namespace[, subresource]).

    One request is sent for all rights in a namespace; a right that seems to be missing there, and a right in the whole cluster, is asked for by itself, because
    the summary can be incomplete. Raises like Connection.request().
    """
    rights = list(dict.fromkeys(Right(*right) for right in wanted))
    namespaces: Dict[str, int] = {}
    for right in rights:
        namespaces[right.namespace] = namespaces.get(right.namespace, 0) + 1
    rules = {namespace: _rules(connection, namespace) for namespace, count in namespaces.items() if namespace and count > 1}
    return [right for right in rights if not _granted(right, rules.get(right.namespace, [])) and not _allowed(connection, right)]


def _rules(connection: Connection, namespace: str) -> List[Mapping[str, Any]]:
    body = {"apiVersion": _API, "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace}}
    answer = connection.request("POST", f"/apis/{_API}/selfsubjectrulesreviews", body=body).data
    return list((answer.get("status") or {}).get("resourceRules") or [])


def _granted(right: Right, rules: Sequence[Mapping[str, Any]]) -> bool:
    names = {"*", f"{right.resource}/{right.subresource}", f"*/{right.subresource}"} if right.subresource else {"*", right.resource}
    return any(
        not rule.get("resourceNames")
        and {"*", right.verb} & set(rule.get("verbs") or [])
        and {"*", right.group} & set(rule.get("apiGroups") or [])
        and names & set(rule.get("resources") or [])
        for rule in rules
    )


def _allowed(connection: Connection, right: Right) -> bool:
    attributes = {"verb": right.verb, "group": right.group, "resource": right.resource, "namespace": right.namespace, "subresource": right.subresource}
    body = {"apiVersion": _API, "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": {key: value for key, value in attributes.items() if value}}}
    answer = connection.request("POST", f"/apis/{_API}/selfsubjectaccessreviews", body=body).data
    return bool((answer.get("status") or {}).get("allowed"))
