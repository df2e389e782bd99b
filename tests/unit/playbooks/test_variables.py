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


BAD: dict[str, tuple[Any, list[str]]] = {
    # a wrong choice: the field, the value, the choices
    "harden_platform": ("openshift", ["openshift", "deis, drycc-1.8, drycc-head, hephy"]),
    "registration_setting": ("admin-only", ["admin-only", "admin_only, disabled, enabled"]),
    "router_spread": (["soft"], ["['soft']", "soft, hard, none"]),
    # a wrong type: the field, the value, the type
    "registration_wait_timeout": ("5m", ["5m", "int"]),
    "preflight_require_health": ("perhaps", ["perhaps", "bool"]),
    # a wrong name: the name, and the right one
    "harden_mdoe": ("audit", ["harden_mdoe: no such variable", "harden_mode"]),
    "router_replica": (3, ["router_replica: no such variable", "router_replicas"]),
}


def refused(home: pathlib.Path, variables: dict[str, Any], *options: str, playbook: str = "harden.yml") -> str:
    """Run a playbook that has to stop before it looks at a cluster. Returns its output."""
    status, output = play(home, variables, *options, playbook=playbook)
    assert status == 2, output
    assert FIRST_LOOK not in output
    assert "Traceback" not in output
    return output


def test_bad_variables_stop_before_anything_is_touched_and_are_told_all_at_once(home: pathlib.Path) -> None:
    output = refused(home, {name: value for name, (value, _words) in BAD.items()})
    missing = [word for name, (_value, words) in BAD.items() for word in (name, *words) if word not in output]
    assert not missing, f"{missing} not in:\n{output}"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"harden_mode": "audti"}, ["harden_mode", "audti", "audit, enforce"]),
        ({"harden_mode": ""}, ["harden_mode", "audit, enforce"]),
        ({"harden_mdoe": "audit"}, ["harden_mdoe: no such variable", "harden_mode"]),
        ({"router_replicas": 0}, ["router_replicas is 0", "1 or more"]),
        ({"harden_hosts": "prodcution"}, ["harden_hosts is prodcution", "inventory"]),
        ({"harden_move": ["database"]}, ["database_server"]),
        ({"harden_move": ["database"], "database_server": "db", "database_prot": 5433}, ["database_prot: no such variable", "database_port"]),
        ({"harden_move": ["object_storage"]}, ["object_storage_endpoint", "object_storage_buckets", "object_store"]),
        ({"harden_move": ["storage"]}, ["harden_move", "storage", "object_storage, database, registry, metrics"]),
    ],
    ids=["choice", "empty", "typing error", "number", "no host", "no target", "typing error in a move", "no store", "no such move"],
)
def test_one_bad_variable_is_enough(home: pathlib.Path, variables: dict[str, Any], words: list[str]) -> None:
    output = refused(home, variables)
    assert [word for word in words if word not in output] == [], output


@pytest.mark.parametrize("options", [("--tags", "router"), ("--tags", "registration", "--check", "--diff"), ("--skip-tags", "router")], ids=" ".join)
def test_the_check_cannot_be_left_out_by_tags(home: pathlib.Path, options: tuple[str, ...]) -> None:
    assert "router_spread" in refused(home, {"router_spread": "harder"}, *options)


@pytest.mark.parametrize("name", ["harden_mode", "registration_mode", "router_mode", "load_balancer_mode", "host_baseline_mode"])
def test_an_audit_cannot_be_told_to_enforce(home: pathlib.Path, name: str) -> None:
    output = refused(home, {name: "enforce"}, playbook="audit.yml")
    assert f"{name} is enforce: an audit never enforces" in output


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
    "harden_move": [],
    # Variables of somebody else's are nobody's business, nor are those of a move that is not asked for.
    "database_server": "the inventory's own",
    "database_url": "the inventory's own",
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
    plays = yaml.safe_load((PLAYBOOKS / "harden.yml").read_text())
    (work,) = plays[-1]["tasks"]
    roles = sorted(task["ansible.builtin.import_role"]["name"].rpartition(".")[2] for task in work["block"] if "ansible.builtin.import_role" in task)
    hosts, backups, keepers, first = (
        {entry["role"].rpartition(".")[2] for play in yaml.safe_load((PLAYBOOKS / name).read_text()) for entry in play.get("roles", ())}
        for name in ("hosts.yml", "backup.yml", "backup_host.yml", "deis_v1.yml")
    )
    assert sorted({*roles, *hosts, *backups, *keepers, *first}) == sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
    assert not (hosts | backups) & set(roles)
    ((first, check),) = [
        (number, task) for number, entry in enumerate(plays) for task in entry.get("tasks", ()) if task["name"].startswith("Check every variable")
    ]
    assert not any("roles" in entry or "ansible.builtin.import_playbook" in entry for entry in plays[:first]), "something runs before the check"
    assert sorted(check["vars"]["__harden_specs"]) == sorted(["harden", *roles])
    for role in roles:
        assert f"/{role}/meta/argument_specs.yml" in check["vars"]["__harden_specs"][role]


def test_the_sample_of_good_variables_is_complete() -> None:
    harden = yaml.safe_load((PLAYBOOKS / "harden.meta.yml").read_text())["argument_specs"]["harden"]["options"]
    # Those of the moves are checked when a move is asked for.
    known = set(harden) | {name for role in ("preflight", "registration", "router") for name in specs_of(role)}
    assert known - set(GOOD) == {"harden_kubeconfig", "harden_namespace"}
