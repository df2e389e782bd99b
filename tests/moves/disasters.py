"""Moves of a whole platform that are hit in the middle: the run in a process of its own, who strikes it, and what is seen of the platform meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import connect
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from ansible_collections.paas.hardening.plugins.module_utils._controls.freezing import FROZEN
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure
from lab import processes
from tests.contract.installed import Installed

if TYPE_CHECKING:
    from lab.servers import Server

_LOOK = 0.2
_LONGEST_RUN = 420.0


class Process:
    """One run of a module."""

    def __init__(self, module: str, options: Mapping[str, Any], folder: Path) -> None:
        self._said = folder / "said"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-m", "tests.moves.runner"]
        with self._said.open("w") as said:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=subprocess.STDOUT, env=environment, text=True)
        assert self.process.stdin is not None
        with self.process.stdin as stdin:
            json.dump({"module": module, "options": dict(options)}, stdin)
        self.begun = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def programs(self, *names: str) -> list[int]:
        """The programs of these names that it has started."""
        return [pid for pid in processes.children(self.process.pid) if processes.program(pid) in names]

    def kill(self) -> None:
        """End it without a word. Its programs have to end with it."""
        programs = processes.children(self.process.pid)
        self.process.kill()
        self.process.wait()
        assert processes.wait_until(lambda: not [pid for pid in programs if processes.start_time(pid) is not None], 10), "a program outlived the run"

    def result(self) -> dict[str, Any] | None:
        """Wait for its end; what it returned, None when it was killed. Raises AssertionError with what it printed when it ended in no other way."""
        try:
            self.process.wait(_LONGEST_RUN)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait()
            raise AssertionError(f"the run did not end within {_LONGEST_RUN:g} s") from None
        if self.process.returncode == -signal.SIGINT:
            return {"failed": True, "msg": "interrupted"}
        if self.process.returncode < 0:
            return None
        text = self._said.read_text()
        assert self.process.returncode == 0, text
        found: dict[str, Any] = json.loads(text.strip().rpartition("\n")[2])
        return found


class Watch:
    """Looks at the platform all the time: since when components stand still, and for how long they did at most."""

    def __init__(self, platform: Installed) -> None:
        self._objects = Objects(connect({"kubeconfig": str(platform.cluster.kubeconfig), "retry_timeout": 0}))
        self._namespace = platform.namespace
        self._since: float | None = None
        self.longest = 0.0
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    @property
    def still(self) -> float:
        """Seconds for which something has stood still, 0 when nothing does."""
        since = self._since
        return time.monotonic() - since if since is not None else 0.0

    def frozen(self) -> list[str]:
        """What stands still at this moment."""
        found = [document for kind in ("Deployment", "StatefulSet") for document in self._objects.list(KINDS[kind], namespace=self._namespace)]
        return [document["metadata"]["name"] for document in found if FROZEN in (document["metadata"].get("annotations") or {})]

    def _look(self) -> None:
        while not self._enough.wait(_LOOK):
            try:
                frozen = self.frozen()
            except Failure:
                continue
            if frozen and self._since is None:
                self._since = time.monotonic()
            self.longest = max(self.longest, self.still)
            if not frozen:
                self._since = None

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_trouble: object) -> None:
        self._enough.set()
        self._thread.join(10)


@dataclass
class Disaster:
    """One thing that happens to a run. ``undo`` makes it good again, ``lasting`` is for how many seconds it lasts at most."""

    name: str
    strike: Callable[[Process], None]
    undo: Callable[[], None] = lambda: None
    lasting: float = 0.0


def killed() -> Disaster:
    return Disaster("the run is killed", Process.kill)


def interrupted() -> Disaster:
    return Disaster("the run is interrupted", lambda process: process.process.send_signal(signal.SIGINT))


def programs_killed(*names: str) -> Disaster:
    """The next program of these names that the run starts, or has started, is killed."""

    def strike(process: Process) -> None:
        for pid in processes.wait_until(lambda: process.programs(*names) or process.ended, 20, 0.01) and process.programs(*names):
            processes.kill(pid)

    return Disaster(f"{names[-1]} is killed", strike)


def of_server(server: Server) -> Iterator[Disaster]:
    """What happens to a server beside the cluster."""

    def killed(_process: Process) -> None:
        server.kill()

    def stopped(_process: Process) -> None:
        server.stop()

    def cut(_process: Process) -> None:
        server.cut()

    yield Disaster(f"{server.name} is killed", killed, server.wait_ready)
    yield Disaster(f"{server.name} is stopped", stopped, server.start, 8)
    yield Disaster(f"{server.name} is cut off", cut, server.mend, 20)


def of_api_server(platform: Installed) -> Iterator[Disaster]:
    """What happens to the API server."""
    cluster = platform.cluster
    yield Disaster("the API server is killed", lambda _process: cluster.kill_component("kube-apiserver"), cluster.wait_ready)

    def back() -> None:
        cluster.start_component("kube-apiserver")
        cluster.wait_ready()

    yield Disaster("the API server is stopped", lambda _process: cluster.stop_component("kube-apiserver"), back, 15)


@dataclass
class Told:
    """What became of one interrupted move."""

    number: int
    what: str
    disaster: str
    moment: str
    outcome: str = ""
    seconds: float = 0.0
    longest_still: float = 0.0
    guard: bool = False
    troubles: list[str] = field(default_factory=list)

    def as_data(self) -> dict[str, Any]:
        return {**vars(self), "seconds": round(self.seconds, 1), "longest_still": round(self.longest_still, 1)}

    def __str__(self) -> str:
        how = f"{self.what}: {self.disaster}, {self.moment}; {self.outcome}{', guard' if self.guard else ''}"
        return f"{self.number}: {how}; stood still {self.longest_still:.0f} s of {self.seconds:.0f} s{''.join(f' !! {text}' for text in self.troubles)}"


@dataclass
class Strike:
    """When a run is hit: at a part of its usual length, or of the time for which it makes the platform stand still."""

    part: float
    still: bool

    def __str__(self) -> str:
        return f"at {self.part:.0%} of {'standing still' if self.still else 'the move'}"

    def await_moment(self, process: Process, watch: Watch, usual: Mapping[str, float]) -> None:
        """Wait until it is time, or the run has ended."""
        while not process.ended:
            if self.still and watch.still > self.part * usual["still"]:
                return
            if not self.still and process.seconds > self.part * usual["whole"]:
                return
            time.sleep(0.02)


def drawn(chance: random.Random, disasters: Sequence[Disaster]) -> tuple[Disaster, Strike]:
    """Draw what happens, and when."""
    # Half of them are killed runs: nothing else leaves a platform without anybody who cares for it.
    disaster = killed() if chance.random() < 0.4 else chance.choice(list(disasters))
    return disaster, Strike(chance.random(), chance.random() < 0.7)


def hit(disaster: Disaster, strike: Strike, process: Process, watch: Watch, usual: Mapping[str, float], lasting: float) -> bool:
    """Let it happen and make it good again after a while, a part of the longest; whether it happened before the run had ended."""
    strike.await_moment(process, watch, usual)
    if process.ended:
        return False
    with contextlib.ExitStack() as stack:
        stack.callback(disaster.undo)
        disaster.strike(process)
        end = time.monotonic() + lasting * disaster.lasting
        while time.monotonic() < end:
            time.sleep(0.05)
    return True
