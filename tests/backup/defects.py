"""What may be wrong with a recovery point, as a catalogue: each defect spoils a copy of a real one, and a drill has to be red.

Here: files that are not what was signed, and documents that are not what they were. What is signed well, but not what was promised, is in forgeries.py.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.paas.hardening.plugins.module_utils._backup.custody.kind import FILE as SECRETS_FILE
from ansible_collections.paas.hardening.plugins.module_utils._backup.signature import SigningKey
from tests.backup.copies import Copy, flip, link_away
from tests.backup.shop import BUCKET


@dataclass(frozen=True)
class Material:
    """What defects are made of. ``snapshot`` and ``dump`` give whole ones of something else, by what they hold; ``folder`` is what the point keeps.

    ``secret`` is what is in custody; ``etcd``, ``postgres`` and ``restic`` are where the programs are.
    """

    snapshot: Callable[[str], Path]
    dump: Callable[[str], Path]
    folder: Path
    secret: Mapping[str, Any]
    strangers: list[str]
    etcd: Path
    postgres: Path
    restic: str


Spoil = Callable[[Copy, Material, random.Random], object]


def _none(_copy: Copy) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True)
class Defect:
    """One way to be wrong, and the kind that is drilled ("point": all of them). ``options`` are further ones of the drill, of a copy that was spoilt.

    ``empty`` asks for an empty API server.
    """

    kind: str
    name: str
    spoil: Spoil
    options: Callable[[Copy], Mapping[str, Any]] = _none
    empty: bool = False

    @property
    def kinds(self) -> list[str]:
        return [] if self.kind == "point" else [self.kind]


# ---- Files that are not what was signed -------------------------------------------------------------------------------------------------------------------

PLACES = {
    "etcd": ("etcd/snapshot.db",),
    "postgres": ("postgres/controller/dump/content", "postgres/controller/dump/dump.json", "postgres/controller/held.json"),
    "buckets": (f"buckets/{BUCKET}/inventory", f"buckets/{BUCKET}/pack-*"),
    "objects": ("objects/2-volumes.json", "objects/3-objects.json"),
    "secrets": (f"secrets/{SECRETS_FILE}",),
    "volumes": ("volumes/0.inventory", "volumes/restic/data/*/*", "volumes/restic/index/*", "volumes/restic/snapshots/*"),
}
# The same from one point to the next, or of another name: nothing could be exchanged.
UNCHANGED = ("dump/dump.json", "2-volumes.json", "restic/", "pack-")
DAMAGES: dict[str, Callable[[Path, Copy, random.Random], object]] = {
    "a bit flipped": lambda path, _copy, chance: flip(path, chance.getrandbits(48)),
    "cut off": lambda path, _copy, chance: os.truncate(path, chance.randrange(path.stat().st_size)),
    "zeros": lambda path, _copy, _chance: path.write_bytes(bytes(path.stat().st_size)),
    "gone": lambda path, _copy, _chance: path.unlink(),
    "a link": lambda path, copy, _chance: link_away(path, copy.folder / "elsewhere"),
}


def _damaged(pattern: str, damage: Callable[[Path, Copy, random.Random], object]) -> Spoil:
    return lambda copy, _material, chance: damage(copy.file(pattern), copy, chance)


def _yesterdays(pattern: str) -> Spoil:
    def spoil(copy: Copy, _material: Material, _chance: random.Random) -> None:
        path = copy.file(pattern)
        assert path.read_bytes() != copy.before(path).read_bytes(), "it is the same: no defect"
        shutil.copy(copy.before(path), path)

    return spoil


def files() -> list[Defect]:
    found = []
    for kind, patterns in PLACES.items():
        for pattern in patterns:
            name = pattern.partition("/")[2]
            found += [Defect(kind, f"{name}: {what}", _damaged(pattern, damage)) for what, damage in DAMAGES.items()]
            if not any(part in pattern for part in UNCHANGED):
                found.append(Defect(kind, f"{name}: yesterday's", _yesterdays(pattern)))
    return found


# ---- Documents that are not what they were ----------------------------------------------------------------------------------------------------------------


def _on_manifest(change: Callable[[Path, random.Random], object]) -> Spoil:
    return lambda copy, _material, chance: change(copy.place / "manifest", chance)


def _resigned(secret: bytes) -> Callable[[Path, random.Random], object]:
    return lambda path, _chance: path.write_bytes(SigningKey(secret).sign(path.read_bytes().split(b"\n", 1)[1]))


def _unproved(copy: Copy, verdict: str) -> None:
    copy.sign(proofs={**copy.point.proofs, "etcd": {"verdict": verdict, "checks": []}})


def _twin(copy: Copy) -> None:
    """The same number once more, under a name of its own, whole and signed."""
    number = copy.point.identifier.partition("-")[0]
    shutil.copytree(copy.place, copy.place.with_name(f"{number}-00000000"), symlinks=True)
    Copy(copy.folder, replace(copy.point, identifier=f"{number}-00000000"), copy.earlier).sign()


def _other_key(copy: Copy, text: str) -> None:
    (copy.folder / "key").write_text(f"{text}\n")


def documents() -> list[Defect]:
    spoilers: dict[str, Spoil] = {
        "manifest torn": _on_manifest(lambda path, chance: os.truncate(path, chance.randrange(200, 900))),
        "manifest empty": _on_manifest(lambda path, _chance: path.write_bytes(b"")),
        "manifest: a bit flipped": _on_manifest(lambda path, chance: flip(path, chance.randrange(110 * 8, path.stat().st_size * 8))),
        "signature: a bit flipped": _on_manifest(lambda path, chance: flip(path, chance.randrange(40 * 8, 100 * 8))),
        "manifest gone": _on_manifest(lambda path, _chance: path.unlink()),
        "manifest a link": _on_manifest(lambda path, _chance: link_away(path, path.parents[3] / "elsewhere")),
        "manifest without a signature": _on_manifest(lambda path, _chance: path.write_bytes(path.read_bytes().split(b"\n", 1)[1])),
        "signed by a stranger": _on_manifest(_resigned(b"x" * 32)),
        "yesterday's manifest": lambda copy, _m, _c: shutil.copy(copy.before(copy.place / "manifest"), copy.place / "manifest"),
        "yesterday's point under today's name": lambda copy, _m, _c: (
            shutil.rmtree(copy.place),
            shutil.copytree(copy.repository / "points" / copy.earlier.identifier, copy.place),
        ),
        "today's point gone": lambda copy, _m, _c: shutil.rmtree(copy.place),
        "today's point under another number": lambda copy, _m, _c: copy.place.rename(copy.place.with_name("00000009-00000000")),
        "today's point under no name of a point": lambda copy, _m, _c: copy.place.rename(copy.place.with_name("latest")),
        "its number twice": lambda copy, _m, _c: _twin(copy),
        "proof failed": lambda copy, _m, _c: _unproved(copy, "fail"),
        "proof unknown": lambda copy, _m, _c: _unproved(copy, "unknown"),
        "no proof of a kind": lambda copy, _m, _c: copy.sign(proofs={"etcd": copy.point.proofs["etcd"]}),
        "of another repository": lambda copy, _m, _c: copy.sign(repository="0" * 32),
        "a link of its chain missing": lambda copy, _m, _c: copy.sign(parents=("00000007-00000000",)),
        "a file that no manifest names": lambda copy, _m, _c: (copy.place / "etcd/more").write_bytes(b"x"),
        "a file that the manifest leaves out": lambda copy, _m, _c: copy.sign(files=copy.point.files[1:]),
        "a path that leads out": lambda copy, _m, _c: copy.sign(files=(replace(copy.point.files[0], path="../../key"), *copy.point.files[1:])),
        "the identity gone": lambda copy, _m, _c: (copy.repository / "repository").unlink(),
        "the identity: a bit flipped": lambda copy, _m, chance: flip(copy.repository / "repository", chance.randrange(110 * 8, 150 * 8)),
        "open to others": lambda copy, _m, _c: copy.repository.chmod(0o750),
        "the signing key lost, another one given": lambda copy, _m, _c: _other_key(copy, "y" * 64),
    }
    return [Defect("point", name, spoil, _young) for name, spoil in spoilers.items()]


def _young(_copy: Copy) -> Mapping[str, Any]:
    """Nothing but its age tells a repository that was set back."""
    return {"max_age": "12h"}
