"""Plays as a user runs them: ansible-playbook in a process of its own, with what every task returned and everything that it left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.quality.checkout import ROOT, environment

COLLECTION = "paas.hardening"
# Anything in its environment keeps a task out of the Ansible worker: the module runs in a process of its own.
AS_MODULE: Mapping[str, Any] = {"environment": {"PAAS_PATH": "module"}}
_CALLBACKS = Path(__file__).parent / "callback"
_SECONDS = 600


@dataclass(frozen=True)
class Task:
    """One task of a play: its name, the module without the collection's name, the options, and keywords beside them (environment, check_mode)."""

    name: str
    module: str
    options: Mapping[str, Any] = field(default_factory=dict)
    keywords: Mapping[str, Any] = field(default_factory=dict)

    def as_data(self) -> dict[str, Any]:
        return {"name": self.name, f"{COLLECTION}.{self.module}": dict(self.options), **self.keywords}


@dataclass(frozen=True)
class Run:
    """How a play ended: exit status, all that it printed, what each task returned, and the folder that its temporary files were in."""

    status: int
    output: str
    records: tuple[Mapping[str, Any], ...]
    temporary: Path

    def result(self, task: str, host: str = "") -> Mapping[str, Any]:
        """What the task of that name returned, on the host if one is named; the last one counts.

        Raises AssertionError with the play's output when it did not run.
        """
        found: list[Mapping[str, Any]] = [
            record["result"] for record in self.records if record["task"].rpartition(" : ")[2] == task and host in ("", record["host"])
        ]
        assert found, f"no task {task!r} ran:\n{self.output}"
        return found[-1]

    def ok(self) -> Run:
        """The run itself. Raises AssertionError with its output unless it ended well."""
        assert self.status == 0, self.output
        return self

    def recap(self) -> dict[str, int]:
        """The numbers of the play's last line: ok, changed, failed and so on."""
        line = self.output.rpartition("PLAY RECAP")[2].strip().splitlines()[1]
        return {name: int(number) for name, _equals, number in (word.partition("=") for word in line.split(":", 1)[1].split())}


def run_tasks(folder: Path, tasks: Sequence[Task], *arguments: str, more: Mapping[str, str] | None = None) -> Run:
    """Run the tasks as one play on this machine."""
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task.as_data() for task in tasks]}
    file = _fresh(folder, "play.yml")
    file.write_text(yaml.safe_dump([play], sort_keys=False))
    file.chmod(0o600)
    return run_playbook(folder, file, *arguments, more=more)


def run_playbook(folder: Path, playbook: Path | str, *arguments: str, variables: Mapping[str, Any] | None = None, more: Mapping[str, str] | None = None) -> Run:
    """Run a playbook, a file or one of an installed collection by name, with extra variables and with more in its environment."""
    process = start_playbook(folder, playbook, *arguments, variables=variables, more=more)
    return process.wait()


@dataclass
class Running:
    """A playbook at work."""

    process: subprocess.Popen[str]
    record: Path
    temporary: Path

    def wait(self) -> Run:
        """Wait for its end. A play that hangs is ended, and reported with what it printed."""
        try:
            output, _none = self.process.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            # Asked, it ends its workers, too, which have sessions of their own.
            self.process.send_signal(signal.SIGINT)
            try:
                output = self.process.communicate(timeout=30)[0]
            except subprocess.TimeoutExpired:
                self.process.kill()
                output = self.process.communicate()[0]
            output += f"\nended after {_SECONDS} s"
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        return Run(self.process.returncode, output, tuple(json.loads(line) for line in lines), self.temporary)


def start_playbook(
    folder: Path, playbook: Path | str, *arguments: str, variables: Mapping[str, Any] | None = None, more: Mapping[str, str] | None = None
) -> Running:
    """Start a playbook and return at once."""
    temporary = _fresh(folder, "tmp")
    temporary.mkdir(mode=0o700)
    record = _fresh(folder, "record.jsonl")
    if variables:
        extra = _fresh(folder, "variables.json")
        extra.write_text(json.dumps(dict(variables)))
        extra.chmod(0o600)
        arguments = ("-e", f"@{extra}", *arguments)
    places = {
        "TMPDIR": str(temporary),
        "ANSIBLE_LOCAL_TEMP": str(temporary / "local"),
        "ANSIBLE_REMOTE_TEMP": str(temporary / "remote"),
        "ANSIBLE_CALLBACK_PLUGINS": str(_CALLBACKS),
        "ANSIBLE_CALLBACKS_ENABLED": "record",
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "PAAS_RECORD": str(record),
    }
    program = Path(sys.executable).parent / "ansible-playbook"
    process = subprocess.Popen(
        [str(program), str(playbook), *arguments],
        cwd=folder,
        env=environment(ROOT, {**places, **(more or {})}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    return Running(process, record, temporary)


def _fresh(folder: Path, name: str) -> Path:
    """A path in the folder that nothing has yet."""
    stem, dot, suffix = name.partition(".")
    number = 0
    while os.path.lexists(place := folder / f"{stem}{number or ''}{dot}{suffix}"):
        number += 1
    return place
