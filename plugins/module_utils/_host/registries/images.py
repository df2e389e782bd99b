# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images from one registry to another: blobs as streams, manifests byte by byte, all of it proved by digest on the far side."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from typing import Callable, Iterator, Mapping, NamedTuple, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotFound, NotProven, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline, repeat
from ansible_collections.paas.hardening.plugins.module_utils._host.registries.client import Registry

_IMAGES = ("application/vnd.docker.distribution.manifest.v2+json", "application/vnd.oci.image.manifest.v1+json")
_LISTS = ("application/vnd.docker.distribution.manifest.list.v2+json", "application/vnd.oci.image.index.v1+json")
_ACCEPT = ", ".join((*_IMAGES, *_LISTS))
# Seconds for which a blob is tried again while a registry is away.
_PATIENCE = 60.0


@dataclass(frozen=True)
class Name:
    """The name of an image without its registry: the repository, and the tag or digest in it."""

    repository: str
    reference: str

    def __str__(self) -> str:
        return f"{self.repository}{'@' if self.reference.startswith('sha256:') else ':'}{self.reference}"


class Manifest(NamedTuple):
    """A manifest as the registry keeps it: its bytes are what its digest is of. ``blobs`` maps digests to sizes, ``parts`` are the manifests of a list."""

    kind: str
    body: bytes
    digest: str
    blobs: Mapping[str, int]
    parts: Tuple[str, ...]


class Moved(NamedTuple):
    """What a copy did: bytes sent, and blobs that were there already."""

    size: int
    present: int


def split(image: str) -> Tuple[str, Name]:
    """Return the registry of an image (empty: the hub) and its name there."""
    rest, _at, digest = image.partition("@")
    host, slash, path = rest.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, path = "", rest
    path, _colon, tag = path.partition(":")
    return host, Name(path, digest or tag or "latest")


def manifest_of(registry: Registry, name: Name) -> Manifest:
    """Read a manifest and prove that it is what its digest says. Raises NotFound, Refused for one of an old form, NotProven."""
    reply = registry.manifest(name.repository, name.reference, _ACCEPT)
    if reply.status == 404:
        raise NotFound(f"{registry.where} has no image {name}.", "Was it deleted there? Build the app anew.", str(name), 404)
    kind = reply.headers.get("content-type", "").partition(";")[0].strip()
    digest = _digest(reply.body)
    stated = reply.headers.get("docker-content-digest") or digest
    if stated != digest or (name.reference.startswith("sha256:") and name.reference != digest):
        raise NotProven(f"{registry.where} gives another manifest for {name} than its digest says.", "Something between changes content.", str(name))
    if kind not in (*_IMAGES, *_LISTS):
        raise Refused(f"The manifest of {name} in {registry.where} has a form that is too old to be copied.", "Build the app anew.", str(name))
    try:
        document = json.loads(reply.body)
        entries = [] if kind in _LISTS else [document["config"], *document["layers"]]
        parts = tuple(str(entry["digest"]) for entry in document["manifests"]) if kind in _LISTS else ()
        # A layer with addresses of its own lies elsewhere (the base of a Windows image), and no registry has it.
        blobs = {str(entry["digest"]): int(entry["size"]) for entry in entries if not entry.get("urls")}
    except (KeyError, TypeError, ValueError):
        raise NotProven(f"The manifest of {name} in {registry.where} cannot be read.", "Build the app anew.", str(name)) from None
    return Manifest(kind, reply.body, digest, blobs, parts)


def digest_at(registry: Registry, name: Name) -> str:
    """Return the digest under which an image is known, or nothing when it is not there."""
    reply = registry.manifest(name.repository, name.reference, _ACCEPT)
    return "" if reply.status == 404 else _digest(reply.body)


def missing_of(registry: Registry, name: Name) -> Tuple[str, ...]:
    """Return the digests of what an image lacks in a registry, its manifests and blobs with their sizes being asked for; empty: it is whole.

    Raises NotFound when not even its manifest is there.
    """
    manifest = manifest_of(registry, name)
    lacking = [digest for digest, size in manifest.blobs.items() if registry.blob_size(name.repository, digest) != size]
    for part in manifest.parts:
        try:
            lacking += missing_of(registry, Name(name.repository, part))
        except NotFound:
            lacking.append(part)
    return tuple(lacking)


def copy(source: Registry, name: Name, target: Registry, new: Name, tick: Callable[[], None] = lambda: None) -> Moved:
    """Copy an image and prove it on the far side: every byte that was sent is read back. What is there already is not sent again.

    ``tick`` is called now and then, and may raise to end it. Raises what reading and writing raise, and NotProven when something came out otherwise.
    """
    manifest = manifest_of(source, name)
    size = present = 0
    for part in manifest.parts:
        moved = copy(source, Name(name.repository, part), target, Name(new.repository, part), tick)
        size, present = size + moved.size, present + moved.present
    for digest, length in manifest.blobs.items():
        if target.blob_size(new.repository, digest) == length:
            present += 1
            continue
        repeat(partial(_send, source, name.repository, target, new.repository, digest, length, tick), Deadline(_PATIENCE))
        size += length
    if digest_at(target, new) != manifest.digest:
        target.put_manifest(new.repository, new.reference, manifest.kind, manifest.body)
    if digest_at(target, new) != manifest.digest:
        raise NotProven(f"{target.where} gives another manifest for {new} than was stored.", "Does something else push images of that name?", str(new))
    return Moved(size, present)


def _send(source: Registry, repository: str, target: Registry, new: str, digest: str, length: int, tick: Callable[[], None]) -> None:
    with source.blob(repository, digest) as pieces:
        target.put_blob(new, digest, length, _measured(pieces, digest, length, tick))
    with target.blob(new, digest) as pieces:
        for _piece in _measured(pieces, digest, length, tick):
            tick()


def _measured(pieces: Iterator[bytes], digest: str, length: int, tick: Callable[[], None]) -> Iterator[bytes]:
    """Pass a blob on; raise NotProven at its end when it is not what its digest says. The last piece is held back until then, so that nobody stores it."""
    measure, count, held = hashlib.sha256(), 0, b""
    for piece in pieces:
        tick()
        measure.update(piece)
        count += len(piece)
        if held:
            yield held
        held = piece
    if count != length or f"sha256:{measure.hexdigest()}" != digest:
        raise NotProven(f"The blob {digest} came as {count} bytes of another content.", "The image is damaged, or something between changes it.", digest)
    if held:
        yield held


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
