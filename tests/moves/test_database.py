"""workflow_database on a real platform: looked at, moved to a server outside while a writer writes, proved, and moved again without a write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.contract.canaries import leaks
from tests.contract.installed import Installed
from tests.moves.conftest import Mover, file_with

if TYPE_CHECKING:
    from lab.postgres import Postgres
    from lab.seed import Sown

STAGES = ["prepare", "freeze", "move", "switch", "thaw", "close the old database"]


@pytest.fixture(scope="module")
def mover(hephy: Installed, sown: Sown, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Mover:
    folder = tmp_path_factory.mktemp("database")
    options = {
        "server": postgres.address,
        "admin_role": postgres.credentials["user"],
        "admin_password_file": file_with(folder, postgres.credentials["password"]),
        "work_folder": str(folder / "work"),
    }
    return Mover(hephy, folder, "workflow_database", options)


def test_the_database_is_moved_and_a_second_run_changes_nothing(mover: Mover, postgres: Postgres) -> None:
    checked = mover.result("--check")
    assert list(dict.fromkeys(change["stage"] for change in checked["plan"])) == STAGES
    assert mover.writes == []
    run = mover.run().ok()
    moved = run.result("move")
    assert [change["field"] for change in moved["plan"]] == [change["field"] for change in checked["plan"]]
    assert moved["proof"]["verdict"] == "pass"
    assert not leaks({postgres.credentials["password"]}, run.output)
    again = mover.result()
    assert mover.writes == []
    assert again["plan"] == []


def test_the_database_that_is_left_over_is_not_asked_for_administrators(mover: Mover, tmp_path: Path) -> None:
    registration = Mover(mover.platform, tmp_path, "workflow_registration", {"mode": "admin_only"})
    run = registration.run("--check")
    assert run.status != 0
    assert "database is outside of the cluster" in run.result("move")["msg"]
