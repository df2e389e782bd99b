"""The roles around a repository, on this machine in folders of the test: predicted, done, done once, guarded, and copied to a real bucket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import builds
from tests.backup.offsite import Afar, point
from tests.backup.test_proof_alerts import RULES, promtool
from tests.contract.playbook import Run, run_playbook
from tests.stores.servers import Gateway

__all__ = ["promtool"]


@pytest.fixture
def afar(tmp_path: Path, report: Callable[[str], None]) -> Iterator[Afar]:
    builds.ensure(["versitygw"], report)
    with Gateway(tmp_path / "afar", versions=True).running() as server:
        yield Afar(server, tmp_path).make()


def play(folder: Path, variables: dict[str, Any], *arguments: str) -> Run:
    """Both roles on this machine."""
    return run_playbook(folder, "paas.hardening.backup_host", *arguments, variables=variables)


def test_a_host_for_recovery_points(afar: Afar, promtool: str, tmp_path: Path) -> None:
    variables: dict[str, Any] = {
        "backup_repository_folder": str(tmp_path / "kept/repository"),
        "backup_repository_signing_key_file": str(tmp_path / "key"),
        "backup_repository_free_percent": 0,
        "backup_monitoring_textfile_folder": str(tmp_path / "textfile"),
        "backup_monitoring_rules_file": str(tmp_path / "rules.yml"),
        "backup_monitoring_promtool": promtool,
        "backup_monitoring_service": "",
    }
    refused = play(tmp_path, variables)
    assert (refused.status, "backup_repository_signing_key=created" in refused.output) == (2, True)
    variables["backup_repository_signing_key"] = "created"
    play(tmp_path, variables, "--check").ok()
    assert [name for name in ("key", "kept", "textfile", "rules.yml") if (tmp_path / name).exists()] == []
    assert play(tmp_path, variables).ok().recap()["changed"] == 4
    assert [oct((tmp_path / name).stat().st_mode & 0o777) for name in ("key", "kept", "textfile", "rules.yml")] == ["0o600", "0o700", "0o755", "0o644"]
    assert (tmp_path / "rules.yml").read_bytes() == RULES.read_bytes()
    key = (tmp_path / "key").read_text()
    assert len(key) == 65

    # With a point there is something to copy; and nothing that is there is made anew.
    (tmp_path / "kept/key").symlink_to(tmp_path / "key")
    point(tmp_path / "kept", {"snapshot.db": b"content"})
    options = afar.options(tmp_path)
    copy = {name: options[name] for name in ("bucket", "endpoint", "keys_file")}
    variables["backup_repository_copy"] = {**copy, "metrics_file": str(tmp_path / "textfile/copy.prom")}
    run = play(tmp_path, variables).ok()
    assert (run.recap()["changed"], key in run.output) == (1, False)
    assert len(afar.keys("points/")) == 1
    assert (tmp_path / "textfile/copy.prom").exists()
    assert (tmp_path / "key").read_text() == key
    variables["backup_repository_free_percent"] = 100
    full = play(tmp_path, variables)
    assert (full.status, full.recap()["changed"], "have to be free" in full.output) == (2, 0, True)

    # The key of points that are there is never made anew.
    (tmp_path / "key").rename(tmp_path / "lost")
    gone = play(tmp_path, variables)
    assert (gone.status, "bring that key back" in gone.output, (tmp_path / "key").exists()) == (2, True, False)
