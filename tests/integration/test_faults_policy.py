"""What the cluster says no to: quotas, admission policies, webhooks that do not answer, images that are not to be had."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from tests.contract.installed import PLANTED, Installed, install
from tests.integration.attempts import REGISTRATION, ROUTER, attempt, failure, succeeded
from tests.integration.disturbances import in_pods, patch, present, refused, setting, until

if TYPE_CHECKING:
    from lab.cluster import Cluster

CONTROLLER = "deis-controller"
# Seconds: what fails at once ends long before, also on a busy machine.
LONG = 500


@pytest.fixture(scope="module")
def installed(lab_cluster: Cluster, report: Callable[[str], None]) -> Installed:
    platform = install(lab_cluster, "hephy", report)
    platform.restore()
    return platform


@pytest.fixture
def hephy(installed: Installed) -> Iterator[Installed]:
    """Hephy as it was installed; it is so again afterwards."""
    installed.settle()
    yield installed
    installed.restore()


def quota(hard: Mapping[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full-up"}, "spec": {"hard": dict(hard)}}


def quota_counts(platform: Installed) -> bool:
    return bool((platform.objects.get("ResourceQuota", "full-up", platform.namespace).get("status") or {}).get("used"))


def test_quota_on_what_is_created(hephy: Installed) -> None:
    with present(hephy, quota({"count/poddisruptionbudgets.policy": "0"})):
        until(lambda: quota_counts(hephy), "the count of the quota")
        result = attempt(hephy, ROUTER)
        message = failure(result, "Refused")
        assert "the ResourceQuota full-up says no" in message
        # The Deployment was written before, and that is told.
        assert result["changed"] is True
        assert {change["object"] for change in result["plan"]} == {f"Deployment {hephy.namespace}/deis-router"}
    finished = succeeded(attempt(hephy, ROUTER))
    assert {change["object"] for change in finished["plan"]} == {f"PodDisruptionBudget {hephy.namespace}/deis-router"}
    assert finished["findings"][0]["status"] == "fixed"


def test_quota_on_pods_stops_a_rollout(hephy: Installed) -> None:
    with present(hephy, quota({"pods": "1"})):
        until(lambda: quota_counts(hephy), "the count of the quota")
        begun = time.monotonic()
        result = attempt(hephy, REGISTRATION, wait_timeout=LONG)
        message = failure(result, "RolloutFailed")
        assert "full-up" in message
        assert time.monotonic() - begun < LONG / 2, "it fails when it has failed, not when the time is over"
        assert result["changed"] is True
    finished = succeeded(attempt(hephy, REGISTRATION))
    assert finished["changed"] is False, "the setting was written before; what was missing is the rollout"
    assert finished["proof"]["verdict"] == "pass"


def policy(platform: Installed) -> list[dict[str, Any]]:
    """An admission policy that refuses a closed registration, and says a secret when it does."""
    closed = "object.spec.template.spec.containers.exists(c, has(c.env) && c.env.exists(e, e.name == 'REGISTRATION_MODE' && e.value == 'admin_only'))"
    return [
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": "stays-open.example.test"},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"]}]},
                "validations": [{"expression": f"!{closed}", "messageExpression": "'it has ' + object.metadata.annotations['example.test/api-token']"}],
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": "stays-open.example.test"},
            "spec": {
                "policyName": "stays-open.example.test",
                "validationActions": ["Deny"],
                "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": platform.namespace}}},
            },
        },
    ]


def test_admission_policy(hephy: Installed) -> None:
    closing = setting(CONTROLLER, "REGISTRATION_MODE", "admin_only")
    with present(hephy, *policy(hephy)):
        until(lambda: refused(lambda: patch(hephy, CONTROLLER, closing, dry=True)), "the policy")
        result = attempt(hephy, REGISTRATION)
        assert "the ValidatingAdmissionPolicy stays-open.example.test says no" in failure(result, "Refused")
        assert result["changed"] is False
        assert PLANTED not in str(result), "the policy's own message quotes the object"
    until(lambda: not refused(lambda: patch(hephy, CONTROLLER, closing, dry=True)), "the end of the policy")
    assert succeeded(attempt(hephy, REGISTRATION))["findings"][0]["status"] == "fixed"


def test_webhook_that_does_not_answer(hephy: Installed) -> None:
    webhook = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "nobody-there"},
        "webhooks": [
            {
                "name": "nobody-there.example.test",
                "clientConfig": {"url": "https://127.0.0.1:9/"},
                "rules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"]}],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": hephy.namespace}},
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "timeoutSeconds": 1,
            }
        ],
    }
    note = {"metadata": {"annotations": {"example.test/asked": "yes"}}}
    with present(hephy, webhook):
        until(lambda: refused(lambda: patch(hephy, CONTROLLER, note, dry=True)), "the webhook")
        result = attempt(hephy, REGISTRATION, retry_timeout=2)
        assert "the admission webhook nobody-there.example.test does not answer" in failure(result, "Unavailable")
        assert result["changed"] is False
    until(lambda: not refused(lambda: patch(hephy, CONTROLLER, note, dry=True)), "the end of the webhook")
    assert succeeded(attempt(hephy, REGISTRATION))["findings"][0]["status"] == "fixed"


def test_image_that_is_not_to_be_had(hephy: Installed) -> None:
    """Somebody put a container with such an image beside the controller: the rollout that our change begins cannot end."""
    patch(hephy, CONTROLLER, in_pods(name="beside", image="lab.local/no-such-image:1", imagePullPolicy="IfNotPresent"))
    begun = time.monotonic()
    result = attempt(hephy, REGISTRATION, wait_timeout=LONG)
    message = failure(result, "RolloutFailed")
    assert "lab.local/no-such-image:1" in message or "Image" in message
    assert time.monotonic() - begun < LONG / 2, "it fails when it has failed, not when the time is over"
    assert result["changed"] is True
    patch(hephy, CONTROLLER, in_pods(**{"name": "beside", "$patch": "delete"}))
    finished = succeeded(attempt(hephy, REGISTRATION))
    assert finished["changed"] is False
    assert finished["proof"]["verdict"] == "pass"
