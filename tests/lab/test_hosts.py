"""Standalone hosts: real systems that are reached over SSH, survive reboots and power cuts, and leave nothing behind."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import allocation, cgroups, cleanup, paths, processes, requirements
from lab.errors import CommandFailed, LabError
from lab.hosts.fleet import Fleet
from lab.hosts.host import answers, sized
from tests import labs


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """Two hosts, one of each Debian, with two disks each."""
    with labs.hosts(["old", "new:trixie"], disks=2) as made:
        yield made


def traces(lab: str, index: int) -> list[str]:
    """Whatever is left of the hosts, loop devices too."""
    listing = processes.run(["losetup", "--noheadings", "--list", "--output", "BACK-FILE"])
    return [*cleanup.traces(lab, index), *(line for line in listing.splitlines() if str(paths.lab(lab)) in line)]


def test_a_host_comes_and_goes_beside_others(fleet: Fleet) -> None:
    fleet.up(["third"])
    assert fleet.host("third").run("ping -c 1 -W 2 old >/dev/null; echo $?").strip() == "0"
    fleet.down(["third"])
    assert fleet.names() == ["old", "new"]


def test_more_hosts_than_the_machine_has_watchers_for_are_refused(fleet: Fleet) -> None:
    most, used = requirements.watchers()
    # Each of the two that are up holds some.
    assert 2 < used < most
    requirements.check_watchers(10, 128, 58)
    with pytest.raises(LabError, match=r"10 hosts hold 70 inotify instances.*sysctl fs\.inotify\.max_user_instances=1024"):
        requirements.check_watchers(10, 128, 59)


def test_hosts_run_the_debian_that_was_asked_for_and_all_of_it(fleet: Fleet) -> None:
    assert [fleet.host(name).run(". /etc/os-release; echo $VERSION_ID").strip() for name in ("old", "new")] == ["12", "13"]
    assert {fleet.host(name).run("systemctl is-system-running").strip() for name in ("old", "new")} == {"running"}
    assert fleet.host("old").run("ps -o comm= 1; hostname").split() == ["systemd", "old"]


def test_hosts_reach_each_other_by_name_and_this_machine_and_nothing_else(fleet: Fleet) -> None:
    new = fleet.host("new")
    assert new.run("ping -c 1 -W 2 old >/dev/null; echo $?").strip() == "0"
    assert new.run(f"ping -c 1 -W 2 {new.addresses.host} >/dev/null; echo $?").strip() == "0"
    assert new.run("timeout 2 bash -c 'exec 3<>/dev/tcp/192.0.2.1/80'; echo $?").strip() != "0"


def test_ssh_takes_the_labs_key_from_hosts_that_it_knows_and_nothing_else(fleet: Fleet) -> None:
    known = fleet.known_hosts.read_text()
    assert "StrictHostKeyChecking=no" not in fleet.inventory.read_text() + fleet.ssh_config.read_text()
    assert fleet.key.stat().st_mode & 0o777 == 0o600
    fleet.known_hosts.write_text(known.replace(fleet.host("old").public_key.split()[1], fleet.host("new").public_key.split()[1]))
    try:
        with pytest.raises(CommandFailed, match="verification failed"):
            fleet.host("old").run("true")
    finally:
        fleet.known_hosts.write_text(known)
    options = [word for option in ("BatchMode=yes", "IdentitiesOnly=yes", f"UserKnownHostsFile={fleet.known_hosts}") for word in ("-o", option)]
    with pytest.raises(CommandFailed, match="Permission denied"):
        processes.run(["ssh", "-F", "none", "-i", "none", *options, f"root@{fleet.host('old').address}", "true"])


def test_disks_take_a_file_system_and_keep_it_over_a_power_cut(fleet: Fleet) -> None:
    host = fleet.host("old")
    host.run("mkfs.xfs -q -L data /dev/vdb; mkfs.ext4 -q /dev/vdc; mkdir /data; echo 'LABEL=data /data xfs noatime 0 2' >> /etc/fstab; mount /data")
    host.run("echo kept > /data/file; sync")
    host.cut_power()
    assert not host.is_on()
    assert not answers(host.address, 22, 0.2)
    host.start()
    host.await_ready()
    assert host.run("cat /data/file; findmnt -no FSTYPE /data").split() == ["kept", "xfs"]


def test_a_host_cannot_open_the_disks_of_this_machine(fleet: Fleet) -> None:
    """Where the machine has control groups of version 1; the lab's hosts are no prison without them."""
    if not any(not hierarchy.unified and hierarchy.path.name == "devices" for hierarchy in cgroups.hierarchies()):
        return
    device = Path("/").stat().st_dev
    said = fleet.host("new").run(f"{{ mknod /tmp/disk b {device >> 8} {device & 255} && dd if=/tmp/disk of=/dev/null count=1; }} 2>&1; rm -f /tmp/disk")
    assert "not permitted" in said


def test_rules_of_one_host_are_not_those_of_another_nor_of_this_machine(fleet: Fleet) -> None:
    before = processes.run(["nft", "list", "ruleset"])
    fleet.host("new").run("nft add table inet mine")
    assert "mine" not in fleet.host("old").run("nft list ruleset")
    assert processes.run(["nft", "list", "ruleset"]) == before
    fleet.host("new").run("nft flush ruleset")
    assert processes.run(["nft", "list", "ruleset"]) == before


def test_a_reboot_starts_the_system_anew_and_keeps_its_files(fleet: Fleet) -> None:
    host = fleet.host("new")
    host.run("echo kept > /etc/kept; echo gone > /run/gone")
    host.reboot()
    assert host.run("cat /etc/kept; ls /run/gone 2>/dev/null || echo none").split() == ["kept", "none"]
    assert fleet.host("old").is_on()


def test_ansible_reaches_every_host_by_the_inventory(fleet: Fleet) -> None:
    program = Path(sys.executable).with_name("ansible")
    words = [str(program), "-i", str(fleet.inventory), "debian12:debian13", "-m", "ansible.builtin.ping", "-o"]
    answer = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert answer.stdout.count('"ping": "pong"') == 2, answer.stdout + answer.stderr


def test_packages_come_by_the_relay_and_nothing_else_does(fleet: Fleet) -> None:
    host = fleet.host("new")
    host.run("apt-get -qq update && apt-get -qq install --no-install-recommends netcat-openbsd >/dev/null 2>&1", seconds=120)
    assert "OpenBSD" in host.run("nc -h 2>&1")
    ask = 'python3 -c \'import urllib.request as r; r.install_opener(r.build_opener(r.ProxyHandler({"http": "http://%s:3142"}))); r.urlopen("%s")\''
    with pytest.raises(CommandFailed, match="403"):
        host.run(ask % (host.addresses.host, "http://198.51.100.1/debian/x.deb"))


def test_a_cable_that_is_cut_and_mended(fleet: Fleet) -> None:
    host = fleet.host("old")
    host.cut_network()
    assert not answers(host.address, 22, 0.5)
    host.mend_network()
    assert processes.wait_until(lambda: answers(host.address, 22), 10)


def test_who_is_up_stays_as_he_is_and_who_is_off_is_switched_on(fleet: Fleet) -> None:
    before = fleet.host("old").machine.init_pid()
    with contextlib.suppress(CommandFailed):  # it may be off before it has answered
        fleet.host("new").run("systemctl --no-block poweroff")
    assert processes.wait_until(lambda: not fleet.host("new").is_on(), 20)
    fleet.up(["old", "new"])
    assert fleet.host("old").machine.init_pid() == before
    with pytest.raises(LabError, match="take it down first"):
        fleet.up(["old:trixie"])


@pytest.mark.parametrize("name", ["", "Old", "1st", "a" * 13, "a-", "old:buster"])
def test_a_name_or_release_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(LabError, match=r"no name for a host|hosts run"):
        Fleet("never-seen").up([name])


def test_sizes() -> None:
    assert [sized(text) for text in ("64K", "512M", "2G")] == [65536, 536870912, 2147483648]
    for text in ("", "2", "G", "0G", "2T", "-1G"):
        with pytest.raises(LabError, match="a size is"):
            sized(text)


def test_a_crash_while_hosts_come_up_is_cleaned_by_down() -> None:
    lab = f"{labs.shared_name()}-crash"
    fleet = Fleet(lab)
    try:
        for moment in (lambda: allocation.number_of(lab) is not None, lambda: fleet.names() and fleet.host("one").is_on()):
            with subprocess.Popen([sys.executable, "-m", "lab", "hosts", "up", "--name", lab, "--disks", "1", "one"], cwd=paths.CHECKOUT) as command:
                assert processes.wait_until(moment, 30, pause=0.01)
                command.kill()
            index = allocation.number_of(lab)
            assert index is not None
            fleet.down()
            assert traces(lab, index) == []
            assert not paths.lab(lab).exists()
    finally:
        fleet.down()


def test_down_leaves_nothing_behind_even_where_a_host_was_killed() -> None:
    lab = f"{labs.shared_name()}-gone"
    fleet = Fleet(lab)
    try:
        fleet.up(["one", "two"], disks=1)
        index = allocation.number_of(lab)
        assert index is not None
        first = fleet.host("one").machine.init_pid()
        assert first
        processes.kill(first)
        (fleet.host("two").machine.note).unlink()
        fleet.down()
        assert traces(lab, index) == []
        assert lab not in cleanup.names()
    finally:
        fleet.down()
