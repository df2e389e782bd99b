"""The Job that moves the data: what its pod may do, what it is not told, and what its end says about its image."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.store_job import LABELS, _lacking, job_of

PARAMS: dict[str, Any] = {"job_image": "rclone/rclone:1", "job_pull_secrets": [], "job_node_selector": None, "job_resources": None}
NEAR = {"imagePullSecrets": [{"name": "theirs"}], "nodeSelector": {"zone": "a"}, "tolerations": [{"operator": "Exists"}], "serviceAccountName": "deis-minio"}


def pod_of(near: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
    spec: dict[str, Any] = job_of("deis", {**PARAMS, **params}, near or {})["spec"]["template"]["spec"]
    return spec


def test_its_pod_fulfils_the_level_restricted_and_has_no_account() -> None:
    pod = pod_of(NEAR)
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert not pod["automountServiceAccountToken"]
    assert "serviceAccountName" not in pod
    assert {"hostNetwork", "hostPID", "hostIPC"}.isdisjoint(pod)
    assert container["resources"]["limits"].keys() == {"cpu", "memory"}


def test_it_ends_by_itself() -> None:
    job = job_of("deis", PARAMS, {})
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["activeDeadlineSeconds"] > 0
    assert job["spec"]["ttlSecondsAfterFinished"] > 0
    assert job["metadata"]["labels"] == job["spec"]["template"]["metadata"]["labels"] == LABELS


def test_it_runs_where_the_bundled_store_may_unless_something_else_is_said() -> None:
    assert {name: pod_of(NEAR)[name] for name in ("imagePullSecrets", "nodeSelector", "tolerations")} == {
        name: NEAR[name] for name in ("imagePullSecrets", "nodeSelector", "tolerations")
    }
    mine = pod_of(NEAR, job_pull_secrets=["mine"], job_node_selector={"fast": True, "zone": 1}, job_resources={"limits": {"cpu": 1}})
    assert mine["imagePullSecrets"] == [{"name": "mine"}]
    assert mine["nodeSelector"] == {"fast": "true", "zone": "1"}
    assert mine["tolerations"] == NEAR["tolerations"]
    assert mine["containers"][0]["resources"] == {"limits": {"cpu": 1}}


def ended(code: int, message: str, reason: str = "Error") -> dict[str, Any]:
    return {"status": {"containerStatuses": [{"state": {"terminated": {"exitCode": code, "message": message, "reason": reason}}}]}}


@pytest.mark.parametrize(
    ("pod", "found"),
    [
        (ended(64, "rclone\n"), ("rclone", "")),
        (ended(64, "dd with iflag=fullblock\n"), ("dd with iflag=fullblock", "")),
        (ended(64, "timeout with seconds first\n"), ("timeout with seconds first", "")),
        # Any other text of a container can hold anything.
        (ended(64, "PASSWORD=hunter2"), ("", "Error (exit code 64)")),
        (ended(1, "rclone"), ("", "Error (exit code 1)")),
        (ended(128, 'exec: "sh": executable file not found in $PATH', "StartError"), ("", "StartError (exit code 128)")),
        ({"status": {"phase": "Pending"}}, ("", "")),
        ({}, ("", "")),
    ],
)
def test_what_the_end_of_its_pod_says(pod: dict[str, Any], found: tuple[str, str]) -> None:
    assert _lacking(pod) == found


def wait(tmp_path: Path, path: str, log: Path) -> subprocess.CompletedProcess[str]:
    """Run what the pod does while it waits, in a real shell with these programs in its path."""
    (container,) = pod_of()["containers"]
    shell, option, script = container["command"]
    env = {entry["name"]: entry["value"] for entry in container["env"]} | {"PATH": path, "PAAS_FOLDER": str(tmp_path)}
    command = [f"/bin/{shell}", option, script.replace("/dev/termination-log", str(log)).replace("sleep 30", "sleep 0.2")]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=10, check=False)


def test_the_pod_says_what_its_image_lacks(tmp_path: Path) -> None:
    done = wait(tmp_path, os.defpath, tmp_path / "log")
    assert done.returncode == 64
    assert (tmp_path / "log").read_text() == "rclone\n"


def test_the_pod_ends_when_nobody_needs_it(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "rclone").write_text("#!/bin/sh\n")
    (programs / "rclone").chmod(0o755)
    done = wait(tmp_path, f"{programs}:{os.defpath}", tmp_path / "log")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
