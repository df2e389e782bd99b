"""Helm 2, the real one: built from its own last sources, with its server running beside the test instead of in the cluster."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import builds, locks, paths
from lab.progress import run_long

SOURCES = Path(__file__).parent / "helm2-sources"
FLAGS = "-s -w -X k8s.io/helm/pkg/version.Version=v2.17.0 -X k8s.io/helm/pkg/version.BuildMetadata="
# Measured with nothing cached, on two busy cores.
SECONDS = 150


def programs(report: Callable[[str], None]) -> Path:
    """Return the folder with ``helm`` and ``tiller``; they are built once for each content of the sources."""
    digest = hashlib.sha256(FLAGS.encode())
    for file in sorted(SOURCES.rglob("*")):
        if file.is_file():
            digest.update(str(file.relative_to(SOURCES)).encode() + file.read_bytes())
    place = paths.builds() / f"helm2-{digest.hexdigest()[:16]}"
    done = place / "bin"
    with locks.held(place / "lock", lambda: report("another process builds Helm 2, waiting")):
        if not done.is_dir():
            fresh = place / "fresh"
            fresh.mkdir(exist_ok=True)
            command = [builds.go(), "build", "-trimpath", "-ldflags", FLAGS, "-o", f"{fresh}/", "tool"]
            run_long(command, "building Helm 2", place / "build.log", report, expected=SECONDS, env=builds.environment(), folder=SOURCES)
            fresh.replace(done)
    return done


@contextmanager
def tiller(program: Path, kubeconfig: Path, namespace: str, folder: Path) -> Iterator[str]:
    """Run Helm 2's server with its records in the namespace; yield the address for ``HELM_HOST``."""
    port, probes = _free_port(), _free_port()
    addresses = ["--listen", f"127.0.0.1:{port}", "--probe-listen", f"127.0.0.1:{probes}"]
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "TILLER_NAMESPACE": namespace}
    with (folder / "tiller.log").open("wb") as log:
        server = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "--", str(program), "--storage=configmap", *addresses], stdout=log, stderr=log, env=environment
        )
    try:
        _wait(port, server)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=10)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert server.poll() is None, "tiller has ended"
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError("tiller does not listen")
