"""What the roles, the playbook and the modules for hosts say about their options is one and the same."""

from __future__ import annotations

import importlib
import pathlib
from typing import Any

import pytest
import yaml

from tests.unit.playbooks.test_roles import HOST_MODULES, ROLES, constant, defaults, documentation, meaning, specification, tasks

ROOT = pathlib.Path(__file__).resolve().parents[3]
PLUGINS = "ansible_collections.paas.hardening.plugins"


def arguments(module: str) -> dict[str, Any]:
    known: dict[str, Any] = importlib.import_module(f"{PLUGINS}.module_utils._controls.{module}").VERB.arguments
    return known


@pytest.mark.parametrize("module", HOST_MODULES)
def test_documentation_and_specification_agree(module: str) -> None:
    assert meaning(documentation(module), "suboptions") == meaning(arguments(module), "options")


@pytest.mark.parametrize("module", HOST_MODULES)
def test_examples_use_only_options_that_there_are(module: str) -> None:
    examples = yaml.safe_load(constant(ROOT / "plugins/modules" / f"{module}.py", "EXAMPLES"))
    used = [set(task[f"paas.hardening.{module}"]) for task in examples]
    assert used
    assert set().union(*used) - set(arguments(module)) == set()


def test_the_roles_give_the_modules_only_options_that_they_have() -> None:
    roles = yaml.safe_load((ROOT / "playbooks/hosts.yml").read_text())
    given = [task for play in roles for entry in play["roles"] for task in tasks(entry["role"].rpartition(".")[2])]
    (_judge, switch, _rejoin) = yaml.safe_load((ROOT / "playbooks/postgres_switchover.yml").read_text())
    given += [task for block in switch["tasks"] for task in [*block["block"], *block["rescue"]]]
    used: dict[str, set[str]] = {}
    for task in given:
        for name, options in task.items():
            if name.startswith("paas.hardening.host_"):
                used.setdefault(name, set()).update(options)
            elif name == "module_defaults":
                for module, shared in options.items():
                    used.setdefault(module, set()).update(shared)
    assert sorted(used) == sorted(f"paas.hardening.{module}" for module in HOST_MODULES)
    for name, options in used.items():
        assert options <= set(arguments(name.rpartition(".")[2]))


def test_defaults_of_the_role_are_those_of_the_module() -> None:
    for name in ("address_variable", "rollback_after", "allow_lockout"):
        assert defaults("firewall")[f"firewall_{name}"] == arguments("host_firewall")[name]["default"]
        assert specification("firewall")[f"firewall_{name}"]["type"] == arguments("host_firewall")[name]["type"]


def test_the_role_of_postgresql_has_every_option_of_its_module() -> None:
    told, meant = specification("postgres_server"), arguments("host_postgres")
    # What the inventory says anyway, and what a role decides by its mode.
    for name in set(meant) - {"on_refusal", "peers", "primary", "rejoin_by", "step", "version"}:
        expected = {key: meant[name].get(key) for key in ("type", "choices")}
        assert {key: told[f"postgres_server_{name}"].get(key) for key in expected} == expected, name
        assert told[f"postgres_server_{name}"]["default"] == meant[name].get("default", {} if meant[name]["type"] == "dict" else []), name
        assert bool(told[f"postgres_server_{name}"].get("no_log")) == bool(meant[name].get("no_log")), name


def test_the_standard_rules_name_only_groups_that_an_inventory_may_lack() -> None:
    """Or the role would fail on an inventory that has nothing of the kind."""
    rules = importlib.import_module(f"{PLUGINS}.module_utils._host.firewall.rules")
    named = {name for rule in defaults("firewall")["firewall_rules"] for name in [*rule["from"], *rule["to"]]}
    assert named - {rules.ANYWHERE} == set(rules.KNOWN_GROUPS)
    document = constant(ROOT / "plugins/modules/host_firewall.py", "DOCUMENTATION")
    assert [group for group in rules.KNOWN_GROUPS if f"V({group})" not in document] == []


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "docs").glob("inventory-*.yml")))
def test_an_example_inventory_has_groups_that_the_rules_know_and_variables_that_the_roles_have(name: str) -> None:
    rules = importlib.import_module(f"{PLUGINS}.module_utils._host.firewall.rules")
    inventory = yaml.safe_load((ROOT / "docs" / name).read_text())["all"]
    assert set(inventory["children"]) <= set(rules.KNOWN_GROUPS)
    known = {variable for role in ROLES for variable in specification(role)}
    given = {variable for group in [inventory, *inventory["children"].values()] for variable in group.get("vars", {})}
    assert {variable for variable in given if not variable.startswith("ansible_")} - known == set()
    for listener in inventory["children"].get("load_balancer", {}).get("vars", {}).get("load_balancer_listeners", []):
        assert set(listener) <= set(arguments("host_load_balancer")["listeners"]["options"])


def test_the_role_of_the_load_balancer_has_every_option_of_its_module() -> None:
    told, meant = specification("load_balancer"), arguments("host_load_balancer")
    # What the inventory says anyway, and what a role decides by its mode.
    for name in set(meant) - {"address", "name", "on_refusal", "peers", "priority"}:
        expected = {key: meant[name].get(key) for key in ("type", "choices")}
        assert {key: told[f"load_balancer_{name}"].get(key) for key in expected} == expected, name
        assert name == "listeners" or told[f"load_balancer_{name}"]["default"] == meant[name].get("default", []), name
        assert bool(told[f"load_balancer_{name}"].get("no_log")) == bool(meant[name].get("no_log")), name
    for listener in defaults("load_balancer")["load_balancer_listeners"]:
        assert set(listener) <= set(meant["listeners"]["options"])
