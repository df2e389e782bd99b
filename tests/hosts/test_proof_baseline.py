"""What every host needs, on Debian 12 and 13: predicted, done, done once, kept over a reboot, and every fault named and mended."""

from __future__ import annotations

from typing import Any

from tests.contract.playbook import Run
from tests.hosts.object_store_site import HOSTS, Stores, nothing, told
from tests.perf import figures
from tests.proof import Measured

BASELINE = "Have what every host needs"
JOURNAL = "/etc/systemd/journald.conf.d/zz-paas-hardening.conf"
UPDATES = "/etc/apt/apt.conf.d/zz-paas-hardening"
# What somebody does by hand, and the object and field by which it is told.
FAULTS = {
    "a journal that fills the disk": (f"sed -i 's/^SystemMaxUse=.*/SystemMaxUse=500G/' {JOURNAL}", f"File {JOURNAL}: content"),
    "updates that nobody takes": (f'sed -i \'s/Unattended-Upgrade "1"/Unattended-Upgrade "0"/\' {UPDATES}', f"File {UPDATES}: content"),
    "a timer that does not run": ("systemctl disable --quiet --now apt-daily-upgrade.timer", "Unit apt-daily-upgrade.timer: running"),
    "limits that all can write": (
        "chmod 666 /etc/systemd/system.conf.d/zz-paas-hardening.conf",
        "File /etc/systemd/system.conf.d/zz-paas-hardening.conf: mode",
    ),
    "no limits for log-ins": ("rm /etc/security/limits.d/zz-paas-hardening.conf", "File /etc/security/limits.d/zz-paas-hardening.conf: content"),
    "swap at the next boot": ("sed -i '$d' /etc/fstab; echo '/swapfile none swap sw 0 0' >> /etc/fstab", "File /etc/fstab: line"),
}


def play(stores: Stores, *arguments: str, **variables: Any) -> Run:
    return stores.run("--tags", "baseline", *arguments, host_baseline_swap="disabled", **variables)


def plans(run: Run) -> dict[str, list[dict[str, Any]]]:
    return {name: list(run.result(BASELINE, name)["plan"]) for name in HOSTS}


def statuses(run: Run, host: str) -> dict[str, str]:
    return {finding["control"].removeprefix("host-baseline-"): finding["status"] for finding in run.result(BASELINE, host)["findings"]}


WELL = {"time": "not-applicable", "updates": "pass", "limits": "pass", "journal": "pass", "swap": "pass"}


def test_it_is_predicted_done_done_once_and_kept_over_a_reboot(stores: Stores) -> None:
    predicted = play(stores, "--check", "--diff").ok()
    done = play(stores).ok()
    assert plans(done) == plans(predicted)
    again = play(stores).ok()
    assert (plans(again), {name: statuses(again, name) for name in HOSTS}) == (nothing(), dict.fromkeys(HOSTS, WELL)), again.output
    for host in stores.hosts.values():
        assert host.run("systemctl show -p DefaultLimitNOFILESoft").strip() == "DefaultLimitNOFILESoft=65536"
        assert "persistent" in host.run("systemd-analyze cat-config systemd/journald.conf")
        host.reboot()
        assert host.run("ls /var/log/journal/*/system.journal")
    assert plans(play(stores).ok()) == nothing()


def test_every_fault_is_named_and_mended_and_a_later_file_is_left_to_a_person(stores: Stores, measured: Measured) -> None:
    for host in stores.hosts.values():
        for command, _told in FAULTS.values():
            host.run(command)
    audit = play(stores, host_baseline_mode="audit").ok()
    for name in HOSTS:
        lines = told(plans(audit)[name])
        unnamed = [fault for fault, (_command, words) in FAULTS.items() if not any(line.startswith(words) for line in lines)]
        assert unnamed == [], lines
        measured(figures.at_least(f"faults of every host named, {name}", len(FAULTS) - len(unnamed), f"of {len(FAULTS)}", len(FAULTS)))
    assert plans(play(stores).ok()) == plans(audit)
    assert plans(play(stores).ok()) == nothing()
    for host in stores.hosts.values():
        host.run("printf '[Journal]\\nSystemMaxUse=9G\\n' > /etc/systemd/journald.conf.d/zzz.conf")
    later = play(stores).ok()
    assert (plans(later), {statuses(later, name)["journal"] for name in HOSTS}) == (nothing(), {"fail"})
    assert "SystemMaxUse is 9G, not 1G" in later.output
    for host in stores.hosts.values():
        host.run("rm /etc/systemd/journald.conf.d/zzz.conf")
