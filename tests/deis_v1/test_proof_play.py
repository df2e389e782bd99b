"""As a user runs it: the playbook, audit first, in the worker and as a module, and what it prints."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from tests.contract.canaries import leaks
from tests.contract.playbook import AS_MODULE, Run, Task, run_playbook, run_tasks
from tests.deis_v1.servers import PLANES, Certificates, Etcd, install
from tests.deis_v1.test_proof_settings import statuses
from tests.quality.checkout import ROOT

TASK = "Have the keys of the platform as asked"


def play(folder: Path, *arguments: str, **variables: Any) -> Run:
    return run_playbook(folder, ROOT / "playbooks/deis_v1.yml", *arguments, variables={f"deis_v1_{name}": value for name, value in variables.items()})


def test_the_playbook(etcd: Etcd, certificates: Certificates, folder: str, tmp_path: Path) -> None:
    install(etcd, planes=PLANES)
    asked: dict[str, Any] = {
        "endpoints": [etcd.url],
        "administrator_exists": True,
        "backup_folder": folder,
        "tls_certificate_file": certificates.path("server.crt"),
        "tls_key_file": certificates.path("server.key"),
        "enforce_https": True,
        "keys": {"database/password": f"canary{secrets.token_hex(12)}"},
    }
    counter = etcd.counter()
    audited = play(tmp_path, "-vvv", mode="audit", **asked).ok()
    predicted = play(tmp_path, "--check", "--diff", **asked).ok()
    assert (etcd.counter(), list(Path(folder).iterdir())) == (counter, [])
    done = play(tmp_path, "--diff", "-vvv", **asked).ok()
    assert done.result(TASK)["plan"] == predicted.result(TASK)["plan"] == audited.result(TASK)["plan"]
    assert (etcd.value("/deis/controller/registrationMode"), etcd.value("/deis/router/sslProtocols")) == ("admin_only", "TLSv1.2")
    again = play(tmp_path, **asked).ok()
    assert again.recap()["changed"] == 0
    assert {area: status for area, status in statuses(dict(again.result(TASK))).items() if area in ("registration", "backup", "keys")} == dict.fromkeys(
        ("registration", "backup", "keys"), "pass"
    )
    back = play(tmp_path, endpoints=[etcd.url], absent=["registration_mode", "tls_protocols"]).ok()
    assert [change["after"] for change in back.result(TASK)["plan"]] == [None, None]
    private = certificates.text("server.key").splitlines()[1]
    for run in (audited, predicted, done, again):
        assert leaks([private, *asked["keys"].values()], run.output) == []
        assert "v1-end-of-life" in run.output or "gets corrections" in run.output


def test_the_module_in_a_process_of_its_own_does_and_says_the_same(etcd: Etcd, certificates: Certificates, tmp_path: Path) -> None:
    canary = f"canary{secrets.token_hex(12)}"
    asked = {
        "endpoints": [etcd.url],
        "tls_certificate": certificates.text("server.crt"),
        "tls_key": certificates.text("server.key"),
        "keys": {"database/password": canary},
        "server_tokens": False,
    }
    looks = [Task("look", "deis_v1_settings", asked, {"check_mode": True, **more}) for more in ({}, AS_MODULE)]
    results, outputs = [], []
    for task in looks:
        run = run_tasks(tmp_path, [task], "-vvv", "--diff").ok()
        results.append({name: value for name, value in run.result("look").items() if name not in ("invocation", "_ansible_no_log")})
        outputs.append(run.output)
    assert results[0]["plan"] == results[1]["plan"]
    assert statuses(results[0]) == statuses(results[1])
    done = run_tasks(tmp_path, [Task("write", "deis_v1_settings", asked, AS_MODULE)], "-vvv", "--diff").ok()
    assert etcd.value("/deis/database/password") == canary
    private = certificates.text("server.key").splitlines()[1]
    assert leaks([canary, private], "".join([*outputs, done.output])) == []


def test_a_refusal_fails_the_play_and_an_audit_tells_it(etcd: Etcd, tmp_path: Path) -> None:
    failed = play(tmp_path, endpoints=[etcd.url])
    assert (failed.status, "lets nobody in as the first one" in failed.output) == (2, True)
    audited = play(tmp_path, endpoints=[etcd.url], mode="audit").ok()
    assert statuses(dict(audited.result(TASK)))["registration"] == "fail"
