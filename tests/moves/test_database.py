"""workflow_database on a real platform: looked at, moved to a server outside while a writer writes, proved, and moved again without a write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.contract.canaries import leaks
from tests.contract.installed import Installed
from tests.moves.conftest import Mover, file_with
from tests.perf.figures import at_most
from tests.proof import Measured

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


@pytest.mark.proof
def test_a_target_that_cannot_take_it_leaves_the_platform_as_it_was(mover: Mover, postgres: Postgres) -> None:
    postgres.sql("CREATE DATABASE other")
    postgres.sql("CREATE TABLE somebodys (n int)", "other")
    before = mover.platform.documents()
    run = mover.run(name="other")
    assert run.status != 0
    assert "other" in run.result("move")["msg"]
    after = mover.platform.documents()
    for ref, document in before.items():
        if ref.kind == "Deployment":
            assert document["spec"] == after[ref]["spec"], ref


def test_the_database_is_moved_under_a_writer_and_no_acknowledged_row_is_lost(mover: Mover, postgres: Postgres, tmp_path: Path, measured: Measured) -> None:
    from lab.seed import Writer, live, rows

    checked = mover.result("--check")
    assert list(dict.fromkeys(change["stage"] for change in checked["plan"])) == STAGES
    assert mover.writes == []
    place, ledger = mover.platform.place, tmp_path / "ledger"
    with Writer(lambda: live.database(place), ledger) as writer:
        run = mover.run().ok()
        written = writer.acknowledged
    moved = run.result("move")
    assert [change["field"] for change in moved["plan"]] == [change["field"] for change in checked["plan"]]
    assert moved["proof"]["verdict"] == "pass"
    assert written > 20
    measured(at_most("acknowledged rows lost in a move under a writer", len(rows.lost(live.database(place), ledger)), f"of {written}", 0))
    assert not leaks({postgres.credentials["password"]}, run.output)
    again = mover.result()
    assert mover.writes == []
    assert again["plan"] == []


def test_the_database_that_is_left_over_is_not_asked_for_administrators(mover: Mover, tmp_path: Path) -> None:
    registration = Mover(mover.platform, tmp_path, "workflow_registration", {"mode": "disabled"})
    run = registration.run("--check")
    assert run.status != 0
    assert "database is outside of the cluster" in run.result("move")["msg"]
