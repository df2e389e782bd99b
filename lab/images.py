"""The images: what they are called, what they start, which layers they share. An archive of them is an OCI layout in a tar file."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab import layers, paths
from lab.errors import LabError
from lab.layers import Layer
from lab.progress import Report

PAUSE = "registry.k8s.io/pause:3.10.1"
BASE = "lab.local/base:1"
RCLONE = "lab.local/rclone:1"
BACKUP = "lab.local/backup:1"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True)
class Image:
    """One image reference with its layers and what its containers start."""

    name: str
    layers: tuple[Layer, ...]
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    user: str = ""
    env: tuple[str, ...] = ()
    stop_signal: str = ""

    def config(self) -> bytes:
        """The image's configuration as it is stored."""
        start = {"Entrypoint": list(self.entrypoint), "Cmd": list(self.cmd), "StopSignal": self.stop_signal}
        return _json(
            {
                "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
                "os": "linux",
                "created": "1970-01-01T00:00:00Z",
                "config": {"Env": [_PATH, *self.env], "User": self.user, "WorkingDir": "/", **{key: value for key, value in start.items() if value}},
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.digest}" for layer in self.layers]},
            }
        )

    def manifest(self) -> bytes:
        """The image's manifest as it is stored."""
        config = self.config()
        return _json(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": f"sha256:{_digest(config)}", "size": len(config)},
                "layers": [
                    {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": f"sha256:{layer.digest}", "size": layer.size} for layer in self.layers
                ],
            }
        )

    @property
    def identity(self) -> str:
        """Changes with everything that the image consists of."""
        return _digest(self.manifest())


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def essential(report: Report) -> list[Image]:
    """What every lab has: the pause image, and the base image for pods of one's own."""
    return [Image(PAUSE, (layers.pause(report),), entrypoint=("/pause",), user="65535:65535"), Image(BASE, (layers.debian(report),), cmd=("/bin/sh",))]


def rclone(report: Report) -> Image:
    """The base image with rclone: loaded into the nodes where it is needed."""
    return Image(RCLONE, (layers.debian(report), layers.rclone()), entrypoint=("rclone",))


def backup(report: Report) -> Image:
    """The base image with rclone, age and what Python needs for a cluster: loaded into the nodes where a CronJob makes recovery points."""
    return Image(BACKUP, (layers.debian(report), layers.rclone(), layers.backup()), cmd=("/bin/sh",))


def platforms(report: Report) -> list[Image]:
    """Every image that lab/platforms/components.yml names, out of the base layer, MinIO and lab/image. Raises LabError for a bad table."""
    table = yaml.safe_load(paths.IMAGE_TABLE.read_text())
    table = table.get("images", table)
    shared = (layers.debian(report), layers.minio(report), layers.scripts())
    return [_from_table(name, entry, shared) for name, entry in sorted(table.items())]


def _from_table(name: str, entry: Any, shared: tuple[Layer, ...]) -> Image:
    unknown = set(entry) - {"entrypoint", "cmd", "user", "env", "stop_signal"} if isinstance(entry, Mapping) else {"it is no mapping"}
    if unknown or not entry.get("entrypoint"):
        raise LabError(f"{paths.IMAGE_TABLE}: {name}: {', '.join(unknown) or 'no entrypoint'}")
    env = entry.get("env") or {}
    return Image(
        name,
        shared,
        tuple(map(str, entry["entrypoint"])),
        tuple(map(str, entry.get("cmd") or ())),
        str(entry.get("user") or ""),
        tuple(f"{key}={value}" for key, value in sorted(env.items())),
        str(entry.get("stop_signal") or ""),
    )


def archive(target: Path, images: Collection[Image], present: Collection[str] = ()) -> None:
    """Write an archive that ``ctr images import`` reads, without the layers (by digest) that the store has already."""
    blobs: dict[str, bytes] = {}
    needed: dict[str, Layer] = {}
    index = []
    for image in images:
        for data in (image.config(), image.manifest()):
            blobs[_digest(data)] = data
        needed.update({layer.digest: layer for layer in image.layers if layer.digest not in present})
        index.append(
            {
                "mediaType": _MANIFEST,
                "digest": f"sha256:{image.identity}",
                "size": len(image.manifest()),
                "annotations": {"io.containerd.image.name": _full(image.name)},
            }
        )
    texts = {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": _json({"schemaVersion": 2, "manifests": index}),
        **{f"blobs/sha256/{digest}": data for digest, data in sorted(blobs.items())},
    }
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in texts.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        for digest, layer in sorted(needed.items()):
            entry = tarfile.TarInfo(f"blobs/sha256/{digest}")
            entry.size = layer.size
            with layer.path.open("rb") as stream:
                tar.addfile(entry, stream)


def _full(name: str) -> str:
    """The name as the kubelet asks for it: with a registry, and a tag."""
    first, _slash, rest = name.partition("/")
    if not rest:
        name = f"docker.io/library/{name}"
    elif not ("." in first or ":" in first or first == "localhost"):
        name = f"docker.io/{name}"
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"
