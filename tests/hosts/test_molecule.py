"""Every role for hosts has a scenario of Molecule, which runs to its end and leaves nothing behind."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from lab import allocation, cleanup
from tests import labs
from tests.quality.checkout import ROOT, environment, run

SCENARIOS = sorted(path.parent.name for path in (ROOT / "extensions/molecule").glob("*/molecule.yml"))


def test_every_role_for_hosts_has_a_scenario() -> None:
    plays = yaml.safe_load((ROOT / "playbooks/hosts.yml").read_text())
    assert sorted(entry["role"].rpartition(".")[2] for play in plays for entry in play.get("roles", ())) == SCENARIOS


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_scenario_runs_to_its_end(scenario: str, tmp_path: Path) -> None:
    lab = f"{labs.shared_name()}-mol"
    program = str(Path(sys.executable).with_name("molecule"))
    more = {"PAAS_LAB_NAME": lab, "MOLECULE_EPHEMERAL_DIRECTORY": str(tmp_path / "molecule")}
    status, output = run([program, "test", "--scenario-name", scenario], ROOT, env=environment(ROOT, more))
    assert status == 0, output
    index = allocation.number_of(lab)
    assert index is None, output
    assert lab not in cleanup.names()
