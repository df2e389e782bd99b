"""Containerd's store of images: made once per set of images, then handed to each node in no time.

A node owns its databases, has links to the blobs, and sees the unpacked layers through read-only mounts. That takes
milliseconds where an import takes seconds, and a node can never spoil another's.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Collection
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from lab import images, locks, node_files, nodes, paths, processes
from lab.images import Image
from lab.layout import Layout
from lab.progress import Report, run_long

_IMPORT_SECONDS = 20
# A containerd of its own, unseen from outside, for as long as the import takes.
_IMPORT = """set -e
mount -t tmpfs tmpfs /run
containerd --config "$1" &
for attempt in $(seq 200); do ctr version >/dev/null 2>&1 && break; sleep 0.05; done
ctr --namespace k8s.io images import "$2"
kill $!
wait $! || true
"""


def node_store(layout: Layout, number: int) -> Path:
    """Root folder of a node's containerd."""
    return layout.node(number) / "containerd"


def _key(wanted: Collection[Image]) -> str:
    version = processes.run([node_files.installed("containerd"), "--version"])
    text = version + "".join(f"{image.name}={image.identity}\n" for image in sorted(wanted, key=lambda image: image.name))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _layers(wanted: Collection[Image]) -> list[str]:
    return sorted({layer.digest for image in wanted for layer in image.layers})


def store(wanted: Collection[Image], report: Report, upon: Collection[Image] = ()) -> Path:
    """Folder of a store that holds the images and those of ``upon``, made if need be; it starts as a copy of the store of ``upon``."""
    whole = [*upon, *wanted]
    place = paths.private_folder(paths.images() / "stores") / _key(whole)
    if (place / "complete").exists():
        return place / "root"
    start = store(upon, report) if upon else None
    with locks.held(place.with_suffix(".lock"), lambda: report("  images: another process imports them, waiting")):
        if (place / "complete").exists():
            return place / "root"
        shutil.rmtree(place, ignore_errors=True)
        paths.private_folder(place)
        if start:
            with _stores_held():
                copy(start, place / "root")
        _import(place, wanted, _layers(upon), report)
        (place / "complete").touch()
        with _stores_held():
            _forget_others(keep={place, *({start.parent} if start else set())})
    return place / "root"


def _stores_held() -> AbstractContextManager[None]:
    """Keeps stores from being removed while another process copies one."""
    return locks.held(paths.images() / "stores")


def _import(place: Path, wanted: Collection[Image], present: Collection[str], report: Report) -> None:
    with tempfile.TemporaryDirectory(dir=place) as work:
        archive, configuration = Path(work, "images.tar"), Path(work, "containerd.toml")
        images.archive(archive, wanted, present)
        head = node_files.containerd_head(place / "root", "io.containerd.grpc.v1.cri")
        configuration.write_text(head)
        run_long(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", _IMPORT, "sh", str(configuration), str(archive)],
            f"importing {len(wanted)} images",
            place / "import.log",
            report,
            expected=_IMPORT_SECONDS,
        )


def _forget_others(keep: Collection[Path]) -> None:
    """Remove stores that no lab uses and no new lab starts from."""
    used = {(paths.read_json(note) or {}).get("store") for note in paths.labs().glob("*/node[1-9]/images.json")}
    for place in (paths.images() / "stores").iterdir():
        if place.is_dir() and place not in keep and str(place / "root") not in used and (place / "complete").exists():
            shutil.rmtree(place, ignore_errors=True)


def copy(source: Path, target: Path, layers_too: bool = True) -> list[Path]:
    """Copy a store: links for blobs and unpacked layers, real copies for the rest.

    Without ``layers_too`` each unpacked layer becomes an empty folder to mount the original on; these are returned, relative.
    """
    empty: list[Path] = []
    for name, subfolders, _files in os.walk(source):
        folder = Path(name).relative_to(source)
        is_layer = folder.parts[1:2] == ("snapshots",) and len(folder.parts) == 3
        _copy_folder(source / folder, target / folder, constant=_constant(folder))
        if is_layer and not layers_too:
            empty.append(folder)
            subfolders.clear()
    return empty


def _constant(folder: Path) -> bool:
    parts = folder.parts
    return "blobs" in parts[:2] or (len(parts) > 3 and parts[1] == "snapshots" and parts[3] == "fs")


def _copy_folder(source: Path, target: Path, constant: bool) -> None:
    target.mkdir()
    shutil.copystat(source, target)
    status = source.stat()
    os.chown(target, status.st_uid, status.st_gid)
    for entry in os.scandir(source):
        if entry.is_dir(follow_symlinks=False):
            continue
        if constant:
            os.link(entry.path, target / entry.name, follow_symlinks=False)
        else:
            shutil.copy2(entry.path, target / entry.name, follow_symlinks=False)


def seed(layout: Layout, number: int, wanted: Collection[Image], upon: Collection[Image], report: Report) -> None:
    """Give a node its store if it has none."""
    target = node_store(layout, number)
    if target.exists():
        return
    source = store(wanted, report, upon) if wanted else store(upon, report)
    fresh = target.with_name("containerd.fresh")
    shutil.rmtree(fresh, ignore_errors=True)
    with _stores_held():
        mounts = copy(source, fresh, layers_too=False)
        _note(layout, number, [*upon, *wanted], store=str(source), mounts={str(source / path): str(target / path) for path in mounts})
    fresh.rename(target)  # last, so that a crash leaves no half of it


def mounts(layout: Layout, number: int) -> dict[str, str]:
    """The unpacked layers that a node sees, read-only: original and mount point."""
    found: dict[str, str] = (paths.read_json(layout.node(number) / "images.json") or {}).get("mounts", {})
    return found


def missing(layout: Layout, number: int, wanted: Collection[Image]) -> list[Image]:
    """The images that a node lacks, or has with another content."""
    kept = (paths.read_json(layout.node(number) / "images.json") or {}).get("images", {})
    return [image for image in wanted if kept.get(image.name) != image.identity]


def load(layout: Layout, number: int, wanted: Collection[Image]) -> None:
    """Import into a running node what it lacks; nothing that it has is sent again."""
    lacking = missing(layout, number, wanted)
    if not lacking:
        return
    kept = paths.read_json(layout.node(number) / "images.json") or {}
    with tempfile.TemporaryDirectory(dir=layout.node(number)) as work:
        archive = Path(work, "images.tar")
        images.archive(archive, lacking, kept.get("layers", []))
        processes.run(nodes.inside(layout, number, "ctr", "--namespace", "k8s.io", "images", "import", archive))
    _note(layout, number, wanted)


def _note(layout: Layout, number: int, wanted: Collection[Image], **facts: Any) -> None:
    note = layout.node(number) / "images.json"
    kept = {} if facts else paths.read_json(note) or {}
    known = {**kept.get("images", {}), **{image.name: image.identity for image in wanted}}
    paths.write_json(note, {**kept, **facts, "images": known, "layers": sorted({*kept.get("layers", []), *_layers(wanted)})})
