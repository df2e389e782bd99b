"""A clock that is wrong, by libfaketime: it makes no point look fresh, lets none go, and shortens no lock; what was made under it is not believed later."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup import recovery_point
from ansible_collections.paas.hardening.plugins.module_utils._backup.offsite.verb import VERB as COPY
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Verb
from lab import builds
from tests.backup.asking import backup, drilled, key_file, look, options_for, parameters, refused
from tests.backup.member import Etcd
from tests.backup.offsite import Afar, good, point
from tests.perf import figures
from tests.proof import Measured
from tests.quality.checkout import ROOT
from tests.stores.servers import Gateway

DAY = 86400
# Ahead by ten years, by a little more than clocks may differ, and behind.
WRONG = ("+3650d", "+10m", "-10m", "-3650d")
DRIVER = """
import importlib, json, sys
given = json.load(sys.stdin)
above = "ansible_collections.paas.hardening.plugins.module_utils."
verb = importlib.import_module(above + given["verb"]).VERB
print(json.dumps(importlib.import_module(above + "_core.run").run(verb.begin, given["options"], check=False, diff=True)))
"""


@dataclass(frozen=True)
class Clock:
    """Runs a verb in a process whose clock is wrong, and that of every program which it starts."""

    library: Path

    def run(self, offset: str, verb: Verb, options: Mapping[str, Any]) -> dict[str, Any]:
        fake = {"LD_PRELOAD": str(self.library), "FAKETIME": offset, "NO_FAKE_STAT": "1"}
        given = {"verb": verb.begin.__module__.partition("module_utils.")[2], "options": parameters(verb, options)}
        done = subprocess.run(
            [sys.executable, "-c", DRIVER],
            input=json.dumps(given),
            env={**os.environ, **fake, "PYTHONPATH": str(ROOT / ".cache")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def backup(self, offset: str, folder: Path, member: Etcd, **changed: Any) -> dict[str, Any]:
        return self.run(offset, recovery_point.VERB, options_for(folder, member.options(), **changed))


@pytest.fixture(scope="module")
def clock() -> Clock:
    """libfaketime out of Debian's package, which is not installed."""
    folder = Path(os.environ.get("PAAS_HARDENING_CACHE", Path.home() / ".cache/paas-hardening")) / "faketime"
    if not list(folder.glob("usr/lib/*/faketime/libfaketime.so.1")):
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "-q", "libfaketime"], cwd=folder, check=True, capture_output=True)
        (package,) = folder.glob("libfaketime_*.deb")
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
        package.unlink()
    (library,) = folder.glob("usr/lib/*/faketime/libfaketime.so.1")
    found = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time())"], env={"LD_PRELOAD": str(library), "FAKETIME": "+3650d"}, capture_output=True
    )
    assert float(found.stdout) > time.time() + 3600 * DAY, "the library does nothing: it would prove nothing"
    return Clock(library)


def identifiers(folder: Path) -> list[str]:
    return [entry["identifier"] for entry in look(folder)["points"]]


def test_a_clock_ahead_lets_nothing_go_and_makes_nothing_fresh(clock: Clock, etcd: Etcd, tmp_path: Path, measured: Measured) -> None:
    retention = {"within": "7d"}
    for day in (3, 2, 1):
        assert clock.backup(f"-{day}d", tmp_path, etcd, retention=retention).get("msg") is None
    there = identifiers(tmp_path)
    assert len(there) == 3
    # By this clock everything is ten years old: a new one is made, and nothing goes, not even when the next day has come.
    for offset in ("+3650d", "+3651d", "+3652d"):
        done = clock.backup(offset, tmp_path, etcd, retention=retention)
        assert (done.get("msg"), done["changed"]) == (None, True)
        assert identifiers(tmp_path)[:3] == there, offset
    # The clock is right again: what was made is none that counts.
    reason, message = refused(drilled(tmp_path, etcd_programs=str(etcd.programs), max_age="26h"))
    assert (reason, "max_age is 26h" in message) == ("NotProven", True)
    predicted = backup(tmp_path, etcd.options(), check=True, retention=retention)
    assert predicted["changed"] is True
    done = backup(tmp_path, etcd.options(), retention=retention)
    assert (done.get("msg"), done["changed"], done["rpo_seconds"] < 600) == (None, True, True)
    now = identifiers(tmp_path)
    assert (now[:3], len(now)) == (there, 7)
    assert sum("lies in the future" in problem for problem in done["problems"]) == 3
    assert drilled(tmp_path, etcd_programs=str(etcd.programs), max_age="26h")["proof"]["verdict"] == "pass"
    assert backup(tmp_path, etcd.options(), retention=retention)["changed"] is False
    measured(figures.at_most("points that a clock ahead by ten years lets go", len(set(there) - set(now)), f"of {len(there)}", 0))


@pytest.fixture
def afar(tmp_path: Path, report: Callable[[str], None]) -> Iterator[Afar]:
    builds.ensure(["versitygw"], report)
    with Gateway(tmp_path / "afar", versions=True).running() as server:
        yield Afar(server, tmp_path).make()


def locks(afar: Afar) -> dict[str, str]:
    """Until when each version is locked, by the store's own word."""
    client, found = afar.client(), {}
    for entry in client.list_object_versions(Bucket=afar.bucket)["Versions"]:
        told = client.get_object_retention(Bucket=afar.bucket, Key=entry["Key"], VersionId=entry["VersionId"])
        found[f"{entry['Key']} {entry['VersionId']}"] = str(told["Retention"]["RetainUntilDate"])
    return found


@pytest.mark.parametrize("offset", WRONG)
def test_a_wrong_clock_touches_nothing_in_another_place(clock: Clock, afar: Afar, tmp_path: Path, offset: str) -> None:
    here = tmp_path / "here"
    here.mkdir()
    for age in (20 * DAY, 3 * DAY, 0):
        point(here, {"snapshot.db": os.urandom(5000)}, age=age)
    good(afar.copied(here, lock_days=30))
    before, versions = locks(afar), afar.versions()
    point(here, {"snapshot.db": os.urandom(5000)}, age=0)
    result = clock.run(offset, COPY, afar.options(here, lock_days=1, retention={"within": "7d"}))
    reason, message = refused(result)
    # Beyond 15 minutes it is the store that says so.
    assert reason in ("Refused", "Invalid"), message
    assert "apart" in message
    assert (locks(afar), afar.versions()) == (before, versions)
    # By a clock that is right it goes on.
    assert len(good(afar.copied(here, lock_days=30))["copies"]) == 4


def test_a_copy_of_a_point_from_the_future_is_not_fresh(afar: Afar, tmp_path: Path) -> None:
    here, empty = tmp_path / "here", tmp_path / "empty"
    here.mkdir()
    empty.mkdir()
    point(here, {"snapshot.db": b"a"}, age=3600)
    good(afar.copied(here))
    point(here, {"snapshot.db": b"b"}, age=-400 * DAY)
    done = good(afar.copied(here, max_age="2d"))
    assert any("the newest copied point is of" in problem for problem in done["problems"])
    (empty / "key").write_text(Path(key_file(here)).read_text())
    (empty / "key").chmod(0o600)
    reason, message = refused(afar.fetched(empty, max_age="2d"))
    assert (reason, "still to come" in message) == ("NotProven", True)
    good(afar.fetched(empty))
