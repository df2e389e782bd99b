"""harden.yml from an installed collection on a real platform: predicted, done, proved, done again without a write, rolled back, and what Helm makes of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.contract.audit_log import AuditLog, Request
from tests.contract.installed import GROUP, Installed, install, remove_others
from tests.contract.playbook import Run, run_playbook
from tests.contract.prediction import canonical
from tests.integration.knocking import knocking
from tests.quality.checkout import ROOT, passes

if TYPE_CHECKING:
    from lab.cluster import Cluster

USER = "playbook-user"
TASKS = ("Close registration", "Scale and spread the routers")


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection as ansible-galaxy builds and installs it; the folder that holds it."""
    folder = tmp_path_factory.mktemp("collection")
    passes(["ansible-galaxy", "collection", "build", "--output-path", str(folder), "."])
    (artifact,) = folder.glob("*.tar.gz")
    passes(["ansible-galaxy", "collection", "install", "--offline", "--collections-path", str(folder), str(artifact)], folder)
    return folder


@dataclass
class Playbooks:
    """Runs playbooks of the installed collection against one platform, as a user with exactly the documented rights."""

    platform: Installed
    collection: Path
    folder: Path
    requests: list[list[Request]] = field(default_factory=list)

    def run(self, playbook: Path | str, *arguments: str, **variables: Any) -> Run:
        """Run a playbook; what the server was asked meanwhile is appended to ``requests``."""
        kubeconfig = self.platform.cluster.issue_client(USER, groups=[GROUP])
        log = AuditLog(self.platform.cluster.audit_log)
        run = run_playbook(
            self.folder,
            playbook,
            *arguments,
            variables={"harden_kubeconfig": str(kubeconfig), **variables},
            more={"ANSIBLE_COLLECTIONS_PATH": str(self.collection)} if isinstance(playbook, str) else {},
        )
        self.requests.append(log.requests(USER))
        return run

    @property
    def writes(self) -> list[Request]:
        """What the last run wrote."""
        assert self.requests[-1], "the audit log has no request of this run: it proves nothing"
        return [request for request in self.requests[-1] if request.writes]


def summary(run: Run) -> str:
    """The summary at the end of a run, in one line: how it is wrapped says nothing."""
    return " ".join(" ".join(run.result("Summary")["msg"]).split())


def hephy(lab_cluster: Cluster, report: Callable[[str], None], helm: str = "3") -> Installed:
    remove_others(lab_cluster, "hephy")
    platform = install(lab_cluster, "hephy", report, helm=helm)
    platform.restore()
    return platform


@pytest.fixture(scope="module")
def playbooks(lab_cluster: Cluster, collection: Path, tmp_path_factory: pytest.TempPathFactory, report: Callable[[str], None]) -> Iterator[Playbooks]:
    """Playbooks against a Hephy that is as it was installed; it is so again afterwards."""
    platform = hephy(lab_cluster, report)
    made = Playbooks(platform, collection, tmp_path_factory.mktemp("playbooks"))
    yield made
    made.platform.restore()


@dataclass
class Hardening:
    """The runs of the first day, in their order, each with what it wrote."""

    checked: Run
    checked_writes: list[Request]
    first: Run
    first_writes: list[Request]
    second: Run
    second_writes: list[Request]
    audited: Run
    audited_writes: list[Request]
    overlay: Mapping[str, Any]
    before: Mapping[Any, Mapping[str, Any]]
    unchanged: Mapping[Any, Mapping[str, Any]]


@pytest.fixture(scope="module")
def hardening(playbooks: Playbooks) -> Hardening:
    """Look, harden, harden again, audit."""
    overlay = playbooks.folder / "overlay.yml"
    before = playbooks.platform.documents()
    checked, checked_writes = playbooks.run("paas.hardening.harden", "--check", "--diff").ok(), playbooks.writes
    unchanged = playbooks.platform.documents()
    first, first_writes = playbooks.run("paas.hardening.harden", "--diff", harden_overlay_file=str(overlay)).ok(), playbooks.writes
    second, second_writes = playbooks.run(ROOT / "playbooks" / "harden.yml").ok(), playbooks.writes
    audited, audited_writes = playbooks.run("paas.hardening.audit").ok(), playbooks.writes
    values = yaml.safe_load(overlay.read_text())
    return Hardening(checked, checked_writes, first, first_writes, second, second_writes, audited, audited_writes, values, before, unchanged)


def test_check_mode_predicts_and_writes_nothing(hardening: Hardening) -> None:
    assert hardening.checked_writes == []
    assert {ref: canonical(document) for ref, document in hardening.unchanged.items()} == {
        ref: canonical(document) for ref, document in hardening.before.items()
    }
    assert hardening.checked.recap()["changed"] == 2
    for task in TASKS:
        said, done = hardening.checked.result(task), hardening.first.result(task)
        assert (said["changed"], said["plan"], said["diff"]) == (done["changed"], done["plan"], done["diff"])
    told = summary(hardening.checked)
    assert "[WOULD FIX] Registration is admin-only (registration, high)" in told
    assert "wanted REGISTRATION_MODE=admin_only" in told
    assert told.endswith("Findings: 2 (2 would fix). Changed in this run: 0.")


def test_first_run_changes_and_proves(hardening: Hardening, playbooks: Playbooks) -> None:
    assert hardening.first.recap()["changed"] == 3, "two recommendations, and the overlay file"
    told = summary(hardening.first)
    for line in (
        "[FIXED] Registration is admin-only (registration, high)",
        "on Deployment deis/deis-controller before REGISTRATION_MODE=enabled after REGISTRATION_MODE=admin_only",
        "-> closed: 403, asks for an administrator's credentials",
        "REVERTS spec.template.spec.containers[deis-controller].env[REGISTRATION_MODE].value:",
        "[FIXED] More than one router answers (router-scale, high)",
        "before routers: 1, ready: 1 on 1 nodes, disruption budgets: 0 after routers: 2, ready: 2 on 2 nodes, disruption budgets: 1",
        "proof pass: nodes that carry a router -> 2 (node1, node2)",
        "REVERTS spec.replicas:",
    ):
        assert line in told
    assert told.count(":9090/healthz on pod deis-router-") == 2
    assert told.endswith("Findings: 2 (2 fixed). Changed in this run: 2.")
    assert sorted(f"{request.verb} {request.resource} {request.name}" for request in hardening.first_writes if request.stored) == [
        "create poddisruptionbudgets.policy deis-router",
        "patch deployments.apps deis-controller",
        "patch deployments.apps deis-router",
    ]


def test_the_door_is_closed_for_people_outside(hardening: Hardening, playbooks: Playbooks) -> None:
    """The stand-in for the controller obeys the very variable; this is the request of a person, through the router."""
    place = playbooks.platform.place
    answer = place.ask(place.hosts[0], "POST", "/v2/auth/register/", {"username": "passer-by", "password": "x", "email": "x@example.test"})
    assert answer.status == 403


def test_overlay_holds_what_the_chart_has_a_key_for(hardening: Hardening) -> None:
    assert hardening.overlay == {"controller": {"registration_mode": "admin_only"}}


def test_second_run_changes_and_writes_nothing(hardening: Hardening) -> None:
    assert hardening.second_writes == []
    assert hardening.second.recap()["changed"] == 0
    told = summary(hardening.second)
    assert "[ok] Registration is admin-only" in told
    assert "REVERTS" in told, "what the next upgrade takes back is told in every run"
    assert told.endswith("Findings: 2 (2 ok). Changed in this run: 0.")


def test_audit_writes_nothing(hardening: Hardening) -> None:
    assert hardening.audited_writes == []
    assert hardening.audited.recap()["changed"] == 0
    assert summary(hardening.audited).endswith("Findings: 2 (2 ok). Changed in this run: 0.")


def test_a_drained_node_leaves_the_platform_answering(hardening: Hardening, playbooks: Playbooks, report: Callable[[str], None]) -> None:
    platform, kubectl = playbooks.platform, playbooks.platform.cluster.kubectl
    drained = kubectl("get", "pods", "-n", platform.namespace, "-l", "app=deis-router", "-o", "jsonpath={.items[0].spec.nodeName}")
    begun = time.monotonic()
    with knocking(platform.cluster, platform.namespace, platform.place.hosts[0], away_from=drained) as knocks:
        try:
            # The routers only: the platform's other parts have one pod each, and are not what this recommendation is about.
            kubectl("drain", drained, "--pod-selector=app=deis-router", "--delete-emptydir-data", "--timeout=120s")
            platform.settle()
        finally:
            kubectl("uncordon", drained)
    report(f"drain of {drained} in {time.monotonic() - begun:.0f} s: {knocks}")
    assert knocks.answered > 50
    assert knocks.failed == 0, knocks.troubles
    # Pods stay where they are when the node comes back; the next run spreads them again.
    again = playbooks.run("paas.hardening.harden", "--tags", "router").ok()
    proof = again.result(TASKS[1])["proof"]
    assert proof["verdict"] == "pass"
    assert proof["checks"][-1]["observed"] == "2 (node1, node2)"


def test_tags_and_variables_of_the_roles(hardening: Hardening, playbooks: Playbooks) -> None:
    run = playbooks.run("paas.hardening.harden", "--tags", "router", router_one_per_node=True, router_maximum=1, router_disruption_budget=False).ok()
    assert [f"{request.verb} {request.name}" for request in playbooks.writes if request.stored] == ["patch deis-router", "delete deis-router"]
    assert run.recap()["changed"] == 1
    assert "Registration" not in summary(run)
    assert "[FAIL] More than one router answers" in summary(playbooks.run("paas.hardening.audit", router_replicas=1).ok()), "a roll back is told"


def test_rolled_back_by_tag(hardening: Hardening, playbooks: Playbooks) -> None:
    playbooks.run("paas.hardening.harden").ok()
    run = playbooks.run("paas.hardening.harden", "--tags", "registration", registration_setting="enabled").ok()
    assert [f"{request.verb} {request.name}" for request in playbooks.writes if request.stored] == ["patch deis-controller"]
    assert "[FAIL] Registration is admin-only" in summary(run)
    assert "after REGISTRATION_MODE=enabled" in summary(run)
    audited = playbooks.run("paas.hardening.audit").ok()
    assert "[WOULD FIX] Registration is admin-only" in summary(audited)
    assert "[ok] More than one router answers" in summary(audited)


# In short it is told by test_upgrade_truth.py.
@pytest.mark.proof
@pytest.mark.parametrize("helm", ["3", "4"])
def test_verdicts_come_true_in_a_real_upgrade(playbooks: Playbooks, lab_cluster: Cluster, helm: str, report: Callable[[str], None], tmp_path: Path) -> None:
    from lab import installation
    from lab.errors import CommandFailed

    if helm == "4":
        # Only a release that Helm 4 made is applied on the server's side.
        playbooks.platform = hephy(lab_cluster, report, helm)
    platform = playbooks.platform
    overlay = tmp_path / "overlay.yml"
    hardened = playbooks.run("paas.hardening.harden", harden_overlay_file=str(overlay)).ok()
    verdicts = [verdict for task in TASKS for verdict in hardened.result(task)["durability"]]
    wrong = []
    said_before = {(verdict["object"], verdict["field"]): _value(platform, verdict) for verdict in verdicts}
    try:
        installation.upgrade(lab_cluster, "hephy", helm=helm)
        complaint = ""
    except CommandFailed as error:
        complaint = str(error)
    for verdict in verdicts:
        now, then = _value(platform, verdict), said_before[verdict["object"], verdict["field"]]
        name = verdict["object"].rpartition("/")[2]
        happened = "conflict" if verdict["outcome"] == "conflict" and name in complaint else "lasted" if now == then else "reverted"
        said = "lasted" if verdict["lasts"] else verdict["outcome"]
        if said != happened:
            wrong.append(f"{verdict['object']} {verdict['field']}: said {said} ({verdict['reason']}), but it {happened}")
    report(f"helm {helm}: {[verdict['outcome'] for verdict in verdicts]}, upgrade said: {complaint[:200] or 'nothing'}")
    assert not wrong, "\n".join(wrong)
    assert {verdict["outcome"] for verdict in verdicts} & {"reverted", "conflict"}, "no verdict that could have come true the hard way"

    playbooks.run("paas.hardening.harden").ok()
    # Where Helm 4 meets fields that we hold and no key carries, it wants to be told; what the overlay carries needs no telling.
    installation.upgrade(lab_cluster, "hephy", [overlay], helm, *(["--force-conflicts"] if complaint else []))
    platform.settle()
    after = playbooks.run("paas.hardening.audit").ok()
    registration = after.result(TASKS[0])
    assert registration["changed"] is False
    assert registration["overlay"] == {}
    assert [verdict["lasts"] for verdict in registration["durability"]] == [True]
    assert registration["proof"]["verdict"] == "pass"


def _value(platform: Installed, verdict: Mapping[str, Any]) -> Any:
    """What stands in the field of a verdict now; None when the object or the field is not there."""
    kind, _space, place = verdict["object"].partition(" ")
    namespace, _slash, name = place.rpartition("/")
    document: Any = platform.objects.find(kind, name, namespace)
    if verdict["field"] == "(object)":
        return document is not None
    for word in verdict["field"].replace("[", ".[").split("."):
        if document is None:
            return None
        if word.startswith("["):
            document = next((entry for entry in document if word[1:-1] in entry.values()), None)
        else:
            document = document.get(word)
    return document
