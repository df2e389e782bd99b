"""Images in a platform's registry, by the registry's own API: pushed blob by blob, and read back by digest."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import random
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass

from lab.errors import LabError
from lab.installation import Installation
from lab.seed import live

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


@dataclass(frozen=True)
class PushedImage:
    """An image as it was pushed: by digest, its manifest and its blobs with their sizes."""

    repository: str
    tag: str
    digest: str
    blobs: Mapping[str, int]


@dataclass(frozen=True)
class Registry:
    """A registry that this machine reaches, and who asks it. The password is not shown."""

    address: str
    user: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Registry({self.address})"

    def ask(self, method: str, path: str, body: bytes = b"", kind: str = "application/octet-stream") -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of one request. Raises OSError when the registry is away."""
        headers = {"Content-Type": kind, "Accept": f"{_MANIFEST}, */*"}
        if self.user:
            headers["Authorization"] = "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            connection.request(method, path, body or None, {**headers, "Content-Length": str(len(body))})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"{method} {path}: {error!r}") from error
        finally:
            connection.close()

    def _sure(self, good: int, method: str, path: str, body: bytes = b"", kind: str = "application/octet-stream") -> tuple[Mapping[str, str], bytes]:
        status, headers, text = self.ask(method, path, body, kind)
        if status != good:
            raise LabError(f"registry: {method} {path} gives {status}, not {good}: {text[:300].decode(errors='replace')}")
        return headers, text

    def push(self, repository: str, tag: str, layers: list[bytes]) -> PushedImage:
        """Push an image of these layers. Raises LabError, OSError."""
        digests = [_digest(layer) for layer in layers]
        config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": digests}}, sort_keys=True).encode()
        for blob in (*layers, config):
            self._push_blob(repository, blob)
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": {"mediaType": _CONFIG, "size": len(config), "digest": _digest(config)},
            "layers": [{"mediaType": _LAYER, "size": len(layer), "digest": digest} for layer, digest in zip(layers, digests, strict=True)],
        }
        body = json.dumps(manifest, sort_keys=True).encode()
        self._sure(201, "PUT", f"/v2/{repository}/manifests/{tag}", body, _MANIFEST)
        sizes = {_digest(blob): len(blob) for blob in (*layers, config)}
        return PushedImage(repository, tag, _digest(body), sizes)

    def _push_blob(self, repository: str, blob: bytes) -> None:
        digest = _digest(blob)
        if self.ask("HEAD", f"/v2/{repository}/blobs/{digest}")[0] == 200:
            return
        headers, _text = self._sure(202, "POST", f"/v2/{repository}/blobs/uploads/")
        where = urllib.parse.urlsplit(headers["Location"])
        self._sure(201, "PUT", f"{where.path}?{where.query}&digest={urllib.parse.quote(digest)}", blob)

    def pull(self, image: PushedImage) -> int:
        """Read an image back, by tag and by digest, and compare every byte by its SHA-256; the bytes read. Raises LabError, OSError."""
        for reference in (image.digest, image.tag):
            _headers, body = self._sure(200, "GET", f"/v2/{image.repository}/manifests/{reference}")
            if _digest(body) != image.digest:
                raise LabError(f"{image.repository}:{reference} is another manifest than was pushed")
        manifest = json.loads(body)
        wanted: dict[str, int] = {entry["digest"]: entry["size"] for entry in (manifest["config"], *manifest["layers"])}
        if wanted != dict(image.blobs):
            raise LabError(f"{image.repository}: the manifest names other blobs than were pushed")
        for digest, size in wanted.items():
            _headers, blob = self._sure(200, "GET", f"/v2/{image.repository}/blobs/{digest}")
            if len(blob) != size or _digest(blob) != digest:
                raise LabError(f"{image.repository}: blob {digest} came back as {len(blob)} bytes with digest {_digest(blob)}")
        return sum(wanted.values()) + len(body)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def of_platform(place: Installation) -> Registry:
    """The platform's own registry, at its pod. Raises LabError when none is ready."""
    if place.is_drycc:
        keys = live.secret(place, "registry-secret")
        return Registry(f"{live.pod_address(place, app='drycc-registry')}:5000", keys["username"], keys["password"])
    return Registry(f"{live.pod_address(place, app='deis-registry')}:5000")


def push_images(registry: Registry, count: int = 3, layer_bytes: int = 1 << 20, seed: int = 1) -> list[PushedImage]:
    """Push images that share their first layer; the same seed gives the same ones. Raises LabError, OSError."""
    chance = random.Random(seed)
    shared = chance.randbytes(layer_bytes)
    return [registry.push(f"app-{number}", f"git-{chance.getrandbits(32):08x}", [shared, chance.randbytes(layer_bytes)]) for number in range(count)]
