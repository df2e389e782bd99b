"""Every alert of docs/backup-alerts.yml is raised by its fault and by nothing else: real runs and drills write the numbers, Prometheus' own tool judges."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.paas.hardening.plugins.module_utils._backup import recovery_point
from ansible_collections.paas.hardening.plugins.module_utils._backup.catalogue import Catalogue
from ansible_collections.paas.hardening.plugins.module_utils._backup.schedule import runner
from ansible_collections.paas.hardening.plugins.module_utils._backup.signature import read_keys
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from lab import builds
from tests.backup.asking import drilled, key_file, parameters
from tests.backup.offsite import PREFIX, Afar, good
from tests.quality.checkout import ROOT
from tests.stores.servers import Gateway
from tests.unit.backup.points import PASSED, manifest

RULES = ROOT / "docs/backup-alerts.yml"
HOUR, DAY = 3600, 86400
# Prometheus' test begins in 1970 and looks once an hour; what was written "now" is moved to this long after.
END = 40 * DAY
EMPTY = hashlib.sha256().hexdigest()
BUCKETS: dict[str, Any] = {"store": "minio", "needs": [], "buckets": {"registry": {"bucket": "registry", "objects": 0, "bytes": 0, "content": EMPTY}}}


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus' own tool, out of Debian's package, which is not installed."""
    folder = Path(os.environ.get("PAAS_HARDENING_CACHE", Path.home() / ".cache/paas-hardening")) / "prometheus"
    program = folder / "usr/bin/promtool"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "-q", "prometheus"], cwd=folder, check=True, capture_output=True)
        (package,) = folder.glob("prometheus_*.deb")
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
        package.unlink()
    return str(program)


@dataclass
class Site:
    """A repository with a schedule and drills, which write their numbers."""

    folder: Path
    promtool: str

    @property
    def files(self) -> Path:
        return self.folder / "textfile"

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    def point(self, age: float = 60.0, kinds: Mapping[str, Any] | None = None) -> None:
        catalogue = Catalogue(str(self.repository), read_keys(key_file(self.folder), [], str(self.repository)))
        held = dict(kinds or {"buckets": BUCKETS})
        with catalogue.writing(Deadline(5)) as writer, writer.stage() as stage:
            place = Path(stage.folder) / "buckets/registry"
            place.mkdir(parents=True)
            (place / "inventory").touch(0o600)
            proofs = {kind: dict(PASSED) for kind in held}
            writer.publish(stage, manifest(stage, catalogue.read().identity, time.time() - age, kinds=held, proofs=proofs))

    def run(self, **changed: Any) -> int:
        """One run of the timer. With a point that is young enough it succeeds; one that has to make a point fails here, where there is no cluster."""
        given = {"repository": str(self.repository), "signing_key_file": key_file(self.folder), "kinds": ["buckets"], "max_age": "24h", **changed}
        given["cluster"] = {"kubeconfig": str(self.folder / "none"), "retry_timeout": 1}
        (self.folder / "state").mkdir(exist_ok=True)
        document = {"options": parameters(recovery_point.VERB, given), "state": str(self.folder / "state"), "metrics": str(self.files / "paas.prom")}
        path = self.folder / "options.json"
        path.write_text(json.dumps(document))
        before = signal.getsignal(signal.SIGTERM)
        try:
            return runner.main([str(path)])
        finally:
            signal.signal(signal.SIGTERM, before)

    def drill(self) -> dict[str, Any]:
        return drilled(self.folder, metrics_file=str(self.files / "drill.prom"))

    def fires(self, *expected: str, later: float = 0.0, without: str = "") -> None:
        """Hold Prometheus' judgement, so many seconds after the numbers were written, against the names of the alerts that are expected beside the watchdog."""
        series = []
        for path in sorted(self.files.glob("*.prom")):
            text = path.read_text()
            subprocess.run([self.promtool, "check", "metrics"], input=text, text=True, check=True, capture_output=True)
            for name, labels, value in re.findall(r"^(\w+)(\{.*\}) (\S+)$", text, re.MULTILINE):
                number = float(value)
                if name.endswith("_timestamp_seconds") and number:
                    number += END - time.time() - later
                if not without or without not in name:
                    labelled = labels.replace("{", '{instance="host",', 1)
                    series.append({"series": f"{name}{labelled}", "values": f"{number!r}+0x{END // HOUR}"})
        wanted = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted({*expected, "BackupWatchdog"})]
        asked = {"expr": 'sort(group by (alertname) (ALERTS{alertstate="firing"}))', "eval_time": f"{END // HOUR}h", "exp_samples": wanted}
        test = {"interval": "1h", "input_series": series, "promql_expr_test": [asked]}
        path = self.folder / "rules-test.yml"
        path.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1h", "tests": [test]}))
        done = subprocess.run([self.promtool, "test", "rules", path], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def site(tmp_path: Path, promtool: str) -> Iterator[Site]:
    made = Site(tmp_path, promtool)
    made.files.mkdir()
    yield made
    # Whoever reads sees whole files only.
    assert {path.suffix for path in made.files.iterdir()} <= {".prom"}


@pytest.fixture
def healthy(site: Site) -> Site:
    site.point()
    assert site.run() == 0
    assert site.drill()["proof"]["verdict"] == "pass"
    site.fires()
    return site


def test_the_rules_are_understood(promtool: str) -> None:
    subprocess.run([promtool, "check", "rules", RULES], check=True)
    names = re.findall(r"alert: (\w+)", RULES.read_text())
    proved = Path(__file__).read_text()
    assert [name for name in names if f'"{name}"' not in proved] == []


def test_runs_that_do_not_come_are_noticed(healthy: Site) -> None:
    healthy.fires(later=30 * HOUR)
    healthy.fires("BackupPointTooOld", later=38 * HOUR)
    healthy.fires("BackupPointTooOld", "BackupMetricsSilent", later=50 * HOUR)


def test_a_run_that_fails_is_noticed(healthy: Site) -> None:
    assert healthy.run(max_age="1s") == 1
    healthy.fires("BackupRunFailed")
    assert healthy.run() == 0
    healthy.fires()


def test_a_repository_without_a_point_is_noticed(site: Site) -> None:
    assert site.run() == 1
    site.fires("BackupRunFailed", "BackupNeverSucceeded", "BackupDrillMissing")


def test_a_damaged_point_is_noticed(healthy: Site) -> None:
    healthy.point()
    (inventory,) = healthy.repository.glob("points/00000001-*/buckets/registry/inventory")
    inventory.write_text("more")
    assert healthy.run() == 0
    healthy.fires("BackupProblem")


def test_a_hole_in_a_log_is_noticed(healthy: Site) -> None:
    hole = {"engine": "pgbackrest", "system": "1", "timeline": 1, "lsn": "0/3000000", "holes": ["000000010000000000000002 is missing"], "needs": []}
    healthy.point(kinds={"buckets": BUCKETS, "postgres": hole})
    assert healthy.run() == 0
    healthy.fires("BackupProblem")


def test_a_drill_that_is_red_is_noticed(healthy: Site) -> None:
    (inventory,) = healthy.repository.glob("points/*/buckets/registry/inventory")
    inventory.write_bytes(b"")
    wrong = {**BUCKETS, "buckets": {"registry": {**BUCKETS["buckets"]["registry"], "content": "0" * 64}}}
    healthy.point(kinds={"buckets": wrong})
    assert healthy.drill()["failed"]
    healthy.fires("BackupDrillFailed")


def test_drills_that_do_not_come_are_noticed(healthy: Site) -> None:
    healthy.fires("BackupDrillMissing", without="drill")
    healthy.fires("BackupDrillTooOld", "BackupMetricsSilent", "BackupPointTooOld", later=36 * DAY)


def test_a_clock_that_is_wrong_is_noticed(healthy: Site) -> None:
    healthy.fires("BackupClock", later=-HOUR)


def test_silence_of_the_exporter_is_noticed(healthy: Site) -> None:
    healthy.fires("BackupMetricsGone", without="paas_backup")
    (healthy.files / "node.prom").write_text("# HELP node_textfile_scrape_error x\n# TYPE node_textfile_scrape_error gauge\nnode_textfile_scrape_error{} 1\n")
    healthy.fires("BackupMetricsUnreadable")


@pytest.fixture
def afar(tmp_path: Path, report: Callable[[str], None]) -> Iterator[Afar]:
    """A bucket in another place, which keeps no versions: whoever has the keys can do anything there."""
    builds.ensure(["versitygw"], report)
    with Gateway(tmp_path / "afar").running() as server:
        yield Afar(server, tmp_path).make(lock=False)


def copied(site: Site, afar: Afar, **changed: Any) -> dict[str, Any]:
    given = {"object_lock": "available", "max_age": "20h", "verify": "all", "metrics_file": str(site.files / "copy.prom")}
    return afar.copied(site.folder, **{**given, **changed})


def test_a_copy_that_does_not_come_is_noticed(healthy: Site, afar: Afar) -> None:
    # An empty bucket: what there is was never copied.
    assert copied(healthy, afar, check=True)["changed"]
    healthy.fires("BackupCopyTooOld", "BackupCopyIncomplete")
    good(copied(healthy, afar))
    healthy.fires()
    healthy.fires("BackupCopyTooOld", later=21 * HOUR)


def test_a_copy_that_is_not_whole_is_noticed(healthy: Site, afar: Afar) -> None:
    good(copied(healthy, afar))
    healthy.fires()
    (name,) = afar.keys("data/")
    afar.server.put(afar.bucket, f"{PREFIX}/{name}", b"more")
    assert copied(healthy, afar)["failed"]
    healthy.fires("BackupCopyIncomplete", "BackupCopyTooOld")
    afar.server.delete(afar.bucket, f"{PREFIX}/{name}")
    assert good(copied(healthy, afar, check=True))["changed"]
    healthy.fires("BackupCopyIncomplete", "BackupCopyTooOld")
    good(copied(healthy, afar))
    healthy.fires()
    # Keys that were revoked: the run fails, and nothing else can be said.
    secret, afar.server.secret_key = afar.server.secret_key, "0" * 40
    assert copied(healthy, afar)["failed"]
    afar.server.secret_key = secret
    healthy.fires("BackupCopyIncomplete")
