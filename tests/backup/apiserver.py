"""An empty API server on loopback, with an etcd of its own, to be thrown away; ended by its numbers."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from lab import builds, processes
from tests.backup.member import free_ports

PROGRAMS = ["etcd", "kube-apiserver"]
_READY_SECONDS = 90.0


def linked(folder: Path) -> Path:
    """The folder, with both programs in it, as a host has them."""
    folder.mkdir(exist_ok=True)
    for name in PROGRAMS:
        (folder / name).symlink_to(builds.binary(name))
    return folder


@contextlib.contextmanager
def empty_server(folder: Path, binds: bool = False, address: str = "127.0.0.1") -> Iterator[Path]:
    """Yield the kubeconfig of its administrator, until the end of the block. No controller works there but, with ``binds``, the one that binds claims."""
    folder.mkdir(mode=0o700)
    client, peer, port = free_ports(3)
    token = secrets.token_hex(24)
    for name, text in {"tokens.csv": f'{token},operator,1,"system:masters"\n', "kubeconfig": json.dumps(_kubeconfig(address, port, token))}.items():
        with open(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(text)
    processes.run(["openssl", "genrsa", "-out", "accounts.key", "2048"], folder=folder)
    store, advertised = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    etcd = [
        f"--data-dir={folder / 'data'}",
        f"--listen-client-urls={store}",
        f"--advertise-client-urls={store}",
        f"--listen-peer-urls={advertised}",
        f"--initial-advertise-peer-urls={advertised}",
        f"--initial-cluster=default={advertised}",
        "--unsafe-no-fsync",
        "--log-level=error",
    ]
    server = [
        f"--etcd-servers={store}",
        f"--bind-address={address}",
        f"--secure-port={port}",
        f"--cert-dir={folder}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder / 'accounts.key'}",
        f"--service-account-signing-key-file={folder / 'accounts.key'}",
    ]
    with contextlib.ExitStack() as stack:
        for name, arguments in (("etcd", etcd), ("kube-apiserver", server)):
            stack.enter_context(_running(folder, name, arguments))
        ready = f"http://127.0.0.1:{client}/health"
        assert processes.wait_until(lambda: _answers(ready), _READY_SECONDS, pause=0.2), (folder / "etcd.log").read_text()[-2000:]
        assert processes.wait_until(lambda: _is_ready(folder), _READY_SECONDS, pause=0.5), (folder / "kube-apiserver.log").read_text()[-2000:]
        if binds:
            chosen = ["--controllers=persistentvolume-binder-controller", "--leader-elect=false", "--secure-port=0"]
            stack.enter_context(_running(folder, "kube-controller-manager", [f"--kubeconfig={folder / 'kubeconfig'}", *chosen]))
        yield folder / "kubeconfig"


def _kubeconfig(address: str, port: int, token: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "empty",
        "contexts": [{"name": "empty", "context": {"cluster": "empty", "user": "operator"}}],
        "clusters": [{"name": "empty", "cluster": {"server": f"https://{address}:{port}", "insecure-skip-tls-verify": True}}],
        "users": [{"name": "operator", "user": {"token": token}}],
    }


@contextlib.contextmanager
def _running(folder: Path, name: str, arguments: list[str]) -> Iterator[None]:
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", str(builds.binary(name)), *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _is_ready(folder: Path) -> bool:
    asked = ["--kubeconfig", str(folder / "kubeconfig"), "get", "--raw", "/readyz"]
    return subprocess.run([builds.binary("kubectl"), *asked], capture_output=True, check=False).returncode == 0
