"""Schedules of recovery points on a real host: predicted, done once, run by systemd, made up after an outage, told when they fail, and taken away.

The tests tell one story, in this order.
"""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from lab import builds, processes
from tests import labs
from tests.contract.playbook import Run, run_playbook
from tests.perf import figures
from tests.proof import Measured
from tests.quality.checkout import ROOT

if TYPE_CHECKING:
    from lab.hosts.fleet import Fleet
    from lab.hosts.host import Host

TIMER, SERVICE = "paas-hardening-backup-etcd.timer", "paas-hardening-backup-etcd.service"
REPOSITORY, KEY = "/var/backups/paas", "/etc/paas/key"
EVERY_MINUTE = "*-*-* *:*:00"
# Everything that a schedule may have on a host.
PLACES = (
    "/etc/systemd/system/paas-hardening-backup-* /etc/systemd/system/timers.target.wants/paas-* /etc/paas-hardening "
    "/usr/local/lib/paas-hardening /var/lib/paas-hardening-backup-* /var/lib/systemd/timers/stamp-paas-*"
)
ETCD = """[Service]
ExecStart=/opt/etcd/etcd --data-dir=/var/lib/etcd --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379 --log-level=error
[Install]
WantedBy=multi-user.target
"""


@dataclass
class Keeper:
    """A host with an etcd, and plays on it."""

    fleet: Fleet
    folder: Path
    secret: str

    @property
    def host(self) -> Host:
        return self.fleet.host("keeper")

    def play(self, *arguments: str, **options: Any) -> Run:
        """Run workflow_backup on it as an ordinary task."""
        given = {
            "repository": REPOSITORY,
            "signing_key_file": KEY,
            "kinds": ["etcd"],
            "etcd": {"endpoints": ["http://127.0.0.1:2379"], "programs": "/opt/etcd"},
        }
        return self._run({"name": "Backup", "paas.hardening.workflow_backup": {**given, **options}}, *arguments)

    def schedule(self, *arguments: str, state: str = "scheduled", max_age: str = "10s", **schedule: Any) -> Run:
        wanted = {"name": "etcd", "on_calendar": EVERY_MINUTE, "randomized_delay": "0", **schedule}
        return self.play(*arguments, state=state, max_age=max_age, schedule=wanted)

    def info(self, **options: Any) -> Mapping[str, Any]:
        """What workflow_backup_info says."""
        given = {"repository": REPOSITORY, "signing_key_file": KEY, "schedule": "etcd", **options}
        return self._run({"name": "Look", "paas.hardening.workflow_backup_info": given}).ok().result("Look")

    def _run(self, task: Mapping[str, Any], *arguments: str) -> Run:
        play = self.folder / "play.yml"
        play.write_text(yaml.safe_dump([{"hosts": "keeper", "gather_facts": False, "tasks": [dict(task)]}]))
        more = {"ANSIBLE_REMOTE_TEMP": "~/.ansible/tmp", "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp")}
        return run_playbook(self.folder, play, "-i", str(self.fleet.inventory), *arguments, more=more)

    def points(self) -> list[str]:
        return self.host.run(f"ls {REPOSITORY}/points 2>/dev/null || true").split()

    def shown(self, unit: str, name: str) -> str:
        return self.host.run(f"systemctl show --property={name} --value {unit}").strip()

    def start(self) -> None:
        """Make the host what a backup needs: an etcd with keys, its programs, and a signing key that is known here, to look for it later."""
        binaries = builds.binary("etcd").parent
        packed = subprocess.Popen(["tar", "-C", binaries, "-c", "etcd", "etcdctl", "etcdutl"], stdout=subprocess.PIPE)
        subprocess.run(self.host.ssh("mkdir -p /opt/etcd && tar -C /opt/etcd -x"), stdin=packed.stdout, check=True)
        assert packed.wait() == 0
        self.host.run("cat > /etc/systemd/system/etcd.service", stdin=ETCD)
        self.host.run("mkdir -p /etc/paas /var/backups && systemctl daemon-reload && systemctl enable --now --quiet etcd")
        self.host.run(f"umask 077; cat > {KEY}", stdin=self.secret + "\n")
        put = "for number in 1 2 3; do /opt/etcd/etcdctl put /registry/secrets/default/$number value-$number >/dev/null || exit 1; done"
        self.host.run(f"for try in 1 2 3 4 5 6 7 8 9 10; do {{ {put}; }} 2>/dev/null && exit 0; sleep 1; done; exit 1")


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory, report: Callable[[str], None]) -> Iterator[Keeper]:
    builds.ensure(["etcd", "etcdctl", "etcdutl"], report)
    with labs.hosts(["keeper"], report=report, purpose="bk") as fleet:
        made = Keeper(fleet, tmp_path_factory.mktemp("keeper"), secrets.token_hex(32))
        made.start()
        yield made


def await_point(keeper: Keeper, before: list[str], seconds: float = 150) -> float:
    """Wait for a point that was not there, and return the seconds."""
    begun = time.monotonic()
    assert processes.wait_until(lambda: len(keeper.points()) > len(before), seconds, pause=0.5), keeper.host.run(
        f"journalctl --no-pager -u {SERVICE} | tail -20"
    )
    return time.monotonic() - begun


def test_an_audit_predicts_a_schedule_and_touches_nothing(keeper: Keeper) -> None:
    look = f"ls -lR {PLACES} 2>&1; true"
    before = keeper.host.run(look)
    predicted = keeper.schedule("--check", "--diff").ok()
    assert keeper.host.run(look) == before
    assert predicted.result("Backup")["findings"][0]["status"] == "would-fix"
    assert {change["object"].partition(" ")[0] for change in predicted.result("Backup")["plan"]} == {"File", "Timer"}
    # What never comes, what comes too often for the age, and what would be gone after a reboot.
    for options in ({"on_calendar": "tomorrow-ish"}, {"max_age": "2m"}, {"account": "nobody-has-this"}):
        refused = keeper.schedule(**options)
        assert refused.result("Backup")["failure"]["reason"] == "Invalid", refused.output
    assert keeper.host.run(look) == before


def test_what_was_predicted_is_done_once_and_systemd_runs_it(keeper: Keeper, measured: Measured) -> None:
    predicted = keeper.schedule("--check").ok().result("Backup")["plan"]
    done = keeper.schedule("--diff").ok()
    result = done.result("Backup")
    assert result["plan"] == predicted
    assert (result["changed"], result["findings"][0]["status"], result["proof"]["verdict"]) == (True, "fixed", "pass"), result["proof"]
    seconds = await_point(keeper, [])
    assert processes.wait_until(lambda: keeper.info()["schedule"]["outcome"] == "succeeded", 90, pause=2)
    told = keeper.info()
    measured(figures.told("the first point came after its schedule", seconds, "s"))
    assert (told["problems"], told["schedule"]["outcome"], told["schedule"]["active"], told["schedule"]["enabled"]) == ([], "succeeded", True, True)
    assert told["schedule"]["point"] in keeper.points()
    begun = time.monotonic()
    again = keeper.schedule().ok()
    measured(figures.told("second run of a schedule, with SSH", time.monotonic() - begun, "s"))
    assert (again.result("Backup")["changed"], again.result("Backup")["plan"]) == (False, [])


def test_no_secret_is_in_units_options_or_logs_and_the_unit_is_confined(keeper: Keeper) -> None:
    everything = keeper.host.run("cat /etc/systemd/system/paas-* /etc/paas-hardening/* /var/lib/paas-hardening-backup-etcd/*; journalctl --no-pager --quiet")
    assert keeper.secret not in everything
    assert "value-1" not in everything
    assert keeper.host.run("stat -c '%a %U' /etc/paas-hardening/backup-etcd.json /var/lib/paas-hardening-backup-etcd").split() == ["600", "root", "700", "root"]
    exposure = keeper.host.run(f"systemd-analyze security --no-pager {SERVICE} | tail -1")
    print(exposure.strip())
    assert "OK" in exposure or "MEDIUM" in exposure


def test_two_runs_never_overlap(keeper: Keeper) -> None:
    keeper.host.run(f"systemctl stop {TIMER}")
    assert processes.wait_until(lambda: keeper.shown(SERVICE, "ActiveState") == "inactive", 60, pause=0.5)
    time.sleep(11)
    before = keeper.points()
    keeper.host.run(f"systemd-run --quiet --unit=holder flock {REPOSITORY}/lock sleep 120")
    keeper.host.run(f"systemctl start --no-block {SERVICE}; systemctl start --no-block {SERVICE}")
    time.sleep(4)
    assert keeper.shown(SERVICE, "ActiveState") == "activating"
    assert keeper.info()["schedule"]["running"] is True
    assert keeper.host.run("pgrep -fc 'backup-etcd[.]pyz' || true").strip() == "1"
    refused = keeper.schedule(state="absent")
    assert refused.result("Backup")["failure"]["reason"] == "Refused", refused.output
    keeper.host.run("systemctl stop holder")
    await_point(keeper, before)
    assert processes.wait_until(lambda: keeper.shown(SERVICE, "ActiveState") == "inactive", 60, pause=0.5)
    assert len(keeper.points()) == len(before) + 1


# What somebody does by hand, and the field by which the next run tells it.
HANDS = {
    "the timer is off": (f"systemctl start {TIMER}; systemctl stop {TIMER}", "state"),
    "the timer is not enabled": (f"systemctl disable --quiet {TIMER}", "state"),
    "the options are open": ("chmod 644 /etc/paas-hardening/backup-etcd.json", "mode"),
    "the service is another": ("sed -i s/^NoNewPrivileges=yes/NoNewPrivileges=no/ /etc/systemd/system/paas-hardening-backup-etcd.service", "content"),
    "the program is another": ("echo >> /usr/local/lib/paas-hardening/backup-etcd.pyz", "content"),
    "the program is gone": ("rm /usr/local/lib/paas-hardening/backup-etcd.pyz", "content"),
}


@pytest.mark.parametrize("name", HANDS)
def test_what_hands_change_is_predicted_and_mended(keeper: Keeper, name: str) -> None:
    keeper.schedule().ok()
    command, field = HANDS[name]
    keeper.host.run(command)
    predicted = keeper.schedule("--check").ok().result("Backup")["plan"]
    assert field in {change["field"] for change in predicted}
    done = keeper.schedule().ok().result("Backup")
    assert (done["plan"], done["proof"]["verdict"]) == (predicted, "pass")
    assert keeper.schedule().ok().result("Backup")["changed"] is False


def test_a_run_that_fails_is_told_and_the_next_one_heals(keeper: Keeper) -> None:
    keeper.host.run(f"systemctl stop {TIMER} etcd; sleep 11; systemctl start {SERVICE} || true")
    told = keeper.info()
    assert any("failed" in problem["what"] and "etcd" in problem["what"] for problem in told["problems"]), told
    assert (told["schedule"]["outcome"], keeper.shown(SERVICE, "Result")) == ("failed", "exit-code")
    before = keeper.points()
    keeper.host.run(f"systemctl start etcd; sleep 2; systemctl start {SERVICE}; systemctl start {TIMER}")
    assert len(keeper.points()) == len(before) + 1
    assert keeper.info()["problems"] == []


def test_a_run_that_was_missed_is_made_up_after_an_outage(keeper: Keeper, measured: Measured) -> None:
    """Due once, while the power is off: systemd makes up for it at once, and the next one is far away."""
    # The host has this machine's clock. On a busy machine a play may take half a minute.
    due = int(time.time()) + 75
    calendar = keeper.host.run(f"date -d @{due} '+*-*-* %H:%M:%S'").strip()
    keeper.schedule(on_calendar=calendar, max_age="10s").ok()
    keeper.host.run("sync")
    before = keeper.points()
    keeper.host.cut_power()
    assert time.time() < due
    time.sleep(max(0.0, due + 3 - time.time()))
    keeper.host.start()
    keeper.host.await_ready()
    seconds = await_point(keeper, before)
    measured(figures.told("a missed backup made up after the host was up", seconds, "s"))
    assert keeper.info()["problems"] == []


def test_silence_is_told(keeper: Keeper) -> None:
    time.sleep(3)
    told = keeper.info(interval="1s")
    assert any("the last run that succeeded ended" in problem["what"] for problem in told["problems"]), told
    keeper.host.run(f"systemctl stop {TIMER}")
    assert any("the timer is off" in problem["what"] for problem in keeper.info()["problems"])


def test_a_schedule_that_goes_leaves_every_point(keeper: Keeper) -> None:
    before = keeper.points()
    predicted = keeper.schedule("--check", state="absent").ok().result("Backup")["plan"]
    done = keeper.schedule(state="absent").ok().result("Backup")
    assert (done["plan"], done["findings"][0]["status"]) == (predicted, "fixed")
    assert keeper.schedule(state="absent").ok().result("Backup")["changed"] is False
    assert keeper.host.run(f"ls -d {PLACES} 2>/dev/null || true").split() == ["/etc/paas-hardening", "/usr/local/lib/paas-hardening"]
    assert keeper.points() == before
    assert any("there is no such schedule" in problem["what"] for problem in keeper.info()["problems"])


def test_the_playbook_takes_a_point_and_schedules_the_next(keeper: Keeper) -> None:
    variables = {
        "backup_hosts": "keeper",
        "backup_kinds": ["etcd"],
        "backup_repository": REPOSITORY,
        "backup_signing_key_file": KEY,
        "backup_etcd": {"endpoints": ["http://127.0.0.1:2379"], "programs": "/opt/etcd"},
        "backup_max_age": "20h",
        "backup_schedule": {"name": "etcd", "on_calendar": "daily"},
    }
    more = {"ANSIBLE_REMOTE_TEMP": "~/.ansible/tmp", "ANSIBLE_SSH_CONTROL_PATH_DIR": str(keeper.folder / "cp")}
    words = (keeper.folder, ROOT / "playbooks/backup.yml", "-i", str(keeper.fleet.inventory))
    done = run_playbook(*words, variables=variables, more=more).ok()
    assert "Next run: 20" in done.output
    assert "changed=0" in run_playbook(*words, variables=variables, more=more).ok().output
    variables["backup_schedule"] = {"name": "etcd", "state": "absent"}
    run_playbook(*words, variables=variables, more=more).ok()
    assert keeper.host.run(f"systemctl list-unit-files --no-legend '{TIMER}' || true").strip() == ""
