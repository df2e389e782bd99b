"""What a crash leaves is found and removed, by the lab's own marks, and nothing else is touched."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import allocation, cgroups, cleanup, locks, network, nodes, paths, processes
from lab.addresses import MAX_LABS, Addresses
from lab.cluster import Cluster
from lab.errors import LabError
from lab.layout import Layout

NAME = "wreck"


@pytest.fixture
def wreck(own_cache: Path) -> Iterator[Layout]:
    """The remains of a lab: a number, a bridge, control groups, a stale note of a process."""
    index = allocation.allocate(NAME)
    layout = Layout(NAME, own_cache / "labs" / NAME, Addresses(index))
    cgroups.create(layout.addresses.cgroup(1))
    paths.private_folder(layout.node(1))
    paths.write_json(layout.node(1) / "init.json", {"pid": 1, "started": 1, "boot": "an earlier one"})
    yield layout
    cleanup.take_down(NAME, purge=True)


def start_inside(layout: Layout) -> subprocess.Popen[bytes]:
    """A process in the lab's control group that no file knows of."""
    entrance = cgroups.entrance(f"{layout.addresses.cgroup(1)}/daemons")
    sleeper = subprocess.Popen(["sh", "-c", 'echo $$ > "$1"; exec sleep 60', "sh", str(entrance)])
    assert processes.wait_until(lambda: sleeper.pid in cgroups.members(layout.addresses.bridge), 5)
    return sleeper


def test_a_process_that_no_file_knows_is_found_and_ended(wreck: Layout) -> None:
    with start_inside(wreck) as sleeper:
        before = cleanup.traces(NAME, wreck.addresses.index)
        assert f"process {sleeper.pid} sleep" in before
        assert f"control group {wreck.addresses.bridge}" in before
        assert f"device {wreck.addresses.bridge}" in before
        cleanup.take_down(NAME)
        assert sleeper.wait(5) == -9
    assert cleanup.traces(NAME, wreck.addresses.index) == []
    assert not (wreck.node(1) / "init.json").exists()
    assert allocation.number_of(NAME) == wreck.addresses.index


def test_purging_removes_the_state_and_nothing_more(wreck: Layout) -> None:
    other = wreck.directory.parent / "other"
    other.mkdir()
    cleanup.take_down(NAME, purge=True)
    assert not wreck.directory.exists()
    assert other.exists()
    assert cleanup.traces(NAME, wreck.addresses.index) == []


def test_a_lab_whose_state_is_lost_is_found_by_the_mark_on_its_bridge(wreck: Layout) -> None:
    (wreck.directory / "lab.json").unlink()
    assert cleanup.names() == [NAME]
    Cluster(NAME).down()
    assert cleanup.names() == []
    assert cleanup.traces(NAME, wreck.addresses.index) == []


def test_another_labs_number_is_not_taken_and_its_bridge_not_removed(wreck: Layout) -> None:
    second = allocation.allocate("second")
    try:
        assert second != wreck.addresses.index
    finally:
        cleanup.take_down("second", purge=True)
    assert network.owner(wreck.addresses.bridge) == allocation.mark(NAME)


def test_labs_that_start_at_once_get_numbers_of_their_own(own_cache: Path) -> None:
    names = ["one", "two", "three"]
    code = "import sys; from lab import allocation; print(allocation.allocate(sys.argv[1]))"
    words = [sys.executable, "-c", code]
    started = [subprocess.Popen([*words, name], cwd=paths.CHECKOUT, stdout=subprocess.PIPE, text=True) for name in names]
    try:
        found = [process.communicate()[0].strip() for process in started]
        assert len(set(found)) == 3
        assert {name: str(index) for name, index in allocation.known().items()} == dict(zip(names, found, strict=True))
    finally:
        for name in names:
            cleanup.take_down(name, purge=True)


def test_a_bridge_of_somebody_else_is_left_alone(own_cache: Path) -> None:
    free = next(index for index in reversed(range(MAX_LABS)) if network.owner(Addresses(index).bridge) is None and not cgroups.exists(f"plab{index}"))
    bridge = Addresses(free).bridge
    processes.run(["ip", "link", "add", bridge, "type", "bridge"])
    try:
        paths.private_folder(own_cache / "labs" / NAME)
        paths.write_json(own_cache / "labs" / NAME / "lab.json", {"index": free, "format": allocation.FORMAT})
        with pytest.raises(LabError, match="belongs to something unknown"):
            allocation.allocate(NAME)
        cleanup.take_down(NAME, purge=True)
        assert network.owner(bridge) == ""
    finally:
        processes.run(["ip", "link", "delete", bridge])


def test_a_busy_range_of_addresses_is_seen() -> None:
    taken = Addresses(8)
    if network.owner(taken.bridge) is None:
        assert network.overlaps(taken) is None
    processes.run(["ip", "route", "add", "unreachable", "10.108.200.0/24"])
    try:
        assert "10.108.200.0/24" in str(network.overlaps(taken))
    finally:
        processes.run(["ip", "route", "delete", "unreachable", "10.108.200.0/24"])


def test_starting_a_node_first_removes_what_is_left_of_it(wreck: Layout) -> None:
    with start_inside(wreck) as sleeper:
        nodes.stop(wreck, 1)
        assert sleeper.wait(5) == -9
    assert not cgroups.exists(wreck.addresses.cgroup(1))


def test_taking_down_what_is_not_there_is_no_error(own_cache: Path) -> None:
    Cluster("never-seen").down(purge=True)
    assert not (own_cache / "labs" / "never-seen").exists()


def test_down_waits_for_whoever_is_at_work(own_cache: Path) -> None:
    said: list[str] = []
    with subprocess.Popen(["flock", str(locked := _prepared(NAME)), "sleep", "1"]):
        assert processes.wait_until(lambda: _is_locked(locked), 5)
        Cluster(NAME).down(report=said.append)
    assert "another process is at work" in said[0]


def _prepared(name: str) -> Path:
    path = cleanup.lock(name)
    paths.private_folder(path.parent)
    path.touch()
    return path


def _is_locked(path: Path) -> bool:
    seen: list[int] = []

    class Busy(Exception):
        pass

    def waiting() -> None:
        seen.append(1)
        raise Busy

    try:
        with locks.held(path, waiting):
            return False
    except Busy:
        return True


# As a kubelet does with the folders of its pods.
COME_AND_GO = """import os, sys
pods = [f"{sys.argv[1]}/pod{number}" for number in range(100)]
while True:
    for pod in pods:
        os.makedirs(pod)
    for pod in pods:
        os.rmdir(pod)
"""


def test_folders_that_go_while_they_are_looked_at_are_no_failure(tmp_path: Path) -> None:
    stay = tmp_path / "stay" / "within"
    stay.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", COME_AND_GO, str(tmp_path / "pods")]) as kubelet:
        try:
            seen = [cgroups.tree(tmp_path) for _time in range(1000)]
        finally:
            kubelet.kill()
    assert {stay in found for found in seen} == {True}
    # Otherwise nothing went while it was looked at.
    assert len({len(found) for found in seen}) > 2
