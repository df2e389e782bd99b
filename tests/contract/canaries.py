"""Secrets that must never be seen outside, and every place and form in which they could be."""

from __future__ import annotations

import base64
import json
import os
import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from tests.contract.installed import PLANTED, Installed

_PLANTED = re.compile(PLANTED + r"[0-9a-f]{24}")
# Shorter values, and those in which a word can be recognised, are names and numbers that may well be shown.
_RANDOM = re.compile(r"(?=.*\d)(?=.*[a-zA-Z])[0-9A-Za-z+/=_-]{20,}")
_RELEASE = "helm.sh/release.v1"
# How often the command line of one process is read.
_LOOKS = 20


def secrets_of(platform: Installed) -> set[str]:
    """Every planted secret, and every random one that the platform made for itself."""
    found: set[str] = set()
    for document in platform.objects.list(KINDS["Secret"], namespace=platform.namespace):
        if document["type"] != _RELEASE:
            for value in (document.get("data") or {}).values():
                text = base64.b64decode(value).decode(errors="replace")
                found |= set(_PLANTED.findall(text)) | ({text} if _RANDOM.fullmatch(text) else set())
    for live in platform.documents().values():
        found |= set(_PLANTED.findall(json.dumps(live)))
    return found


def credentials_of(kubeconfig: dict[str, Any]) -> set[str]:
    """The token and the private key inside a kubeconfig."""
    user = kubeconfig["users"][0]["user"]
    return {user[name] for name in ("token", "client-key-data", "password") if name in user}


def leaks(secrets: Iterable[str], text: str) -> list[str]:
    """Return the secrets that stand in the text in any form; only their first letters, so that the report of a leak is no leak."""
    return sorted(f"{secret[:10]}... as {form}" for secret in secrets for form, shape in _forms(secret) if shape in text)


def _forms(secret: str) -> Iterator[tuple[str, str]]:
    raw = secret.encode()
    yield "it is", secret
    yield "hexadecimal", raw.hex()
    for shift in range(3):
        # In base64 a letter depends on its neighbours: what lies wholly inside stands the same whatever is around it.
        encoded = base64.b64encode(b"\0" * shift + raw + b"\0" * 2).decode()
        yield "base64", encoded[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6]
    if (in_url := quote(secret, safe="")) != secret:
        yield "a part of a URL", in_url
    if (in_json := json.dumps(secret)[1:-1]) != secret:
        yield "JSON", in_json


def files_with(secrets: Iterable[str], folder: Path) -> list[str]:
    """Return what leaks in the files that are left in a folder, and in their names."""
    known = list(secrets)
    return [f"{path.relative_to(folder)}: {leak}" for path in folder.rglob("*") if path.is_file() for leak in leaks(known, f"{path} {_text(path)}")]


def _text(path: Path) -> str:
    return path.read_bytes().decode(errors="replace")


class ProcessList:
    """Remembers every command line that was seen on this machine while it was looking, except those inside the lab's pods."""

    def __init__(self, pause: float = 0.1) -> None:
        self.seen: set[bytes] = set()
        self._pause = pause
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="process list", daemon=True)

    def __enter__(self) -> ProcessList:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        # A pod's processes are the platform's own business; they live in a process namespace of their own.
        ours = os.readlink("/proc/self/ns/pid")
        looks: dict[str, int] = {}
        while not self._over.wait(self._pause):
            # What a process is, it becomes soon after its start: the many that run all the time need no further look.
            looks = {name: looks.get(name, 0) + 1 for name in os.listdir("/proc") if name.isdigit()}
            for name in (name for name, count in looks.items() if count <= _LOOKS):
                try:
                    if os.readlink(f"/proc/{name}/ns/pid") == ours:
                        self.seen.add(Path("/proc", name, "cmdline").read_bytes())
                except OSError:
                    continue

    def text(self) -> str:
        """All command lines, one a line."""
        return "\n".join(line.replace(b"\0", b" ").decode(errors="replace") for line in sorted(self.seen))
