"""What the proof of the move by a Job looks at: the pods' processes, the peers of a store, the Job itself, runs that are hit while it copies."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Site
from ansible_collections.paas.hardening.plugins.module_utils._controls.store_job import NAME, StoreJob
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import detect
from lab import images, processes
from tests.contract.installed import GROUP, Installed
from tests.moves.conftest import USER, Mover, empty
from tests.moves.disasters import Disaster, Process
from tests.moves.test_faults_interruptions import BUCKETS, StoreRounds

if TYPE_CHECKING:
    from lab.stores import ObjectStore

LABELS = f"app.kubernetes.io/name={NAME}"


def copiers(*words: str) -> list[int]:
    """Every rclone in a pod that does this."""
    found = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        command = processes.command(pid)
        # Ours stand by their path.
        if command[:1] == ["rclone"] and set(words) <= set(command):
            found.append(pid)
    return found


class Onlooker:
    """Sees, all the time, who speaks with the store outside, which command lines there are in pods, and what the Job and its pod are told."""

    def __init__(self, platform: Installed, store: ObjectStore) -> None:
        self._platform = platform
        self._store = store
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.peers: set[str] = set()
        self.commands: set[str] = set()
        self.documents: set[str] = set()

    def __enter__(self) -> Onlooker:
        self._thread.start()
        return self

    def __exit__(self, *_trouble: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            found = [
                document for kind in ("Job", "Pod") for document in self._platform.objects.list(KINDS[kind], namespace=self._platform.namespace, labels=LABELS)
            ]
            self.documents.update(json.dumps(document) for document in found)
            if found:
                # From here on the Job is there.
                self.peers |= peers(self._store)
            for pid in copiers():
                self.commands.add(" ".join(processes.command(pid)))


def peers(store: ObjectStore) -> set[str]:
    """The addresses of those who are connected with a store, from the table of its own network."""
    pid = store.machine.component_pid("plain")
    found = set()
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:] + Path(f"/proc/{pid}/net/tcp6").read_text().splitlines()[1:]:
            _number, local, remote, state = line.split()[:4]
            if state == "01" and int(local.rpartition(":")[2], 16) == 9000:
                # The last word of both forms is the address of version 4, its bytes in the machine's order.
                word = remote.partition(":")[0][-8:]
                found.add(".".join(str(byte) for byte in reversed(bytes.fromhex(word))))
    return found


def of_the_job(platform: Installed) -> list[str]:
    found = [platform.objects.list(KINDS[kind], namespace=platform.namespace, labels=LABELS) for kind in ("Job", "Pod")]
    return [document["metadata"]["name"] for documents in found for document in documents]


class Struck:
    """A run of the move that is hit while rclone copies in the pod."""

    def __init__(self, mover: Mover, store: ObjectStore) -> None:
        self.platform = mover.platform
        empty(store, *BUCKETS)
        kubeconfig = str(self.platform.cluster.issue_client(USER, groups=[GROUP]))
        more = {"kubeconfig": kubeconfig, "namespace": self.platform.namespace, "platform": self.platform.name}
        self.process = Process("workflow_object_storage", {**mover.options, **more}, mover.folder)

    def await_copy(self) -> list[int]:
        found = processes.wait_until(lambda: copiers("copy") or self.process.ended, 240, 0.02)
        assert not self.process.ended, self.process.result()
        return list(found)

    def gone(self, pids: list[int], seconds: float) -> float:
        """Seconds until no rclone of it is there any more."""
        begun = time.monotonic()
        assert processes.wait_until(lambda: not [pid for pid in pids if processes.start_time(pid) is not None], seconds), "rclone lives on"
        passed = time.monotonic() - begun
        assert copiers("copy") == []
        return passed


@contextlib.contextmanager
def by_hand(mover: Mover) -> Iterator[StoreJob]:
    """A Job that is up as long as this lasts."""
    platform, options = mover.platform, {"job_pull_secrets": [], "job_node_selector": None, "job_resources": None, **mover.options}
    site = Site(platform.objects.connection, platform.objects, detect(platform.objects, platform.name, platform.namespace))
    job = StoreJob(site, options)
    try:
        job.engine(None)
        yield job
    finally:
        job.leave()
    assert processes.wait_until(lambda: not of_the_job(platform), 15)


def resident() -> int:
    """Bytes of memory that this process has."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) * 1024


class JobRounds(StoreRounds):
    """Moves there and back, by Jobs, hit at random."""

    what = "storage by a Job"

    def more_options(self) -> dict[str, Any]:
        return {**super().more_options(), "job_image": images.RCLONE}

    def disasters(self) -> list[Disaster]:
        def delete(_process: Process) -> None:
            self.platform.cluster.kubectl("delete", "pod", "-n", self.platform.namespace, "-l", LABELS, "--grace-period=0", "--force", "--wait=false")

        def kill(_process: Process) -> None:
            for pid in copiers():
                processes.kill(pid)

        ours = [disaster for disaster in super().disasters() if disaster.name != "rclone is killed"]
        return [*ours, Disaster("the pod of the Job is deleted", delete), Disaster("rclone is killed in its pod", kill)]
