"""What happens to one platform when every module is run on it in every case: told once, asked by many tests.

Each case is looked at in check mode, carried out, and carried out again: the first ones, the hardening, on both paths (inside the Ansible worker by the
action plugin, and as a module in a process of its own), the later ones on one of them, since a process costs seconds. Every module has a user of its own on
each path, so that the audit log says which of them sent what.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Plan, Ref
from tests.contract.audit_log import AuditLog, Request
from tests.contract.canaries import ProcessList, credentials_of, secrets_of
from tests.contract.catalogue import CASES, STEPS, begin, cases_of
from tests.contract.installed import Installed
from tests.contract.playbook import AS_MODULE, Run, Task, run_tasks

PATHS = ("action", "module")
# The path by which the case of each step is carried out.
_REAL = ("action", "module")


def paths_of(step: int) -> tuple[str, ...]:
    """The paths on which the cases of a step are looked at and repeated."""
    return PATHS if step == 0 else PATHS[:1]


@dataclass(frozen=True)
class Outcome:
    """What one module returned on one path, and what its user sent to the server meanwhile."""

    result: Mapping[str, Any]
    requests: tuple[Request, ...]

    @property
    def writes(self) -> list[Request]:
        return [request for request in self.requests if request.writes]


Outcomes = dict[tuple[str, str], Outcome]  # by module and path


@dataclass
class Step:
    """One case of every module: looked at, carried out, carried out again."""

    plans: dict[str, Plan] = field(default_factory=dict)
    before: Mapping[Ref, Mapping[str, Any]] = field(default_factory=dict)
    after: Mapping[Ref, Mapping[str, Any]] = field(default_factory=dict)
    checked: Outcomes = field(default_factory=dict)
    carried_out: dict[str, Outcome] = field(default_factory=dict)
    again: Outcomes = field(default_factory=dict)


@dataclass
class Story:
    """Everything that happened."""

    platform: Installed
    steps: list[Step] = field(default_factory=list)
    by_module: dict[str, Outcome] = field(default_factory=dict)  # the first cases, carried out by the other path; on one platform only
    runs: list[Run] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)
    processes: str = ""

    def outcomes(self, module: str) -> Iterable[Outcome]:
        """Every outcome of one module."""
        for step in self.steps:
            for outcomes in (step.checked, step.again):
                yield from (outcome for (name, _path), outcome in outcomes.items() if name == module)
            yield from (outcome for name, outcome in step.carried_out.items() if name == module)


class Teller:
    """Runs the plays of a story."""

    def __init__(self, platform: Installed, folder: Path) -> None:
        self._platform = platform
        self._folder = folder
        self._users = {(module, path): self._user(module, path) for module in CASES for path in PATHS}
        self.story = Story(platform)

    def _user(self, module: str, path: str) -> tuple[str, dict[str, Any]]:
        name = f"{module.replace('_', '-')}-{path}"
        return self._platform.certificate_user(name) if path == "action" else self._platform.account(name)

    def tell(self, both_ways: bool) -> Story:
        """Run everything; with ``both_ways`` the first cases are carried out by the other path as well, from the same beginning."""
        story = self.story
        story.secrets = secrets_of(self._platform).union(*(credentials_of(kubeconfig) for _name, kubeconfig in self._users.values()))
        with ProcessList() as processes:
            for number in range(STEPS):
                story.steps.append(self._step(number))
            if both_ways:
                self._platform.restore()
                story.by_module = self._carried_out(0, "module")
        story.processes = processes.text()
        return story

    def _step(self, number: int) -> Step:
        step, platform = Step(), self._platform
        for module, (_case, options) in cases_of(number).items():
            job = begin(module, platform.options(**options))
            step.plans[module] = job.plan(job.observe())
        step.checked = self._play(number, paths_of(number), "--check", "--diff")
        step.before = platform.documents()
        step.carried_out = self._carried_out(number, _REAL[number])
        step.after = platform.documents()
        step.again = self._play(number, paths_of(number), "--diff")
        return step

    def _carried_out(self, number: int, path: str) -> dict[str, Outcome]:
        return {module: outcome for (module, _path), outcome in self._play(number, [path], "--diff").items()}

    def _play(self, number: int, paths: Iterable[str], *arguments: str) -> Outcomes:
        """Run the cases of one step in one play, on each of the paths."""
        wanted = [(module, path, options) for module, (_case, options) in cases_of(number).items() for path in paths]
        tasks = [
            Task(
                f"{module} {path}",
                module,
                {**options, "kubeconfig": self._users[module, path][1], "namespace": self._platform.namespace},
                AS_MODULE if path == "module" else {},
            )
            for module, path, options in wanted
        ]
        log = AuditLog(self._platform.cluster.audit_log)
        run = run_tasks(self._folder, tasks, "-vvvv", *arguments).ok()
        self.story.runs.append(run)
        return {(module, path): Outcome(run.result(f"{module} {path}"), tuple(log.requests(self._users[module, path][0]))) for module, path, _options in wanted}
