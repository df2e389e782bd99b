"""Points that are signed well, but are not what was promised, as if who made them had been lied to: only a restore can see that."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.pack import INVENTORY, Kept, read_inventory
from ansible_collections.paas.hardening.plugins.module_utils._backup.custody.kind import FILE as SECRETS_FILE
from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.canonical import line_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.kind import FILES, digest_of_files
from ansible_collections.paas.hardening.plugins.module_utils._backup.volumes.engine import find as find_restic
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.stores import ordered
from tests.backup.copies import Copy, flip
from tests.backup.defects import Defect, Material, Spoil
from tests.backup.liars import LIARS, lying
from tests.backup.shop import BUCKET, encrypted

TORN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _whole: b"",
    "half": lambda whole: whole[: len(whole) // 2],
    "without its sum": lambda whole: whole[:-32],
    "a page short": lambda whole: whole[:-544] + whole[-32:],
    "one byte more": lambda whole: whole + b"x",
    "a page more": lambda whole: whole + bytes(512),
    "twice": lambda whole: whole + whole,
    "zeros": lambda whole: bytes(len(whole)),
}


def _snapshot(change: Callable[[bytes], bytes]) -> Spoil:
    def spoil(copy: Copy, _material: Material, _chance: random.Random) -> None:
        path = copy.file("etcd/snapshot.db")
        path.write_bytes(change(path.read_bytes()))
        copy.sign()

    return spoil


def _other_snapshot(name: str) -> Spoil:
    return lambda copy, material, _chance: (shutil.copy(material.snapshot(name), copy.file("etcd/snapshot.db")), copy.sign())


def _promised(kind: str, **changed: Any) -> Spoil:
    """Another promise than the files can keep. What is a function is given what was said."""

    def spoil(copy: Copy, _material: Material, _chance: random.Random) -> None:
        about = copy.promise(kind)
        copy.sign({kind: {**about, **{name: change(about[name]) if callable(change) else change for name, change in changed.items()}}})

    return spoil


def etcd(snapshots: tuple[str, ...]) -> list[Defect]:
    found = [Defect("etcd", f"snapshot {name}, signed", _snapshot(change)) for name, change in TORN.items()]
    found += [Defect("etcd", f"the snapshot of {name}, signed", _other_snapshot(name)) for name in snapshots]
    promises = {"one key more": {"keys": lambda keys: keys + 1}, "another content": {"content": "0" * 64}, "a later revision": {"revision": lambda at: at + 5}}
    return found + [Defect("etcd", f"a promise of {name}", _promised("etcd", **change)) for name, change in promises.items()]


def _other_dump(name: str) -> Spoil:
    """The dump of something else, with its own sums, where the point says what the right one held."""

    def spoil(copy: Copy, material: Material, _chance: random.Random) -> None:
        place = copy.place / "postgres/controller/dump"
        shutil.rmtree(place)
        shutil.copytree(material.dump(name), place)
        copy.sign()

    return spoil


def _on_dump(change: Callable[[Copy, Path], object]) -> Spoil:
    return lambda copy, _material, _chance: (change(copy, copy.place / "postgres/controller"), copy.sign())


def _less_held(place: Path) -> None:
    path = place / "held.json"
    held = json.loads(path.read_text())
    held["tables"].pop(min(held["tables"]))
    path.write_text(json.dumps(held))


def postgres(dumps: tuple[str, ...]) -> list[Defect]:
    found = [Defect("postgres", f"a dump with {name}, signed", _other_dump(name)) for name in dumps]
    spoilers: dict[str, Spoil] = {
        "a database that is not there": _on_dump(lambda _copy, place: shutil.rmtree(place)),
        "a database that nobody promised": _on_dump(lambda _copy, place: shutil.copytree(place, place.with_name("builder"))),
        "yesterday's dump with all that belongs to it": _on_dump(
            lambda copy, place: (shutil.rmtree(place), shutil.copytree(copy.before(place), place)),
        ),
        "a shorter list of what was held": _on_dump(lambda _copy, place: _less_held(place)),
        "content cut off": _on_dump(lambda _copy, place: os.truncate(place / "dump/content", 5000)),
        "content: a bit flipped": _on_dump(lambda _copy, place: flip(place / "dump/content", 8 * 20_000)),
    }
    return found + [Defect("postgres", f"{name}, signed", spoil) for name, spoil in spoilers.items()]


def _on_inventory(change: Callable[[list[Kept]], list[Kept]]) -> Spoil:
    def spoil(copy: Copy, _material: Material, _chance: random.Random) -> None:
        path = copy.place / "buckets" / BUCKET / INVENTORY
        entries = change(list(read_inventory(str(path))))
        path.write_bytes(b"".join(ordered.SEPARATOR.join(entry.as_record()) + ordered.END for entry in entries))
        copy.sign()

    return spoil


def _exchanged(entries: list[Kept]) -> list[Kept]:
    one, other, *rest = entries
    return [one._replace(digest=other.digest, size=other.size, offset=other.offset), other._replace(digest=one.digest, size=one.size, offset=one.offset), *rest]


def _stale(copy: Copy, _material: Material, _chance: random.Random) -> None:
    """One object as it was yesterday, whole, with the sum that it had then; the others are today's."""
    place = copy.place / "buckets" / BUCKET
    today = list(read_inventory(str(place / INVENTORY)))
    then = {entry.key: entry for entry in read_inventory(str(copy.before(place / INVENTORY)))}
    number = next(number for number, entry in enumerate(today) if entry.key in then and then[entry.key].digest != entry.digest)
    old = then[today[number].key]
    shutil.copy(copy.before(place / old.pack), place / old.pack)
    today[number] = old
    (place / INVENTORY).write_bytes(b"".join(ordered.SEPARATOR.join(entry.as_record()) + ordered.END for entry in today))
    copy.sign()


def _on_pack(change: Callable[[Path], object]) -> Spoil:
    return lambda copy, _material, _chance: (change(copy.file(f"buckets/{BUCKET}/pack-*")), copy.sign())


def _bucket(**changed: Any) -> Spoil:
    def spoil(copy: Copy, _material: Material, _chance: random.Random) -> None:
        about, bucket = copy.promise("buckets"), copy.promise("buckets", "buckets", BUCKET)
        copy.sign({"buckets": {**about, "buckets": {BUCKET: {**bucket, **{name: change(bucket[name]) for name, change in changed.items()}}}}})

    return spoil


def _one_bucket_more(copy: Copy, _material: Material, _chance: random.Random) -> None:
    about = copy.promise("buckets")
    copy.sign({"buckets": {**about, "buckets": {**about["buckets"], "builder": {**about["buckets"][BUCKET], "bucket": "builder"}}}})


def buckets() -> list[Defect]:
    spoilers: dict[str, Spoil] = {
        "an object left out": _on_inventory(lambda entries: entries[:-1]),
        "an object too many": _on_inventory(lambda entries: [*entries, entries[-1]._replace(key=entries[-1].key + b"x")]),
        "a key of another spelling": _on_inventory(lambda entries: [*entries[:-1], entries[-1]._replace(key=entries[-1].key + b"x")]),
        "the contents of two exchanged": _on_inventory(_exchanged),
        "an object of another sum": _on_inventory(lambda entries: [entries[0]._replace(digest="0" * 64), *entries[1:]]),
        "an object shorter by a byte": _on_inventory(lambda entries: [entries[0]._replace(size=entries[0].size - 1), *entries[1:]]),
        "no object at all": _on_inventory(lambda _entries: []),
        "an object as it was yesterday": _stale,
        "a bit flipped in a pack": _on_pack(lambda path: flip(path, 8 * 1000)),
        "a pack cut off": _on_pack(lambda path: os.truncate(path, path.stat().st_size - 1)),
        "a pack gone": _on_pack(lambda path: path.unlink()),
        "a promise of one object more": _bucket(objects=lambda count: count + 1),
        "a promise of another content": _bucket(content=lambda _digest: "0" * 64),
        "a promise of one bucket more": _one_bucket_more,
    }
    return [Defect("buckets", f"{name}, signed", spoil) for name, spoil in spoilers.items()]


Documents = list[dict[str, Any]]


def _on_objects(change: Callable[[Documents], Documents], believed: bool = False) -> Spoil:
    """Change the objects. ``believed``: the manifest says the same as the files, so that only a server that makes them can see it."""

    def spoil(copy: Copy, _material: Material, _chance: random.Random) -> None:
        place, about, count = copy.place / "objects", copy.promise("objects"), 0
        for name in FILES:
            path = place / name
            lines = path.read_bytes().splitlines()
            documents = change([json.loads(line) for line in lines])
            count += len(documents)
            path.write_bytes(b"".join(map(line_of, documents)))
        copy.sign({"objects": {**about, "objects": count, "content": digest_of_files(str(place))}} if believed else None)

    return spoil


def _without(kind: str) -> Callable[[Documents], Documents]:
    return lambda documents: [document for document in documents if document["kind"] != kind]


def _with(kind: str, *path: str, value: Any) -> Callable[[Documents], Documents]:
    """Set a field in every object of a kind; None takes it away."""

    def change(documents: Documents) -> Documents:
        for document in documents:
            if document["kind"] == kind:
                inner = document
                for name in path[:-1]:
                    inner = inner[name]
                inner.pop(path[-1], None)
                if value is not None:
                    inner[path[-1]] = value
        return documents

    return change


def objects() -> list[Defect]:
    changes: dict[str, Callable[[Documents], Documents]] = {
        "no claim": _without("PersistentVolumeClaim"),
        "no volume": _without("PersistentVolume"),
        "no namespace": _without("Namespace"),
        "a claim without its volume": _with("PersistentVolumeClaim", "spec", "volumeName", value=None),
        "a volume with another folder": _with("PersistentVolume", "spec", "nfs", "path", value="/exports/other"),
        "a volume that is wiped": _with("PersistentVolume", "spec", "persistentVolumeReclaimPolicy", value="Delete"),
        "fewer replicas": _with("Deployment", "spec", "replicas", value=1),
        "a setting of yesterday": _with("ConfigMap", "data", value={"mode": "production"}),
        "an object twice": lambda documents: [*documents, *documents[-1:]],
        "nothing": lambda _documents: [],
    }
    found = [Defect("objects", f"{name}, signed", _on_objects(change)) for name, change in changes.items()]
    believed: dict[str, Callable[[Documents], Documents]] = {
        "no namespace": _without("Namespace"),
        "an unknown field": _with("Deployment", "spec", "replicaz", value=3),
        "a wrong type": _with("Deployment", "spec", "replicas", value="three"),
        "no template": _with("Deployment", "spec", "template", value=None),
        "an impossible port": _with("Service", "spec", "ports", value=[{"port": 99999}]),
        "a default left out": _with("Deployment", "spec", "strategy", value=None),
        "an object twice": lambda documents: [*documents, *documents[-1:]],
    }
    return found + [Defect("objects", f"{name}, signed and promised", _on_objects(change, believed=True), empty=True) for name, change in believed.items()]


def _kept_for(recipients: Callable[[Copy, Material], list[str]], other: Mapping[str, Any] | None = None, told: bool = False) -> Spoil:
    """Secrets that were encrypted to others, or another one that was encrypted. ``told``: the manifest says so, too."""

    def spoil(copy: Copy, material: Material, _chance: random.Random) -> None:
        path = copy.place / "secrets" / SECRETS_FILE
        path.unlink()
        about = encrypted(other or material.secret, recipients(copy, material), str(path.parent))
        copy.sign({"secrets": about} if told else None)

    return spoil


def _ours(copy: Copy, _material: Material) -> list[str]:
    return list(copy.point.kinds["secrets"]["recipients"])


def custody() -> list[Defect]:
    def in_clear(copy: Copy, _material: Material, _chance: random.Random) -> None:
        (copy.place / "secrets" / SECRETS_FILE).write_text('{"secrets": []}')
        copy.sign()

    def cut(copy: Copy, _material: Material, _chance: random.Random) -> None:
        path = copy.place / "secrets" / SECRETS_FILE
        os.truncate(path, path.stat().st_size - 1)
        copy.sign()

    spoilers: dict[str, Spoil] = {
        "in clear": in_clear,
        "cut off": cut,
        "another Secret": _kept_for(_ours, {"kind": "Secret", "metadata": {"name": "other"}}),
        "for one key only": _kept_for(lambda copy, material: _ours(copy, material)[1:]),
        "for a stranger, too": _kept_for(lambda copy, material: [*_ours(copy, material), material.strangers[0]]),
        "for strangers only": _kept_for(lambda _copy, material: material.strangers[:2]),
        "for strangers only, promised": _kept_for(lambda _copy, material: material.strangers[:2], told=True),
        "a promise of another content": _promised("secrets", content="0" * 64),
        "a promise of one key more": _promised("secrets", recipients=lambda recipients: [*recipients, "age1other"]),
    }
    return [Defect("secrets", f"Secrets: {name}, signed", spoil) for name, spoil in spoilers.items()]


def _quietly(change: Callable[[Path], object]) -> Callable[[Path], None]:
    """The change alone: every time in the folder is what it was."""

    def work(folder: Path) -> None:
        times = {path: path.lstat().st_mtime_ns for path in (folder, *folder.rglob("*"))}
        change(folder)
        for path, modified in times.items():
            if path.exists() and not path.is_symlink():
                os.utime(path, ns=(modified, modified))

    return work


def _on_folder(change: Callable[[Path], object]) -> Spoil:
    """The files as they were, but for one change, kept by restic under the same path; the inventory is that of the true ones."""

    def spoil(copy: Copy, material: Material, _chance: random.Random) -> None:
        source, aside = material.folder, material.folder.with_name("aside")
        about = copy.promise("volumes")
        ((name, kept),) = about["folders"].items()
        source.rename(aside)
        try:
            subprocess.run(["cp", "-a", "--sparse=always", aside, source], check=True)
            change(source)
            snapshot, _added = find_restic(material.restic).keep(str(copy.place / "volumes/restic"), str(source), Deadline(120))
        finally:
            shutil.rmtree(source, ignore_errors=True)
            aside.rename(source)
        copy.sign({"volumes": {**about, "folders": {name: {**kept, "snapshot": snapshot}}}})

    return spoil


def _emptied(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _one_byte(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])


def _unlinked(folder: Path) -> None:
    """Two names of one file become two files."""
    path = folder / "claim-1/second"
    shutil.copy2(path, path.with_name("other"))
    os.replace(path.with_name("other"), path)


def _renamed_text(folder: Path) -> None:
    (folder / os.fsdecode(b"claim-1/no\xfftext")).rename(folder / "claim-1/notext")


def _relinked(path: Path) -> None:
    path.unlink()
    path.symlink_to("/somewhere/else")


def _yesterdays_folder(copy: Copy, _material: Material, _chance: random.Random) -> None:
    """Yesterday's files with yesterday's inventory: they agree with each other, and with what was promised today in nothing but the number."""
    place = copy.place / "volumes"
    shutil.rmtree(place)
    shutil.copytree(copy.before(place), place)
    about, before = copy.promise("volumes"), copy.earlier.kinds["volumes"]["folders"]
    ((name, kept),) = about["folders"].items()
    copy.sign({"volumes": {**about, "folders": {name: {**kept, "snapshot": before[name]["snapshot"]}}}})


def _moving(copy: Copy, material: Material, chance: random.Random) -> None:
    """A changed file that is excused as one that was being written at."""
    (copy.place / "volumes/0.moving").write_text(json.dumps(["claim-2/data"]))
    _on_folder(_quietly(lambda folder: _one_byte(folder / "claim-2/data")))(copy, material, chance)


def _kept(**changed: Any) -> Spoil:
    def spoil(copy: Copy, _material: Material, _chance: random.Random) -> None:
        about = copy.promise("volumes")
        ((name, kept),) = about["folders"].items()
        copy.sign({"volumes": {**about, "folders": {name: {**kept, **changed}}}})

    return spoil


def volumes() -> list[Defect]:
    changes: dict[str, Callable[[Path], object]] = {
        "an empty claim": lambda folder: _emptied(folder / "claim-2"),
        "everything empty": _emptied,
        "a file less": lambda folder: (folder / "claim-1/deep/7").unlink(),
        "a file more": lambda folder: (folder / "claim-1/deep/more").write_text("x"),
        "one byte of a file": lambda folder: _one_byte(folder / "claim-2/data"),
        "a file shorter by a byte": lambda folder: os.truncate(folder / "claim-1/deep/3", 1999),
        "another owner": lambda folder: os.chown(folder / "claim-1/deep/5", 33, 33),
        "another owner of a folder": lambda folder: os.chown(folder / "claim-1", 0, 0),
        "another mode": lambda folder: (folder / "claim-1/deep/5").chmod(0o666),
        "no setuid": lambda folder: (folder / "claim-1/tool").chmod(0o755),
        "an attribute lost": lambda folder: os.removexattr(folder / "claim-2/note", "user.told"),
        "a link that leads elsewhere": lambda folder: _relinked(folder / "claim-1/link"),
        "two names of one file as two files": _unlinked,
        "no pipe": lambda folder: (folder / "claim-1/fifo").unlink(),
        "a name that became text": _renamed_text,
        "a folder that became a file": lambda folder: (shutil.rmtree(folder / "claim-1/deep"), (folder / "claim-1/deep").touch()),
    }
    found = [Defect("volumes", f"{name}, signed", _on_folder(_quietly(change))) for name, change in changes.items()]
    later = _on_folder(lambda folder: os.utime(folder / "claim-1/deep/5", ns=(1, (folder / "claim-1/deep/5").stat().st_mtime_ns + 1)))
    spoilers: dict[str, Spoil] = {
        "a time later by a nanosecond": later,
        "yesterday's files and inventory": _yesterdays_folder,
        "a changed file that is excused": _moving,
        "a snapshot that is not there": _kept(snapshot="0" * 64),
        "a promise of one entry more": _kept(entries=999),
        "a promise of another inventory": _kept(content="0" * 64),
    }
    return found + [Defect("volumes", f"{name}, signed", spoil) for name, spoil in spoilers.items()]


def _lying(name: str) -> Spoil:
    return lambda copy, material, _chance: lying(copy.folder / "programs", material.etcd, name, copy.before(copy.file("etcd/snapshot.db")))


def _program(name: str, script: str) -> Spoil:
    """A program in the place of the real one, which is REAL in the script."""

    def spoil(copy: Copy, material: Material, _chance: random.Random) -> None:
        folder = copy.folder / "programs"
        folder.mkdir()
        for real in [Path(str(shutil.which("age"))), Path(material.restic), *material.postgres.iterdir()]:
            (folder / real.name).symlink_to(real)
        real = (folder / name).readlink()
        (folder / name).unlink()
        (folder / name).write_text(f"#!/bin/sh\nREAL={real}\n{script}\n")
        for path in (folder, copy.folder, folder / name):
            path.chmod(0o755)

    return spoil


def lies() -> list[Defect]:
    """The point is whole, but a program of the drill says yes to what it did not do."""
    found = [
        Defect("etcd", f"a drill where {name}", _lying(name), lambda copy: {"etcd_programs": str(copy.folder / "programs")})
        for name, (program, _pattern, _instead) in LIARS.items()
        if program != "etcdctl"
    ]
    restore = 'case " $* " in *" restore "*) exit 0;; esac; exec "$REAL" "$@"'
    part = 'case " $* " in *" restore "*) exec "$REAL" "$@" --exclude=data;; esac; exec "$REAL" "$@"'
    client = 'case " $* " in *" --list "*|*" --version "*) exec "$REAL" "$@";; esac; cat >/dev/null; exit 0'
    age = 'case " $* " in *" --decrypt "*) echo "{}"; exit 0;; esac; exec "$REAL" "$@"'
    return [
        *found,
        Defect("volumes", "a drill where restic restores nothing", _program("restic", restore), lambda copy: {"restic": str(copy.folder / "programs/restic")}),
        Defect("volumes", "a drill where restic leaves files out", _program("restic", part), lambda copy: {"restic": str(copy.folder / "programs/restic")}),
        Defect(
            "postgres",
            "a drill where pg_restore restores nothing",
            _program("pg_restore", client),
            lambda copy: {"client_folder": str(copy.folder / "programs")},
        ),
        Defect("secrets", "a drill where age opens something else", _program("age", age), lambda copy: {"age": str(copy.folder / "programs/age")}),
    ]


def controls(same: str) -> list[Defect]:
    """What the forgeries do, without the defect: a drill that is red for these would be red for any forgery. ``same`` is the dump of an unchanged copy."""
    spoilers: dict[str, Spoil] = {
        "point": lambda copy, _material, _chance: copy.sign(),
        "etcd": _snapshot(lambda whole: whole),
        "postgres": _other_dump(same),
        "objects": _on_objects(lambda documents: documents),
        "secrets": _kept_for(_ours),
        "volumes": _on_folder(_quietly(lambda _folder: None)),
        "buckets": _on_inventory(lambda entries: entries),
    }
    return [Defect(kind, "nothing", spoil) for kind, spoil in spoilers.items()]
