"""A point of a whole platform: the options that take one, keys of age for it, and what is restored of it by hand."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.paas.hardening.plugins.module_utils._backup import recovery_point
from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.pack import INVENTORY, Packs, read_inventory
from ansible_collections.paas.hardening.plugins.module_utils._backup.custody.kind import FILE
from ansible_collections.paas.hardening.plugins.module_utils._backup.postgres.kind import kept
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._core.run import run
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.client import find
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.move import restore
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.scratch import account_of, find_server, private_folder, scratch_server
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server
from tests.backup.asking import key_file, parameters
from tests.contract.installed import Installed

KINDS = ["buckets", "objects", "postgres", "secrets"]
AGE = "age"


@dataclass(frozen=True)
class Identity:
    """Who can open what is in custody: a public key, and the file with its counterpart."""

    recipient: str
    file: Path


def identity(folder: Path, name: str) -> Identity:
    """Make a pair of keys, as somebody does it on another machine."""
    file = folder / f"{name}.txt"
    subprocess.run(["age-keygen", "-o", file], check=True, capture_output=True)
    made = subprocess.run(["age-keygen", "-y", file], check=True, capture_output=True, text=True)
    return Identity(made.stdout.strip(), file)


def options_for(folder: Path, platform: Installed, identities: list[Identity], newest: str = "", **changed: Any) -> dict[str, Any]:
    """The module's options for a point of the platform, as the cluster's administrator."""
    given = {
        "repository": str(folder / "repository"),
        "signing_key_file": key_file(folder),
        "kinds": KINDS,
        "cluster": {"kubeconfig": str(platform.cluster.kubeconfig), "namespace": platform.namespace},
        "postgres": {"client_folder": newest, "server_folder": newest},
        "secrets": {"recipients": [entry.recipient for entry in identities]},
    }
    return {**given, **changed}


def take(options: Mapping[str, Any], check: bool = False) -> dict[str, Any]:
    """Run workflow_backup."""
    return run(recovery_point.VERB.begin, parameters(recovery_point.VERB, options), check=check, diff=True)


def files_of(folder: Path, point: Mapping[str, Any], kind: str) -> Path:
    return folder / "repository" / "points" / str(point["identifier"]) / kind


def opened(folder: Path, point: Mapping[str, Any], key: Identity) -> dict[str, Any]:
    """What is in custody, as its keeper reads it elsewhere. Raises AssertionError when it is not what the point says."""
    done = subprocess.run([AGE, "--decrypt", "--identity", key.file, files_of(folder, point, "secrets") / FILE], check=True, capture_output=True)
    assert hashlib.sha256(done.stdout).hexdigest() == point["kinds"]["secrets"]["content"]
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def held(folder: Path) -> dict[str, str]:
    """Key to SHA-256 of what the files of a bucket give back."""
    found = {}
    with Packs(str(folder)) as packs:
        for entry in read_inventory(str(folder / INVENTORY)):
            body = b"".join(packs.pieces(entry))
            assert hashlib.sha256(body).hexdigest() == entry.digest
            found[entry.key.decode()] = entry.digest
    return found


def values_of(document: Mapping[str, Any]) -> list[bytes]:
    """The values of all Secrets in custody that are long enough to be known again."""
    values = [base64.b64decode(value) for entry in document["secrets"] for value in (entry.get("data") or {}).values()]
    return [value for value in values if len(value) >= 12]


@contextlib.contextmanager
def restored(folder: Path, point: Mapping[str, Any], newest: str, role: str = "controller") -> Iterator[Server]:
    """Restore a database of a point by hand, and yield how it is entered."""
    made, _expected = kept(str(files_of(folder, point, "postgres")))[role]
    there, client = find_server(newest), find(newest)
    with private_folder("/var/tmp", f"by hand {folder}") as place, scratch_server(there, client, place, account_of(), Deadline(120)) as server:
        client.query(server, "SELECT 1 AS one")
        with client.session(server) as session:
            session.execute("CREATE DATABASE by_hand TEMPLATE template0")
        entered = Server(server.host, server.user, "by_hand", server.password)
        restore(client, made, entered)
        yield entered


def spoilt(folder: Path, point: Mapping[str, Any], kind: str, name: str) -> Path:
    """A copy of a kind's files, to be changed: a published point is not."""
    target = folder / name
    shutil.copytree(files_of(folder, point, kind), target)
    return target
