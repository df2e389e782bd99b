"""Recovery points for tests: real folders in a real repository, with a content that says nothing."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.paas.hardening.plugins.module_utils._backup.catalogue import Catalogue, Stage, Writer
from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import Manifest
from ansible_collections.paas.hardening.plugins.module_utils._backup.signature import KeyRing, SigningKey
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline

PASSED = {"verdict": "pass", "checks": [], "restored_in": 0.1}


def ring() -> KeyRing:
    return KeyRing(SigningKey(secrets.token_bytes(32)))


def manifest(stage: Stage, identity: str, instant: float = 1000.0, proof: Mapping[str, Any] = PASSED, **changed: Any) -> Manifest:
    fields: dict[str, Any] = {
        "identifier": stage.identifier,
        "repository": identity,
        "began": instant,
        "instant": instant,
        "ended": instant + 1,
        "kinds": {"etcd": {"cluster": "c1", "revision": int(instant), "keys": 1, "needs": []}},
        "files": stage.stored_files(),
        "tools": {"etcdutl": "3.6.1"},
        "keys": {"signature": "k"},
        "proofs": {"etcd": dict(proof)},
    }
    return Manifest(**{**fields, **changed})


def fill(stage: Stage, sizes: Sequence[int] = (1000, 0)) -> None:
    folder = Path(stage.folder) / "etcd"
    folder.mkdir()
    for number, size in enumerate(sizes):
        (folder / f"file{number}").write_bytes(bytes(index * 7 % 251 for index in range(size)))


def publish(writer: Writer, catalogue: Catalogue, instant: float = 1000.0, sizes: Sequence[int] = (1000, 0), **changed: Any) -> Manifest:
    with writer.stage() as stage:
        fill(stage, sizes)
        return writer.publish(stage, manifest(stage, catalogue.read().identity, instant, **changed))


def make(folder: Path, count: int = 1, keys: KeyRing | None = None) -> Catalogue:
    """A repository with so many points, a day apart."""
    catalogue = Catalogue(str(folder), keys or ring())
    with catalogue.writing(Deadline(5)) as writer:
        for number in range(count):
            publish(writer, catalogue, 1000.0 + 86400 * number)
    return catalogue
