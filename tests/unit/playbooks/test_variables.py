"""harden.yml stops on a bad variable before any task looks at a cluster, and says which field, which value, and what would be right.

The real ansible-playbook runs; no cluster is needed, since it never gets that far.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
PLAYBOOKS = ROOT / "playbooks"
FIRST_LOOK = "Find out what runs"


@pytest.fixture
def home(tmp_path: pathlib.Path) -> pathlib.Path:
    """A home without a kubeconfig, so that no test can reach anybody's cluster."""
    return tmp_path


def play(home: pathlib.Path, variables: dict[str, Any], *options: str, playbook: str = "harden.yml") -> tuple[int, str]:
    """Run a playbook with these variables. Returns its exit status and everything it printed, in one line each."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "K8S_AUTH_", "KUBE"))}
    settings = {
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
    }
    program = pathlib.Path(sys.executable).with_name("ansible-playbook")
    answer = subprocess.run(
        [program, PLAYBOOKS / playbook, "--extra-vars", json.dumps(variables), *options],
        env=kept | settings,
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return answer.returncode, answer.stdout


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        # a wrong choice: the field, the value, the choices
        ({"harden_mode": "audti"}, ["harden_mode", "audti", "audit, enforce"]),
        ({"harden_mode": ""}, ["harden_mode", "audit, enforce"]),
        ({"harden_platform": "openshift"}, ["harden_platform", "openshift", "deis, drycc-1.8, drycc-head, hephy"]),
        ({"registration_setting": "admin-only"}, ["registration_setting", "admin-only", "admin_only, disabled, enabled"]),
        ({"router_spread": ["soft"]}, ["router_spread", "['soft']", "soft, hard, none"]),
        # a wrong type: the field, the value, the type
        ({"router_replicas": "two"}, ["router_replicas", "two", "int"]),
        ({"router_replicas": 2.5}, ["router_replicas", "2.5", "int"]),
        ({"registration_wait_timeout": "5m"}, ["registration_wait_timeout", "5m", "int"]),
        ({"registration_require_administrator": "perhaps"}, ["registration_require_administrator", "perhaps", "bool"]),
        ({"preflight_require_health": {"yes": 1}}, ["preflight_require_health", "bool"]),
        # a wrong name: the name, and those that there are
        ({"harden_mdoe": "audit"}, ["harden_mdoe: no such variable", "harden_mode"]),
        ({"router_replica": 3}, ["router_replica: no such variable", "router_replicas"]),
        ({"registration_mode_": "audit"}, ["registration_mode_: no such variable", "registration_mode"]),
        ({"preflight_health": True}, ["preflight_health: no such variable", "preflight_require_health"]),
        # a number that cannot be
        ({"router_replicas": 0}, ["router_replicas", "0", "1 or more"]),
        ({"router_maximum": -1}, ["router_maximum", "-1", "1 or more"]),
        ({"registration_wait_timeout": 0}, ["registration_wait_timeout", "0", "1 or more"]),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_bad_variable_stops_before_anything_is_touched(home: pathlib.Path, variables: dict[str, Any], words: list[str]) -> None:
    status, output = play(home, variables)
    assert status == 2, output
    assert FIRST_LOOK not in output
    missing = [word for word in words if word not in output]
    assert not missing, f"{missing} not in:\n{output}"
    assert "Traceback" not in output


@pytest.mark.parametrize("options", [("--tags", "router"), ("--tags", "registration", "--check", "--diff"), ("--skip-tags", "router")])
def test_the_check_cannot_be_left_out_by_tags(home: pathlib.Path, options: tuple[str, ...]) -> None:
    status, output = play(home, {"router_spread": "harder"}, *options)
    assert status == 2, output
    assert "router_spread" in output
    assert FIRST_LOOK not in output


def test_the_audit_checks_the_same(home: pathlib.Path) -> None:
    status, output = play(home, {"router_spread": "harder"}, playbook="audit.yml")
    assert status == 2, output
    assert "router_spread" in output
    assert FIRST_LOOK not in output


GOOD = {
    "harden_hosts": "localhost",
    "harden_mode": "audit",
    "harden_context": "production",
    "harden_platform": "drycc-1.8",
    "harden_overlay_file": "values.yml",
    "preflight_require_health": "no",
    "registration_mode": "audit",
    "registration_setting": "disabled",
    "registration_require_administrator": False,
    "registration_wait_timeout": "60",
    "router_mode": "enforce",
    "router_replicas": "3",
    "router_one_per_node": True,
    "router_maximum": 7,
    "router_spread": "none",
    "router_disruption_budget": "false",
    "router_wait_timeout": 600,
    # Variables of somebody else's are nobody's business.
    "routers": "mine",
    "my_router_name": "x",
}


@pytest.mark.parametrize("variables", [{}, GOOD], ids=["none", "all"])
def test_good_variables_pass_and_the_cluster_is_asked(home: pathlib.Path, variables: dict[str, Any]) -> None:
    status, output = play(home, variables)
    assert status == 2, output
    assert FIRST_LOOK in output
    assert "kubeconfig" in output, "no cluster is configured, and the message has to say so"
    assert "no such variable" not in output
    assert "Traceback" not in output


def specs_of(role: str) -> dict[str, Any]:
    document = yaml.safe_load((ROOT / "roles" / role / "meta/argument_specs.yml").read_text())
    options: dict[str, Any] = document["argument_specs"]["main"]["options"]
    return options


def test_every_role_that_runs_is_checked() -> None:
    (harden,) = yaml.safe_load((PLAYBOOKS / "harden.yml").read_text())
    roles = [entry["role"].rpartition(".")[2] for entry in harden["roles"]]
    assert sorted(roles) == sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
    checked = {entry["prefix"]: (PLAYBOOKS / entry["file"]).resolve() for entry in harden["vars"]["__harden_specs"]}
    assert checked == {"harden": PLAYBOOKS / "harden.meta.yml", **{role: ROOT / "roles" / role / "meta/argument_specs.yml" for role in roles}}


def test_the_sample_of_good_variables_is_complete() -> None:
    harden = yaml.safe_load((PLAYBOOKS / "harden.meta.yml").read_text())["argument_specs"]["harden"]["options"]
    known = set(harden) | {name for role in ("preflight", "registration", "router") for name in specs_of(role)}
    assert known - set(GOOD) == {"harden_kubeconfig", "harden_namespace"}
