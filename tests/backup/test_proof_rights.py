"""The rights of docs/rbac-backup.yml are enough for a point of the whole platform, allow no change of anything, and each that is missing is named."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from lab import builds
from tests.backup.apiserver import PROGRAMS, empty_server
from tests.backup.asking import refused
from tests.backup.whole import KINDS, Identity, options_for, take
from tests.contract.audit_log import AuditLog
from tests.contract.installed import Installed
from tests.quality.checkout import ROOT

RIGHTS = ROOT / "docs/rbac-backup.yml"
GROUP = "paas-hardening-backup"


@pytest.fixture(scope="module")
def granted(hephy: Installed) -> Iterator[Installed]:
    """A platform on whose cluster the rights are granted to their group."""
    hephy.cluster.kubectl("apply", "-n", hephy.namespace, "-f", str(RIGHTS))
    yield hephy
    hephy.cluster.kubectl("delete", "-n", hephy.namespace, "-f", str(RIGHTS), "--ignore-not-found")


def test_the_rights_are_enough_and_change_nothing(granted: Installed, keys: list[Identity], newest: str, tmp_path: Path, report: Callable[[str], None]) -> None:
    builds.ensure([*PROGRAMS, "kubectl"], report)
    config = granted.cluster.issue_client("backup", [GROUP])
    cluster = {"kubeconfig": str(config), "namespace": granted.namespace}
    log = AuditLog(granted.cluster.audit_log)
    with empty_server(tmp_path / "server") as empty:
        given = options_for(tmp_path, granted, keys, newest, cluster=cluster, objects={"empty_server": str(empty)})
        done = take(given)
    assert done.get("msg") is None, done["msg"]
    assert (set(done["point"]["kinds"]), done["proof"]["verdict"]) == (set(KINDS), "pass")
    sent = log.requests("backup")
    assert sent
    assert [str(request) for request in sent if request.stored and request.resource != "pods/portforward"] == []
    assert {request.verb for request in sent} >= {"get", "list"}
    # Each of the verbs that are granted is used; nothing else is.
    verbs = {(request.verb, request.resource) for request in sent if request.code < 300 and not request.resource.endswith("reviews.authorization.k8s.io")}
    assert {verb for verb, resource in verbs if resource != "pods/portforward"} == {"get", "list"}
    assert any(resource == "pods/portforward" for _verb, resource in verbs)


def test_nobody_of_the_group_can_change_anything(granted: Installed) -> None:
    config = granted.cluster.issue_client("backup", [GROUP])
    for verb, resource in (
        ("create", "pods"),
        ("delete", "secrets"),
        ("update", "deployments.apps"),
        ("patch", "nodes"),
        ("create", "pods/exec"),
        ("impersonate", "users"),
    ):
        words = [str(granted.cluster.binary("kubectl")), "auth", "can-i", verb, resource, "--all-namespaces", "--quiet"]
        assert subprocess.run(words, env=granted.cluster.environment(config), check=False).returncode == 1, (verb, resource)


@pytest.mark.parametrize("missing", ["get", "list", "portforward"])
def test_a_right_that_is_missing_is_named(granted: Installed, keys: list[Identity], newest: str, tmp_path: Path, missing: str) -> None:
    documents = yaml.safe_load(RIGHTS.read_text())
    kept = []
    for document in documents["items"]:
        text = yaml.safe_dump(document).replace(GROUP, f"without-{missing}")
        document = yaml.safe_load(text)
        for rule in document.get("rules", []):
            if missing == "portforward" and "pods/portforward" in rule["resources"]:
                rule["verbs"] = ["deletecollection"]
            elif missing != "portforward" and rule["resources"] == ["*"]:
                rule["verbs"] = [verb for verb in rule["verbs"] if verb != missing]
        kept.append(document)
    path = tmp_path / "rights.yml"
    path.write_text(yaml.safe_dump({**documents, "items": kept}))
    granted.cluster.kubectl("apply", "-n", granted.namespace, "-f", str(path))
    try:
        config = granted.cluster.issue_client(f"without-{missing}", [f"without-{missing}"])
        cluster = {"kubeconfig": str(config), "namespace": granted.namespace, "retry_timeout": 5}
        # The Secrets alone are but listed.
        kinds = ["secrets"] if missing == "list" else ["postgres", "secrets"]
        reason, message = refused(take(options_for(tmp_path, granted, keys, newest, kinds=kinds, cluster=cluster)))
        assert (reason, missing in message) == ("Forbidden", True), message
    finally:
        granted.cluster.kubectl("delete", "-n", granted.namespace, "-f", str(path))
