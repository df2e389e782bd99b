"""What roles, playbooks, modules and action plugins say about their options is one and the same."""

from __future__ import annotations

import ast
import importlib
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS

ROOT = pathlib.Path(__file__).resolve().parents[3]
PLUGINS = "ansible_collections.paas.hardening.plugins"
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
# Those of a platform in a cluster share the options of the connection; those for hosts run there, whatever the target.
HOST_MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("host_*.py"))
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py") if path.stem not in HOST_MODULES)
IN_A_CLUSTER = [module for module in MODULES if "paas.hardening.cluster" in (ROOT / "plugins/modules" / f"{module}.py").read_text()]


def read(path: pathlib.Path) -> Any:
    return yaml.safe_load(path.read_text())


def specification(role: str) -> dict[str, Any]:
    options: dict[str, Any] = read(ROOT / "roles" / role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    return options


def defaults(role: str) -> dict[str, Any]:
    return read(ROOT / "roles" / role / "defaults/main.yml") or {}


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_specification_agree(role: str) -> None:
    stated = {name: option["default"] for name, option in specification(role).items() if "default" in option}
    assert defaults(role) == stated
    # In the same order, so that a reader finds one from the other.
    assert list(defaults(role)) == list(stated)


@pytest.mark.parametrize("role", ROLES)
def test_names_begin_with_the_role(role: str) -> None:
    assert [name for name in specification(role) if not name.startswith(f"{role}_")] == []


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_is_described_and_typed(role: str) -> None:
    for name, option in specification(role).items():
        assert option["description"], name
        assert option["type"] in ("str", "int", "bool", "list", "dict", "path"), name
        assert "default" not in option or option["default"] in option.get("choices", [option["default"]]), name


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_is_used_and_every_used_one_is_known(role: str) -> None:
    text = "\n".join(path.read_text() for folder in ("tasks", "vars") for path in sorted((ROOT / "roles" / role / folder).glob("*.yml")))
    used = set(re.findall(rf"(?<![\w.]){role}_\w+", text))
    assert used - set(specification(role)) == set()
    assert set(specification(role)) - used == set()


def tasks(role: str) -> Iterator[dict[str, Any]]:
    """The tasks of a role, each block before what is in it."""
    for path in sorted((ROOT / "roles" / role / "tasks").glob("*.yml")):
        for task in read(path):
            yield task
            yield from task.get("block", ())


@pytest.mark.parametrize("role", ROLES)
def test_roles_give_the_modules_only_options_that_they_have(role: str) -> None:
    for task in tasks(role):
        for name, options in task.items():
            if name.startswith("paas.hardening.workflow_"):
                assert set(options or {}) <= set(arguments(name.rpartition(".")[2])), task["name"]


def test_choices_of_a_role_are_those_of_its_module() -> None:
    registration, router = arguments("workflow_registration"), arguments("workflow_router_scale")
    assert specification("registration")["registration_setting"]["choices"] == registration["mode"]["choices"]
    assert specification("registration")["registration_setting"]["default"] == registration["mode"]["default"]
    for name in ("spread", "one_per_node", "maximum", "disruption_budget", "replicas", "wait_timeout"):
        told, meant = specification("router")[f"router_{name}"], router[name]
        assert {key: told.get(key) for key in ("type", "choices", "default")} == {key: meant.get(key) for key in ("type", "choices", "default")}, name


# What a server of the inventory gives, where it is not said.
FROM_INVENTORY = {"database": {"server", "port", "sslmode"}}


@pytest.mark.parametrize("role", ["object_storage", "database", "registry", "metrics"])
def test_a_role_that_moves_has_every_option_of_its_module(role: str) -> None:
    told, meant = specification(role), arguments(f"workflow_{role}")
    own = {name for name in meant if f"{role}_{name}" in told}
    # The connection, and what a role decides by its mode.
    shared = set(arguments("workflow_info")) | {"probe", "durability", "on_refusal"}
    assert set(meant) - own - shared == set()
    for name in own:
        keys = ("type", "choices") if name in FROM_INVENTORY.get(role, ()) else ("type", "choices", "default", "required")
        expected = {key: meant[name].get(key) for key in keys}
        assert {key: told[f"{role}_{name}"].get(key) for key in expected} == expected, name
        assert bool(told[f"{role}_{name}"].get("no_log")) == bool(meant[name].get("no_log")), name


def test_platforms_of_the_playbook_and_of_the_modules_are_those_of_the_tables() -> None:
    harden = read(ROOT / "playbooks/harden.meta.yml")["argument_specs"]["harden"]["options"]
    assert harden["harden_platform"]["choices"] == sorted(PLATFORMS)
    for module in IN_A_CLUSTER:
        assert arguments(module)["platform"]["choices"] == sorted(PLATFORMS)


@pytest.mark.parametrize("name", ["restore", "restore_drill"])
def test_a_playbook_of_one_module_reaches_all_of_its_options(name: str) -> None:
    (play,) = read(ROOT / f"playbooks/{name}.yml")
    known = read(ROOT / f"playbooks/{name}.meta.yml")["argument_specs"][name]["options"]
    (given,) = [task[f"paas.hardening.workflow_{name}"] for task in play["tasks"] if f"paas.hardening.workflow_{name}" in task]
    options = set(documentation(f"workflow_{name}"))
    assert set(given) == options
    assert {f"{name}_{option}" for option in options} <= set(known)


def arguments(module: str) -> dict[str, Any]:
    """The argument specification that the module and its action plugin really use."""
    plugin = importlib.import_module(f"{PLUGINS}.action.{module}")
    known: dict[str, Any] = plugin.ActionModule.verb.arguments
    return known


def documentation(module: str) -> dict[str, Any]:
    """The documented options of a module, those of its fragments with them."""
    document = yaml.safe_load(constant(ROOT / "plugins/modules" / f"{module}.py", "DOCUMENTATION"))
    options: dict[str, Any] = {}
    for fragment in document["extends_documentation_fragment"]:
        # NAMESPACE.COLLECTION.FILE, and after it the part of the file where that is not its first.
        file, part = [*fragment.split(".")[2:], "documentation"][:2]
        known = importlib.import_module(f"{PLUGINS}.doc_fragments.{file}").ModuleDocFragment
        options |= yaml.safe_load(getattr(known, part.upper())).get("options") or {}
    return options | (document.get("options") or {})


def constant(path: pathlib.Path, name: str) -> str:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id == name for target in node.targets):
            return str(ast.literal_eval(node.value))
    raise AssertionError(f"{path} has no {name}")


def meaning(options: dict[str, Any], nested: str) -> dict[str, Any]:
    """What counts of options, whether they are documented or specified."""
    return {
        name: {
            **{key: option.get(key) for key in ("choices", "default", "elements", "aliases")},
            "type": option.get("type", "str"),
            "required": option.get("required", False),
            "inside": meaning(option[nested], nested) if nested in option else None,
        }
        for name, option in options.items()
    }


@pytest.mark.parametrize("module", MODULES)
def test_documentation_and_specification_agree(module: str) -> None:
    assert meaning(documentation(module), "suboptions") == meaning(arguments(module), "options")


@pytest.mark.parametrize("module", MODULES)
def test_each_module_runs_the_verb_of_its_action_plugin(module: str) -> None:
    """The same expression stands in both files, so that both ways run the same."""

    def verb(folder: str) -> str:
        text = (ROOT / "plugins" / folder / f"{module}.py").read_text()
        found = re.search(r"(?:    run_module\((.*)\)|    verb = (.*))$", text, re.MULTILINE)
        assert found, folder
        imported = [line for line in text.splitlines() if re.search(r"import .*\b(VERB|CONTROL|\w+Control|verified_backup)$", line)]
        assert imported, folder
        return f"{imported}: {found[1] or found[2]}"

    assert verb("modules") == verb("action")


def test_each_module_has_an_action_plugin_and_is_in_the_group() -> None:
    assert sorted(path.stem for path in (ROOT / "plugins/action").glob("*.py") if path.stem not in HOST_MODULES) == MODULES
    assert read(ROOT / "meta/runtime.yml")["action_groups"]["workflow"] == IN_A_CLUSTER


@pytest.mark.parametrize("module", MODULES)
def test_examples_use_only_options_that_there_are(module: str) -> None:
    examples = yaml.safe_load(constant(ROOT / "plugins/modules" / f"{module}.py", "EXAMPLES"))
    used = [set(task[f"paas.hardening.{module}"] or {}) for task in examples if f"paas.hardening.{module}" in task]
    assert used
    assert set().union(*used) - set(arguments(module)) == set()


@pytest.mark.parametrize("module", MODULES)
def test_secrets_are_marked(module: str) -> None:
    """Whatever sounds like a secret has no_log decided, one way or the other."""
    for name, option in arguments(module).items():
        if re.search(r"key|password|token|secret|auth", name):
            assert "no_log" in option, name
    for name in {"api_key", "password", "secret_key"} & set(arguments(module)):
        assert arguments(module)[name]["no_log"] is True
