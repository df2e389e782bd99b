# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The empty API server in which objects are made once: one that is given, or kube-apiserver on loopback with an etcd of its own, thrown away afterwards."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
from contextlib import ExitStack, contextmanager, suppress
from itertools import takewhile
from typing import Any, Dict, Iterator, List, Mapping, Optional

from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import told, write_file
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.programs import end, start
from ansible_collections.paas.hardening.plugins.module_utils._backup.kind import Scratch
from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import connect
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, MissingDependency, NotProven, TimedOut
from ansible_collections.paas.hardening.plugins.module_utils._core.redact import scrub
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline

ARGUMENTS: Dict[str, Any] = {
    "empty_server": {"type": "path"},
    "apiserver_folder": {"type": "path"},
}
_NAMES = ("etcd", "kube-apiserver")
_HERE = "127.0.0.1"
# Sockets in the folder that the programs run in.
_CLIENT, _PEER = "unix://client.sock:0", "unix://peer.sock:0"
_TOKENS = "tokens.csv"
_LOOK = 0.1
_REMEDY = "Is there room for it on the disk, and are both programs of the releases that the cluster runs?"
_LONGEST_WORDS = 300


def check(options: Mapping[str, Any], subject: str) -> None:
    """Refuse options that cannot be followed. ``subject`` stands before their names. Raises Invalid, and MissingDependency for programs that are not there."""
    path, folder = options["empty_server"], options["apiserver_folder"]
    if path and folder:
        raise Invalid(f"{subject}empty_server and {subject}apiserver_folder are both given.", "Give one of them.", f"{subject}apiserver_folder")
    if path and not os.path.isfile(path):
        raise Invalid(f"{subject}empty_server {path} is no file.", "Give a kubeconfig of an empty API server.", f"{subject}empty_server")
    if folder:
        _find(folder, subject)


@contextmanager
def empty_server(options: Mapping[str, Any], scratch: Scratch, deadline: Deadline) -> Iterator[Optional[Objects]]:
    """Yield the empty server that the options name, or have the programs of; None without either. Raises NotProven and TimedOut when it does not start."""
    if options["apiserver_folder"]:
        with scratch() as place, _started(_find(options["apiserver_folder"]), place, deadline) as server:
            yield server
    else:
        yield Objects(connect({"kubeconfig": options["empty_server"]})) if options["empty_server"] else None


def _find(folder: str, subject: str = "") -> Dict[str, str]:
    found = {name: shutil.which(name, path=folder) for name in _NAMES}
    for name, path in found.items():
        if path is None:
            hint = "Objects are made in an API server of their own: take both programs from the releases that the cluster runs."
            raise MissingDependency(f"{name} is not in {folder}.", hint, f"{subject}apiserver_folder")
    return {name: str(path) for name, path in found.items()}


@contextmanager
def _started(paths: Mapping[str, str], folder: str, deadline: Deadline) -> Iterator[Objects]:
    token = secrets.token_hex(24)
    write_file(os.path.join(folder, _TOKENS), f'{token},proof,1,"system:masters"\n'.encode("ascii"))
    with socket.socket() as probe:
        probe.bind((_HERE, 0))
        port = probe.getsockname()[1]
    etcd = [
        "--name=default",
        "--data-dir=data",
        f"--listen-client-urls={_CLIENT}",
        f"--advertise-client-urls={_CLIENT}",
        f"--listen-peer-urls={_PEER}",
        # What is thrown away need not outlive a power cut.
        "--unsafe-no-fsync",
        "--log-level=error",
    ]
    server = [
        f"--etcd-servers={_CLIENT}",
        f"--bind-address={_HERE}",
        f"--secure-port={port}",
        # A machine without a default route has no other address to tell, and nobody is to be told.
        f"--advertise-address={_HERE}",
        "--endpoint-reconciler-type=none",
        # It makes a key and a certificate there, and has no accounts that would need a key of their own.
        "--cert-dir=.",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-account-key-file=apiserver.key",
        "--service-account-signing-key-file=apiserver.key",
        f"--token-auth-file={_TOKENS}",
        "--authorization-mode=RBAC",
        "--service-cluster-ip-range=10.96.0.0/16",
    ]
    with ExitStack() as stack:
        running = {name: stack.enter_context(_running(paths[name], flags, folder)) for name, flags in zip(_NAMES, (etcd, server))}
        authority = os.path.join(folder, "apiserver.crt")
        while not (os.path.exists(authority) and _is_ready(port, authority, token)):
            for name, process in running.items():
                if process.poll() is not None:
                    raise NotProven(f"{name} ended with status {process.returncode}: {_last_words(folder, name)}", _REMEDY, "apiserver_folder")
            if not deadline.pause(_LOOK):
                raise TimedOut(f"kube-apiserver was not ready within {deadline.seconds:.0f} s.", "Give it more time with timeout.", "apiserver_folder")
        yield Objects(connect({"host": f"https://{_HERE}:{port}", "api_key": token, "ca_cert": authority}))


@contextmanager
def _running(path: str, flags: List[str], folder: str) -> Iterator[subprocess.Popen[bytes]]:
    log_file = _log(folder, os.path.basename(path))
    with told("written", log_file), open(log_file, "wb") as log:
        process = start([path, *flags], folder, log.fileno())
    try:
        yield process
    finally:
        end(process)


def _is_ready(port: int, authority: str, token: str) -> bool:
    try:
        connection = http.client.HTTPSConnection(_HERE, port, context=ssl.create_default_context(cafile=authority), timeout=5)
        try:
            connection.request("GET", "/readyz", headers={"Authorization": f"Bearer {token}"})
            return connection.getresponse().status == 200
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return False


def _log(folder: str, name: str) -> str:
    return os.path.join(folder, f"{name}.log")


def _last_words(folder: str, name: str) -> str:
    """Return what a program said at last, before the trace of a panic; of a line of etcd's, which is a document, what happened and why."""
    with open(_log(folder, name), encoding="utf-8", errors="replace") as file:
        lines = [line.strip() for line in takewhile(lambda line: not line.startswith("goroutine "), file) if line.strip()]
    for line in reversed(lines):
        with suppress(ValueError, KeyError, TypeError):
            document = json.loads(line)
            return scrub(f"{document['msg']} ({document['error']}).")[:_LONGEST_WORDS]
    return scrub(lines[-1])[-_LONGEST_WORDS:] if lines else "it said nothing."
