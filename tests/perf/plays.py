"""Plays whose time is taken: contestants that run in turn, in alternating order, as often as there are rounds."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.quality.checkout import ROOT, environment

_SECONDS = 900
_FOREIGN = ("K8S_AUTH_", "KUBECONFIG")
_OWN_ACTIONS = Path(__file__).parent / "action"


@dataclass(frozen=True)
class Took:
    """What one run of a play took: seconds on the clock, and processor seconds of all its processes."""

    wall: float
    processor: float
    changed: int


@dataclass
class Stage:
    """Where plays run: the programs, a folder for their files, the cluster and the platform on it."""

    programs: Path
    folder: Path
    kubeconfig: Path
    platform: str
    namespace: str

    def play(self, name: str, tasks: Sequence[Mapping[str, Any]]) -> Path:
        """Write a play of this machine and return its file."""
        file = self.folder / f"{name}.yml"
        file.write_text(yaml.safe_dump([{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": list(tasks)}], sort_keys=False))
        return file

    def run(self, playbook: Path | str, *arguments: str) -> Took:
        """Run a playbook, a file or one of a collection by name. Raises RuntimeError with its last output when it fails."""
        env = {name: value for name, value in environment(ROOT).items() if not name.startswith(_FOREIGN)}
        env["PATH"] = os.pathsep.join([str(self.programs), env["PATH"]])
        env |= {"ANSIBLE_LOCAL_TEMP": str(self.folder / "local"), "ANSIBLE_REMOTE_TEMP": str(self.folder / "remote"), "ANSIBLE_LOCALHOST_WARNING": "false"}
        env["ANSIBLE_ACTION_PLUGINS"] = str(_OWN_ACTIONS)
        before, begun = _children(), time.monotonic()
        answer = subprocess.run(
            [str(self.programs / "ansible-playbook"), str(playbook), *arguments],
            cwd=self.folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
        wall, processor = time.monotonic() - begun, _children() - before
        if answer.returncode:
            raise RuntimeError(f"{playbook} ended with {answer.returncode}:\n{answer.stdout[-4000:]}")
        return Took(wall, processor, sum(map(int, re.findall(r"\bchanged=(\d+)", answer.stdout))))


@dataclass
class Race:
    """Contestants by name, and what each round took them."""

    contestants: Mapping[str, Callable[[], Took]]
    rounds: list[dict[str, Took]] = field(default_factory=list)

    def run(self, rounds: int, report: Callable[[str], None]) -> Race:
        """Let everyone run in turn, in every second round in reverse order. Caches are to be warm before."""
        for number in range(rounds):
            order = list(self.contestants)[:: -1 if number % 2 else 1]
            taken = {name: self.contestants[name]() for name in order}
            self.rounds.append(taken)
            report("  " + ", ".join(f"{name} {taken[name].wall:.2f} s" for name in self.contestants))
        return self

    def walls(self, name: str, minus: str | None = None, units: int = 1) -> list[float]:
        """Seconds of each round for one unit, less what another contestant took in the same round."""
        return [(taken[name].wall - (taken[minus].wall if minus else 0)) / units for taken in self.rounds]

    def processor(self, name: str, minus: str | None = None) -> list[float]:
        """Processor seconds of each round, less what another contestant took in the same round: other programs of the machine matter little to them."""
        return [taken[name].processor - (taken[minus].processor if minus else 0) for taken in self.rounds]

    def changes(self, name: str) -> int:
        """The changed tasks that its runs reported."""
        return sum(taken[name].changed for taken in self.rounds)

    def raw(self) -> dict[str, Any]:
        """Every reading."""
        return {
            name: {
                "wall_seconds": [round(taken[name].wall, 3) for taken in self.rounds],
                "processor_seconds": [round(taken[name].processor, 3) for taken in self.rounds],
            }
            for name in self.contestants
        }


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
