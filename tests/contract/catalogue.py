"""Every module of the collection, and the options under which the contracts are tried: found by listing, so that a new module cannot be forgotten."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.paas.hardening.plugins.module_utils._core.run import Job, Verb
from tests.quality.checkout import ROOT

_PLUGINS = "ansible_collections.paas.hardening.plugins"

# For each module its cases in the order in which they are tried on a platform: the hardening first, on the platform as it was installed, then the roll back.
CASES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "workflow_info": {"look": {}},
    "workflow_registration": {"harden": {"mode": "admin_only"}, "roll-back": {"mode": "enabled"}},
    "workflow_router_scale": {"harden": {"replicas": 2}, "roll-back": {"replicas": 1, "spread": "none", "disruption_budget": False}},
}
# Modules that move data between servers: their contracts are told in tests/moves, on one platform, since each move takes the better part of a minute.
MOVES = frozenset({"workflow_database", "workflow_metrics", "workflow_object_storage", "workflow_registry"})
STEPS = max(map(len, CASES.values()))
# Those for which the second case does not lead back to where the first one began: what is left of it does no harm, and its module says so.
LOOKS_ONLY = frozenset({"workflow_info"})


def modules() -> list[str]:
    """The names of all modules that work on a platform in a cluster."""
    return sorted(path.stem for path in ROOT.glob("plugins/modules/*.py") if "paas.hardening.cluster" in path.read_text())


def cases() -> Iterator[tuple[str, str, int]]:
    """Yield (module, case, step) for every case; a module that has none yields one that no test can pass."""
    for module in [name for name in modules() if name not in MOVES]:
        for step, case in enumerate(CASES.get(module, {"no case in tests/contract/catalogue.py": {}})):
            yield module, case, step


def cases_of(step: int) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """The modules that have a case for this step, with the case's name and options."""
    return {module: list(named.items())[step] for module, named in CASES.items() if step < len(named)}


def verb_of(module: str) -> Verb:
    """The verb that the module and its action plugin run."""
    verb: Verb = importlib.import_module(f"{_PLUGINS}.action.{module}").ActionModule.verb
    return verb


def begin(module: str, options: Mapping[str, Any]) -> Job:
    """Begin the module's work in this process, with its own defaults under the given options."""
    return verb_of(module).begin(parameters(module, options))


def parameters(module: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as the module gets them: checked, converted, with defaults. Raises AssertionError for options that it refuses."""
    validation = ArgumentSpecValidator(verb_of(module).arguments).validate(dict(options))
    assert not validation.error_messages, validation.error_messages
    checked: dict[str, Any] = validation.validated_parameters
    return checked


@functools.cache
def documented(module: str) -> Mapping[str, Any]:
    """What RETURN says of the module's result."""
    text: str = importlib.import_module(f"{_PLUGINS}.modules.{module}").RETURN
    returned: Mapping[str, Any] = yaml.safe_load(text)
    return returned
