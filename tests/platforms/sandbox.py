"""The lab's base image as a folder: what runs in the pods, run here without a cluster, each program in namespaces of its own that end with it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from lab import layers, paths

# /dev is the machine's own, /proc a new one: PostgreSQL and nginx need both. The mounts end with the namespace.
ENTER = 'mount --rbind /dev "$1/dev" && mount -t proc proc "$1/proc" && exec chroot "$@"'
PATH = "/usr/local/sbin:/usr/local/bin:/usr/lib/postgresql/15/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def free_port() -> int:
    """A port of the loopback interface that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Sandbox:
    """A root folder made of the base image's layer and lab/image."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def unpack(cls, folder: Path) -> Sandbox:
        """Make one; the layer is built first where the cache does not hold it."""
        subprocess.run(["tar", "--extract", "--preserve-permissions", "--directory", folder, "--file", layers.debian(print).path], check=True)
        shutil.copytree(paths.IMAGE_FOLDER, folder, dirs_exist_ok=True)
        return cls(folder)

    def _command(self, command: tuple[str, ...], own_network: bool = False) -> list[str]:
        network, prepare = (["--net"], "ip link set lo up && ") if own_network else ([], "")
        # should the test run be killed, the program ends with it
        return [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            *network,
            "sh",
            "-c",
            prepare + ENTER,
            "sh",
            str(self.folder),
            *command,
        ]

    def run(self, *command: str, env: Mapping[str, str] | None = None, stdin: str = "", own_network: bool = False) -> str:
        """The output of a program that is run to its end, if told with a network of its own where every port is free. Raises AssertionError."""
        whole = self._command(command, own_network)
        done = subprocess.run(whole, input=stdin, env={"PATH": PATH, **(env or {})}, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    @contextlib.contextmanager
    def running(
        self, *command: str, port: int, env: Mapping[str, str] | None = None, stop_signal: signal.Signals = signal.SIGTERM
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run a program as long as the block lasts; it begins when the port of the loopback interface takes a connection."""
        with (self.folder / f"program-{port}.log").open("ab") as log:
            process = subprocess.Popen(self._command(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={"PATH": PATH, **(env or {})})
        try:
            self._wait(process, port, command)
            yield process
        finally:
            end(process, stop_signal)

    def _wait(self, process: subprocess.Popen[bytes], port: int, command: tuple[str, ...]) -> None:
        until = time.monotonic() + 30
        while time.monotonic() < until and process.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            time.sleep(0.05)
        text = (self.folder / f"program-{port}.log").read_text(errors="replace")
        raise AssertionError(f"{' '.join(command)} does not listen on port {port}:\n{text[-2000:]}")


def end(process: subprocess.Popen[bytes], stop_signal: signal.Signals) -> None:
    """Ask the program to end as the kubelet does, and take its namespace away when it does not."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for child in children.read_text().split():
            os.kill(int(child), stop_signal)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
