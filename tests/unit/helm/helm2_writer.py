"""Writes the record of a Helm 2 release, for shapes that the recorded real one does not have. The recorded one proves the reader; this does not."""

from __future__ import annotations

import base64
import gzip
from typing import Any


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def chart(name: str, values: str = "", templates: dict[str, str] | None = None, dependencies: tuple[bytes, ...] = ()) -> bytes:
    parts = [field(1, field(1, name) + field(4, "v2.18.0") + field(13, "2.18"))]
    parts += [field(2, field(1, path) + field(2, text)) for path, text in (templates or {}).items()]
    parts += [field(3, dependency) for dependency in dependencies]
    return b"".join([*parts, field(4, field(1, values))])


def hook(kind: str, name: str, manifest: str, events: tuple[int, ...], policies: tuple[int, ...] = ()) -> bytes:
    packed = b"".join(map(varint, events)), b"".join(map(varint, policies))
    return field(1, name) + field(2, kind) + field(4, manifest) + field(5, packed[0]) + (field(8, packed[1]) if policies else b"")


def release(of: bytes, config: str = "", manifest: str = "", hooks: tuple[bytes, ...] = (), namespace: str = "platform", status: int = 1) -> bytes:
    parts = [field(1, "old"), field(2, field(1, field(1, status))), field(3, of), field(4, field(1, config)), field(5, manifest)]
    return b"".join([*parts, *(field(6, one) for one in hooks), field(7, 3), field(8, namespace)])


def document(payload: bytes, kind: str = "ConfigMap", packed: bool = True) -> dict[str, Any]:
    text = base64.b64encode(gzip.compress(payload) if packed else payload)
    if kind == "Secret":
        text = base64.b64encode(text)
    labels = {"OWNER": "TILLER", "NAME": "old", "STATUS": "DEPLOYED", "VERSION": "3"}
    return {"kind": kind, "metadata": {"name": "old.v3", "namespace": "kube-system", "labels": labels}, "data": {"release": text.decode()}}
