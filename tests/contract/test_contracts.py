"""The contracts that every module keeps on every platform, in every case, on both of its paths."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Ref
from tests.contract import catalogue
from tests.contract.canaries import files_with, leaks
from tests.contract.documented import differences
from tests.contract.prediction import canonical, predicted
from tests.contract.story import Outcome, Story, paths_of

every_case = pytest.mark.parametrize(("module", "step"), [pytest.param(module, step, id=f"{module}-{case}") for module, case, step in catalogue.cases()])
every_path = pytest.mark.parametrize(
    ("module", "step", "path"),
    [pytest.param(module, step, path, id=f"{module}-{case}-{path}") for module, case, step in catalogue.cases() for path in paths_of(step)],
)
every_module = pytest.mark.parametrize("module", sorted(catalogue.CASES))

# The pods of a Deployment and of a StatefulSet, by what Kubernetes appends to the name.
_POD = re.compile(r"\b([a-z0-9-]+?)-[a-z0-9]{6,10}-[bcdfghjklmnpqrstvwxz2456789]{5}\b")

# What of a component is the kubelet's word of the moment, and may be another one at the next look.
_OF_THE_MOMENT = ("ready", "health", "reason")


def comparable(result: Mapping[str, Any]) -> dict[str, Any]:
    """The result without what may differ from run to run: the arguments in Ansible's own form, the time, how components are, and the names of pods."""
    kept = {key: _without_pods(value) for key, value in result.items() if key not in ("invocation", "waited")}
    if "components" in kept:
        kept["components"] = [{key: value for key, value in entry.items() if key not in _OF_THE_MOMENT} for entry in kept["components"]]
    return {key: sorted(value, key=str) if key == "checks" else value for key, value in kept.items()}


def _without_pods(value: Any) -> Any:
    if isinstance(value, Mapping):
        return comparable(value)
    if isinstance(value, list):
        return [_without_pods(item) for item in value]
    return _POD.sub(r"\1-POD", value) if isinstance(value, str) else value


def predictable(changes: list[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """The changes without pods that a rollout of this very run left together on one node: nobody knows before where the scheduler will put them."""
    return [change for change in changes if not change[name].startswith("Pod ")]


def address(ref: Ref) -> tuple[str, str, str]:
    """The object as the audit log names it."""
    kind = KINDS[ref.kind]
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural, ref.namespace, ref.name


@every_path
def test_check_mode_writes_nothing(story: Story, module: str, step: int, path: str) -> None:
    outcome = story.steps[step].checked[module, path]
    assert outcome.requests, "the audit log has no request of this user: it proves nothing"
    assert not outcome.writes


@every_path
def test_check_mode_says_what_the_run_then_does(story: Story, module: str, step: int, path: str) -> None:
    said, done = story.steps[step].checked[module, path].result, story.steps[step].carried_out[module].result
    assert said["plan"] == predictable(done["plan"], "object")
    assert said["changed"] == done["changed"]
    assert said["diff"] == predictable(done["diff"], "before_header")
    assert said["changed"] == bool(said["plan"])
    # A case that changes nothing would prove nothing here.
    assert said["changed"] or module in catalogue.LOOKS_ONLY


@pytest.mark.parametrize("step", range(catalogue.STEPS))
def test_objects_are_then_as_the_plan_predicted(story: Story, step: int) -> None:
    told = story.steps[step]
    expected = dict(told.before)
    for plan in told.plans.values():
        expected = predicted(expected, plan)
    assert told.after.keys() == expected.keys()
    wrong = [ref for ref, document in told.after.items() if canonical(document) != canonical(expected[ref])]
    assert not wrong, "\n".join(f"{canonical(expected[ref])}\nbut it is\n{canonical(told.after[ref])}" for ref in wrong)


@every_case
def test_one_write_for_each_object_that_changes(story: Story, module: str, step: int) -> None:
    told = story.steps[step]
    written = Counter(
        (request.resource, request.namespace, request.name) for request in told.carried_out[module].writes if request.stored and request.resource != "pods"
    )
    assert written == Counter({address(ref): 1 for ref, _changes in told.plans[module].by_object()})


@every_path
def test_second_run_changes_and_writes_nothing(story: Story, module: str, step: int, path: str) -> None:
    outcome = story.steps[step].again[module, path]
    assert outcome.requests
    assert not outcome.writes
    assert not outcome.result["changed"]
    assert outcome.result["plan"] == []


@every_module
def test_action_plugin_and_module_return_the_same(story: Story, module: str) -> None:
    told = story.steps[0]
    pairs: list[tuple[Outcome, Outcome]] = [(outcomes[module, "action"], outcomes[module, "module"]) for outcomes in (told.checked, told.again)]
    pairs += [(told.carried_out[module], story.by_module[module])] if story.by_module else []
    for action, as_module in pairs:
        assert "invocation" in as_module.result, "this did not run as a module"
        assert "invocation" not in action.result, "this did not run inside the worker"
        assert comparable(action.result) == comparable(as_module.result)


@every_module
def test_results_are_as_documented(story: Story, module: str) -> None:
    wrong = {line for outcome in story.outcomes(module) for line in differences(outcome.result, catalogue.documented(module))}
    assert not wrong, "\n".join(sorted(wrong))


def test_no_secret_is_seen(story: Story) -> None:
    assert len(story.secrets) > 10, "there is hardly a secret that could be seen"
    for run in story.runs:
        assert not leaks(story.secrets, run.output)
        assert not leaks(story.secrets, str(run.records))
        assert not files_with(story.secrets, run.temporary)
        assert not [path for path in run.temporary.rglob("*") if path.is_file()], "files are left behind"
    assert "ansible-playbook" in story.processes
    assert not leaks(story.secrets, story.processes)


def test_every_module_has_its_cases() -> None:
    assert sorted([*catalogue.CASES, *catalogue.MOVES]) == catalogue.modules()
