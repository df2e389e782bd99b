"""First process of a node: makes the node's private view of the machine, then keeps the node's daemons running.

Runs alone, outside the package: ``python -I supervisor.py FOLDER``. FOLDER/node.json says what to mount and which addresses to
take, FOLDER/components.json which daemons to run; SIGHUP makes it read the latter again. A daemon that ends is started anew after
a second, orphans are reaped. When this process dies, the kernel ends everything in the node.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RESTART_AFTER = 1.0
GATE_PAUSE = 0.1
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_SHARED = 0x1, 0x20, 0x1000, 0x4000, 0x100000
WAKE_UP = {signal.SIGCHLD, signal.SIGHUP}
_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """mount(2). Raises OSError."""
    if _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def settle(plan: dict[str, Any]) -> None:
    """Make the mounts, the files shown with another text and the network of the node."""
    mount("none", "/", "", MS_REC | MS_SHARED)  # what the kubelet mounts reaches its pods; the machine sees none of it
    socket.sethostname(plan["hostname"])
    mount("tmpfs", "/run", "tmpfs", 0, "mode=755")
    for folder in plan["run_folders"]:
        Path(folder).mkdir(parents=True, exist_ok=True)
    for source, target in plan["read_only_binds"].items():
        mount(source, target, "", MS_BIND)
        mount("none", target, "", MS_REMOUNT | MS_BIND | MS_RDONLY)
    for target, size in plan.get("in_memory", {}).items():
        mount("tmpfs", target, "tmpfs", 0, f"size={size}")
    # last: some lie within the read-only ones
    for source, target in plan["binds"].items():
        Path(source).mkdir(parents=True, exist_ok=True)
        mount(source, target, "", MS_BIND)
    for number, (path, value) in enumerate(plan["shown"].items()):
        shown = Path(f"/run/shown-{number}")
        shown.write_text(f"{value}\n")
        mount(str(shown), path, "", MS_BIND)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    deadline = time.monotonic() + 30
    # /sys still shows the devices of the machine outside, which may have an eth0 as well.
    while not Path("/proc/sys/net/ipv4/conf/eth0").exists():
        if time.monotonic() > deadline:
            raise TimeoutError("nobody plugged in eth0")
        time.sleep(0.02)
    subprocess.run(["ip", "-batch", "-"], input="\n".join(plan["network"]) + "\n", text=True, check=True)
    for path, value in plan["settings"].items():
        Path(path).write_text(value)
    Path("/run/settled").touch()


class Daemon:
    """One daemon: its command, whether it is wanted, and the process that runs it."""

    def __init__(self, folder: Path, spec: dict[str, Any]) -> None:
        self.log = folder / "log" / f"{spec['name']}.log"
        self.spec = spec
        self.pid = 0
        self.due = 0.0
        self.gate_passed = False

    def start(self) -> None:
        """Start the process, in a process group of its own, with its output in the log."""
        argv = self.spec["argv"]
        self.say("started: " + " ".join(argv))
        files = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(self.log), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        environment = {"PATH": os.environ["PATH"], "HOME": "/root", "LC_ALL": "C.UTF-8", **self.spec.get("env", {})}
        try:
            self.pid = os.posix_spawn(argv[0], argv, environment, file_actions=files, setpgroup=0, setsigmask=[])
        except OSError as error:
            self.say(f"cannot start: {error}")
            self.due = time.monotonic() + RESTART_AFTER

    def ended(self, status: int) -> None:
        """Note the end of the process and when to start the next."""
        self.say(f"ended: {os.waitstatus_to_exitcode(status)}")
        self.pid = 0
        self.due = time.monotonic() + RESTART_AFTER

    def may_start(self) -> bool:
        """Whether what it needs first answers; asked once in a node's life."""
        gate = self.spec.get("gate")
        self.gate_passed = self.gate_passed or not gate or answers(gate)
        return self.gate_passed

    def say(self, text: str) -> None:
        """Add a line of our own to the log."""
        with self.log.open("a") as stream:
            stream.write(f"supervisor {time.strftime('%H:%M:%S')}: {text}\n")


def answers(gate: dict[str, Any]) -> bool:
    """Whether the API server says that it is ready, by a certificate of the lab's authority."""
    trust = ssl.create_default_context(cafile=gate["ca"])
    try:
        with socket.create_connection((gate["host"], gate["port"]), timeout=2) as plain, trust.wrap_socket(plain, server_hostname=gate["host"]) as stream:
            stream.sendall(f"GET /readyz HTTP/1.0\r\nHost: {gate['host']}\r\n\r\n".encode())
            return stream.recv(64).split()[1:2] == [b"200"]
    except (OSError, ValueError):
        return False


def read(folder: Path, daemons: dict[str, Daemon]) -> None:
    """Take over the list of daemons; end those that are no longer wanted."""
    for spec in json.loads((folder / "components.json").read_text()):
        daemon = daemons.setdefault(spec["name"], Daemon(folder, spec))
        daemon.spec = spec
        if daemon.pid and not spec["wanted"]:
            os.kill(daemon.pid, signal.SIGKILL)
        elif not daemon.pid and spec["wanted"]:
            daemon.due = 0.0


def reap(daemons: dict[str, Daemon]) -> None:
    """Collect everything that has ended, our own or orphaned."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            for daemon in daemons.values():
                if daemon.pid == pid:
                    daemon.ended(status)


def run(folder: Path) -> None:
    """Keep the daemons running, without end."""
    daemons: dict[str, Daemon] = {}
    read(folder, daemons)
    while True:
        reap(daemons)
        next_look: list[float] = []
        for daemon in daemons.values():
            if daemon.pid or not daemon.spec["wanted"]:
                continue
            now = time.monotonic()
            if daemon.due <= now and daemon.may_start():
                daemon.start()
            if not daemon.pid:
                next_look.append(max(daemon.due - now, GATE_PAUSE))
        woken = signal.sigtimedwait(WAKE_UP, min(next_look)) if next_look else signal.sigwaitinfo(WAKE_UP)
        if woken and woken.si_signo == signal.SIGHUP:
            read(folder, daemons)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, WAKE_UP)
    state = Path(sys.argv[1])
    settle(json.loads((state / "node.json").read_text()))
    run(state)
