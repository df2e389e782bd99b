"""The unit tests and real plays pass with every supported ansible-core that the Pythons of this machine can install, and with the oldest kubernetes package."""

from __future__ import annotations

import fcntl
import hashlib
import pathlib
import re
import shutil
import sys
from dataclasses import dataclass

import pytest

from tests.quality.checkout import ROOT, environment, passes, run
from tests.quality.toolchain import cache, pythons

# The newest core that each may take: Pythons in order of preference, so that several are used where several are at hand.
RELEASES = {"2.19": ("3.11", "3.12", "3.13"), "2.20": ("3.12", "3.13", "3.14"), "2.21": ("3.13", "3.14", "3.12")}
# The two ends of the range in requirements.txt; the releases between take what pip takes.
KUBERNETES = {"2.19": "kubernetes==31.*", "2.20": "kubernetes", "2.21": "kubernetes"}

PLAY = """\
- hosts: localhost
  gather_facts: false
  module_defaults:
    group/paas.hardening.workflow:
      kubeconfig: /there/is/no/such/kubeconfig
  tasks:
    - name: In this process
      paas.hardening.workflow_info:
      register: inside
      failed_when: inside.failure.reason != 'Invalid' or '/there/is/no/such/kubeconfig' not in inside.msg

    - name: In a process of its own
      paas.hardening.workflow_info:
      environment:
        FORCES: a process
      register: outside
      failed_when: outside.failure != inside.failure or outside.msg != inside.msg
"""


@dataclass(frozen=True)
class Combination:
    """One way to run the collection."""

    core: str
    python: str

    @property
    def packages(self) -> list[str]:
        """What pip is asked for: this core, this kubernetes, the rest as requirements.txt has it."""
        needed = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if re.match(r"(kubernetes|openshift|PyYAML)\b", line)]
        tests = [line for line in (ROOT / "requirements-dev.txt").read_text().splitlines() if line.startswith("pytest")]
        return [f"ansible-core=={self.core}.*", KUBERNETES[self.core], *needed, *tests]

    def interpreter(self) -> pathlib.Path:
        """The Python of a virtual environment in the cache that holds the packages; made when there is none yet."""
        key = hashlib.sha256("\0".join([str(pythons()[self.python]), *self.packages]).encode()).hexdigest()[:12]
        folder = cache() / "matrix"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{self.core}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            place = folder / f"{self.core}-python{self.python}-{key}"
            if not (place / "ready").exists():
                for outdated in folder.glob(f"{self.core}-*"):
                    shutil.rmtree(outdated)
                passes([str(pythons()[self.python]), "-m", "venv", str(place)])
                python = str(place / "bin/python")
                uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", python, *self.packages]
                if run(uv)[0] != 0:
                    # uv does not read pip's configuration; pip does.
                    passes([python, "-m", "pip", "install", "--quiet", *self.packages])
                (place / "ready").touch()
        return place / "bin/python"

    def run(self, argv: list[str], root: pathlib.Path = ROOT) -> tuple[int, str]:
        """Run a program of the virtual environment."""
        programs = self.interpreter().parent
        env = environment(ROOT)
        env["PATH"] = f"{programs}:{env['PATH']}"
        return run([str(programs / argv[0]), *argv[1:]], root, env=env)


def at_hand() -> list[Combination]:
    """One combination for each release that some Python of this machine can install."""
    found = {core: next((python for python in wanted if python in pythons()), None) for core, wanted in RELEASES.items()}
    return [Combination(core, python) for core, python in found.items() if python]


@pytest.fixture(params=at_hand(), ids=lambda combination: f"core-{combination.core}-python-{combination.python}")
def combination(request: pytest.FixtureRequest) -> Combination:
    chosen: Combination = request.param
    status, output = chosen.run(["ansible", "--version"])
    assert status == 0, output
    assert output.startswith(f"ansible [core {chosen.core}."), output
    return chosen


def test_unit_tests_pass(combination: Combination, tmp_path: pathlib.Path) -> None:
    status, output = combination.run(["python", "-m", "pytest", "-q", "-o", f"cache_dir={tmp_path}", "tests/unit"])
    assert status == 0, output


def test_modules_run_in_both_ways(combination: Combination, tmp_path: pathlib.Path) -> None:
    (tmp_path / "play.yml").write_text(PLAY)
    status, output = combination.run(["ansible-playbook", str(tmp_path / "play.yml")])
    assert status == 0, output
    assert "Deprecat" not in output, output


def test_playbooks_parse_and_document_themselves(combination: Combination) -> None:
    for playbook in ("harden", "audit"):
        status, output = combination.run(["ansible-playbook", "--syntax-check", f"paas.hardening.{playbook}"])
        assert status == 0, output
    status, output = combination.run(["ansible-doc", "-t", "module", "paas.hardening.workflow_info", "paas.hardening.workflow_registration"])
    assert status == 0, output


def test_the_oldest_core_has_the_oldest_kubernetes_package() -> None:
    """Both ends of requirements.txt are tried, whatever the machine has."""
    text = (ROOT / "requirements.txt").read_text()
    oldest = at_hand()[0]
    assert f"ansible-core>={oldest.core}," in text
    assert KUBERNETES[oldest.core].replace("==", ">=").replace(".*", ",") in text
    newest = max(RELEASES, key=lambda release: tuple(map(int, release.split("."))))
    assert f",<{newest[:2]}{int(newest[2:]) + 1}\n" in text
