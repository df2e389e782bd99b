"""Refusals of the API server become errors that name what matters and repeat nothing of its text. The texts are those of a real server (1.36)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.failures import (
    KindNotServed,
    ListExpired,
    NotSent,
    answer_failure,
    field_of,
    policy_in,
)
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import target_of
from ansible_collections.paas.hardening.plugins.module_utils._core import errors

CANARY = "c4n4ry-hunter2"
DEPLOYMENT = "/apis/apps/v1/namespaces/deis/deployments/web"


def failure(code: int, reason: str = "", message: str = "", method: str = "PATCH", path: str = DEPLOYMENT, **status: Any) -> errors.Failure:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code, **status}
    return answer_failure(target_of(method, path), code, {}, json.dumps(body).encode(), "token", "Get a new one.")


def test_a_missing_right_names_the_rule_to_grant() -> None:
    text = 'deployments.apps "web" is forbidden: User "bob" cannot patch resource "deployments" in API group "apps" in the namespace "deis"'
    error = failure(403, "Forbidden", text)
    assert type(error) is errors.Forbidden
    assert error.message == "The identity (token) may not patch deployments.apps web in namespace deis."
    assert error.hint == 'Grant it with the rule apiGroups: ["apps"], resources: ["deployments"], verbs: ["patch"] in a Role in namespace deis.'
    assert error.status == 403


def test_a_missing_right_in_the_whole_cluster() -> None:
    error = failure(403, "Forbidden", 'nodes is forbidden: User "bob" cannot list resource "nodes"', "GET", "/api/v1/nodes")
    assert error.hint == 'Grant it with the rule apiGroups: [""], resources: ["nodes"], verbs: ["list"] in a ClusterRole.'


def test_a_command_in_a_pod_needs_two_verbs() -> None:
    second = failure(403, "Forbidden", 'pods "p" is forbidden: ', "GET", "/api/v1/namespaces/x/pods/p/exec")
    assert type(second) is errors.Forbidden
    error = failure(403, "Forbidden", 'User "bob" cannot get resource "pods/exec"', "GET", "/api/v1/namespaces/x/pods/p/exec")
    assert 'resources: ["pods/exec"], verbs: ["create", "get"]' in error.hint


@pytest.mark.parametrize(
    ("text", "resource"),
    [
        ('users "eve" is forbidden: User "bob" cannot impersonate resource "users" in API group ""', 'apiGroups: [""], resources: ["users"]'),
        ('groups "x" is forbidden: User "bob" cannot impersonate resource "groups" in API group ""', 'apiGroups: [""], resources: ["groups"]'),
        ('namespaces "x" is forbidden: User "bob" cannot impersonate-on:user-info:get resource "namespaces" in API group ""', 'resources: ["users"]'),
        ('namespaces "x" is forbidden: User "bob" cannot impersonate-on:serviceaccount:get resource "namespaces"', 'resources: ["serviceaccounts"]'),
    ],
)
def test_a_missing_right_to_impersonate(text: str, resource: str) -> None:
    error = failure(403, "Forbidden", text)
    assert type(error) is errors.Forbidden
    assert resource in error.hint
    assert 'verbs: ["impersonate"]' in error.hint


@pytest.mark.parametrize(
    ("code", "text", "name"),
    [
        (403, 'pods "web-1" is forbidden: exceeded quota: tight.one, requested: pods=1, used: pods=6, limited: pods=6', "the ResourceQuota tight.one says"),
        (403, 'pods "web-1" is forbidden: failed quota: tight: must specify limits.cpu', "the ResourceQuota tight (it wants requests or limits"),
        (403, f'admission webhook "check.example.org" denied the request: {CANARY}', "the admission webhook check.example.org"),
        (400, f'admission webhook "check.example.org" denied the request: {CANARY}', "the admission webhook check.example.org"),
        (422, f"deployments.apps \"web\" is forbidden: ValidatingAdmissionPolicy 'no-latest' with binding 'b' denied request: {CANARY}", "'no-latest'"),
        (403, 'pods "x" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false', "the Pod Security level restricted"),
    ],
)
def test_a_policy_that_says_no_is_named(code: int, text: str, name: str) -> None:
    error = failure(code, "Forbidden", text)
    assert type(error) is errors.Refused
    assert name.strip("'") in error.message
    assert CANARY not in str(error)


def test_other_admission_is_no_missing_right() -> None:
    error = failure(403, "Forbidden", f'pods "x" is forbidden: maximum cpu usage per Container is 1, but limit is {CANARY}')
    assert type(error) is errors.Refused
    assert CANARY not in str(error)


def test_a_namespace_on_its_way_out() -> None:
    details = {"causes": [{"reason": "NamespaceTerminating", "message": "x", "field": "metadata.namespace"}]}
    assert "being deleted" in failure(403, "Forbidden", "forbidden: unable to create new content", details=details).message


def test_missing_object_namespace_and_kind_are_different() -> None:
    gone = failure(404, "NotFound", 'deployments.apps "web" not found', details={"name": "web", "kind": "deployments"})
    space = failure(404, "NotFound", 'namespaces "deis" not found', "POST", DEPLOYMENT[:-4], details={"name": "deis", "kind": "namespaces"})
    kind = failure(404, "NotFound", "the server could not find the requested resource", details={})
    text = answer_failure(target_of("GET", DEPLOYMENT), 404, {}, b"404 page not found\n", "token", "")
    assert (type(gone), type(space), type(kind), type(text)) == (errors.NotFound, errors.NotFound, KindNotServed, KindNotServed)
    assert gone.message == "deployments deis/web does not exist."
    assert space.message == "The namespace deis does not exist."


def test_conflicts() -> None:
    manager = [{"reason": "FieldManagerConflict", "message": f"conflict with {CANARY}", "field": ".spec.replicas"}]
    exists, changed = failure(409, "AlreadyExists", CANARY), failure(409, "Conflict", CANARY)
    owned = failure(409, "Conflict", "Apply failed with 1 conflict", details={"causes": manager})
    assert {type(exists), type(changed), type(owned)} == {errors.Conflict}
    assert "exists already" in exists.message
    assert "changed by somebody else" in changed.message
    assert "field manager" in owned.message


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 410, 413, 415, 422, 429, 500, 503, 302])
def test_no_text_of_the_server_is_passed_on(code: int) -> None:
    causes = [
        {"reason": "FieldValueInvalid", "message": f'Invalid value: "{CANARY}"', "field": "patch"},
        {"reason": CANARY, "message": CANARY, "field": f"data[{CANARY}]"},
        {"reason": "FieldValueInvalid", "message": CANARY, "field": f"spec.template.metadata.annotations[{CANARY}]"},
        {"reason": "FieldValueInvalid", "message": CANARY, "field": f"data.{CANARY}"},
        {"reason": "FieldValueInvalid", "message": CANARY, "field": f"data.{CANARY.replace('-', '')}"},
        {"reason": "FieldValueInvalid", "message": CANARY, "field": CANARY},
        {"reason": "FieldValueInvalid", "message": CANARY, "field": {"a": CANARY}},
        CANARY,
    ]
    details = {"name": CANARY, "kind": CANARY, "group": CANARY, "uid": CANARY, "causes": causes, "retryAfterSeconds": CANARY}
    error = failure(code, CANARY, f'"" is invalid: patch: Invalid value: "{CANARY}"', details=details, metadata={"selfLink": CANARY})
    shown = f"{error} {error!r} {error.as_data()} {error.args}"
    assert "c4n4ry" not in shown
    assert "hunter2" not in shown


def test_fields_are_shown_without_their_keys() -> None:
    assert field_of("spec.template.spec.containers[0].env[12].valueFrom") == "spec.template.spec.containers[0].env[12].valueFrom"
    assert field_of("data[my-key]") == "data[*]"
    assert field_of('metadata.annotations["a.b/c"].d') == "metadata.annotations[*].d"
    assert field_of("data.password1") == "data.*"
    assert field_of("metadata.Hunter-2") == "metadata.*"
    assert field_of("something else") == ""
    assert field_of(None) == ""


def test_busy_and_broken_servers() -> None:
    target = target_of("GET", DEPLOYMENT)
    busy = answer_failure(target, 429, {"Retry-After": "7"}, b"", "token", "")
    down = answer_failure(target, 503, {}, json.dumps({"kind": "Status", "details": {"retryAfterSeconds": 3}}).encode(), "token", "")
    late = answer_failure(target, 503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, b"", "token", "")
    assert isinstance(busy, NotSent)
    assert busy.retry_after == 7
    assert isinstance(down, errors.Unavailable)
    assert down.retry_after == 3
    assert isinstance(late, errors.Unavailable)
    assert late.retry_after == 0


def test_a_webhook_that_does_not_answer_is_named() -> None:
    error = failure(500, "InternalError", f'Internal error occurred: failed calling webhook "check.example.org": failed to call webhook: Post "{CANARY}"')
    assert type(error) is errors.Unavailable
    assert "check.example.org does not answer" in error.message
    assert CANARY not in str(error)


def test_a_list_that_expired_brings_its_token() -> None:
    error = failure(410, "Expired", "The provided continue parameter is too old", "GET", "/api/v1/pods", metadata={"continue": "abc"})
    assert isinstance(error, ListExpired)
    assert error.token == "abc"


def test_somebody_else_answers() -> None:
    proxy = answer_failure(target_of("GET", DEPLOYMENT), 403, {}, f"<html>{CANARY}</html>".encode(), "token", "")
    plain = answer_failure(target_of("GET", DEPLOYMENT), 400, {}, b"Client sent an HTTP request to an HTTPS server.\n", "token", "")
    assert "not a Kubernetes API server" in proxy.message
    assert CANARY not in str(proxy)
    assert "https://" in plain.hint


@pytest.mark.parametrize("text", [None, 7, "", "denied", f"exceeded quota: {CANARY.upper()}!", 'admission webhook "a b" denied'])
def test_no_policy_is_named_where_none_stands(text: Any) -> None:
    assert policy_in(text) == ""
