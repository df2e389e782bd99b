"""What happens to one platform when every module is run on it in every case: told once, asked by many tests.

Each case is looked at in check mode, carried out, and carried out again; check mode and the second run by both paths: inside the Ansible worker (the action
plugin), and as a module in a process of its own. Every module has a user of its own on each path, so that the audit log says which of them sent what.
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
# By which path each step is carried out, so that both are.
_REAL = ("action", "module")


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
    by_module: dict[str, Outcome] = field(default_factory=dict)  # the first step, carried out by the other path
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

    def tell(self) -> Story:
        """Run everything; the platform is afterwards as it was before."""
        story = self.story
        story.secrets = secrets_of(self._platform).union(*(credentials_of(kubeconfig) for _name, kubeconfig in self._users.values()))
        with ProcessList() as processes:
            for number in range(STEPS):
                story.steps.append(self._step(number))
            self._platform.restore()
            story.by_module = {module: outcome for (module, _path), outcome in self._play(0, ["module"]).items()}
        story.processes = processes.text()
        self._platform.restore()
        return story

    def _step(self, number: int) -> Step:
        step, platform = Step(), self._platform
        for module, (_case, options) in cases_of(number).items():
            job = begin(module, platform.options(**options))
            step.plans[module] = job.plan(job.observe())
        step.checked = self._play(number, PATHS, "--check", "--diff")
        step.before = platform.documents()
        step.carried_out = {module: outcome for (module, _path), outcome in self._play(number, [_REAL[number]], "--diff").items()}
        step.after = platform.documents()
        step.again = self._play(number, PATHS, "--diff")
        return step

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
        import time; b=time.monotonic(); run = run_tasks(self._folder, tasks, "-vvvv", *arguments).ok(); print("PLAY", number, paths, arguments, round(time.monotonic()-b,1), {t.name: run.result(t.name).get("waited") for t in tasks})
        self.story.runs.append(run)
        return {
            (module, path): Outcome(run.result(f"{module} {path}"), tuple(log.requests(self._users[module, path][0]))) for module, path, _options in wanted
        }
