# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be in custody: the Secrets of the platform and its apps, and files of this host, as one document."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import secrets
import stat
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.needs import encryption_key, file_on_host, secrets_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.objects.canonical import address_of, canonical
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, MissingDependency, NotProven

FORMAT = 1
# The cluster makes them by itself, for an account of its own.
_OF_ACCOUNT = "kubernetes.io/service-account-token"
_LARGEST_FILE = 1 << 20
# Keys that stand in the configuration itself; those of kms are elsewhere.
_PROVIDERS = ("aescbc", "aesgcm", "secretbox")
# A value that is shorter occurs by chance.
_TELLING = 12


@dataclass(frozen=True)
class Content:
    """The document, its SHA-256, and what it meets of a restore's needs. Nothing of it may be shown but the counts."""

    text: bytes
    digest: str
    secrets: Mapping[str, int]
    files: int
    offers: Tuple[str, ...]

    def __repr__(self) -> str:
        return f"Content({sum(self.secrets.values())} Secrets, {self.files} files)"

    def telling(self) -> List[bytes]:
        """Return values that must not be found in what is encrypted: of every Secret and file, as it is and as it stands in the document."""
        document = json.loads(self.text)
        found: List[bytes] = []
        for entry in document["secrets"]:
            for value in (entry.get("data") or {}).values():
                found += [value.encode(), _decoded(value)]
        found += [entry["content"].encode() for entry in document["files"]]
        return [value for value in found if len(value) >= _TELLING]


def gather(objects: Objects, namespaces: Sequence[str], paths: Sequence[str]) -> Content:
    """Read what has to be kept. Raises Invalid for a file that cannot be, NotProven when the platform's namespace has no Secret: it was not seen."""
    kept: List[Dict[str, Any]] = []
    counts: Dict[str, int] = {}
    for namespace in namespaces:
        found = [entry for entry in objects.list(KINDS["Secret"], namespace=namespace) if entry.get("type") != _OF_ACCOUNT]
        counts[namespace] = len(found)
        kept += [canonical(entry) for entry in found]
    if namespaces and not counts[namespaces[0]]:
        raise NotProven(f"The namespace {namespaces[0]} shows no Secret.", "Every platform has some: see who we are, and the namespace.", namespaces[0])
    files = [_file(path) for path in paths]
    offers = [*map(secrets_of, namespaces), *(file_on_host(os.path.abspath(path)) for path in paths)]
    for path, entry in zip(paths, files):
        offers += map(encryption_key, encryption_keys(base64.b64decode(entry["content"]), path))
    # The salt keeps the sum, which everybody may see, from confirming a guess.
    document = {
        "document": "secrets of a recovery point",
        "format": FORMAT,
        "salt": secrets.token_hex(32),
        "secrets": sorted(kept, key=address_of),
        "files": files,
    }
    text = json.dumps(document, sort_keys=True, indent=1).encode("utf-8") + b"\n"
    return Content(text, hashlib.sha256(text).hexdigest(), counts, len(files), tuple(offers))


def check_files(paths: Sequence[str]) -> None:
    """Refuse files that cannot be read, before anything is taken. Raises Invalid."""
    for path in paths:
        _file(path)


def _file(path: str) -> Dict[str, Any]:
    option = "secrets.files"
    try:
        with open(path, "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise Invalid(f"{path} is no file.", "Name every file by itself.", option)
            content = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}.", "Name a file of this host, and run as who may read it.", option) from None
    if len(content) > _LARGEST_FILE:
        raise Invalid(f"{path} is larger than {_LARGEST_FILE >> 20} MiB.", "Keys and configurations are small: it is something else.", option)
    if not content:
        raise Invalid(f"{path} is empty.", "A point would keep nothing of it.", option)
    return {"path": os.path.abspath(path), "mode": f"{stat.S_IMODE(about.st_mode):04o}", "content": base64.b64encode(content).decode("ascii")}


def encryption_keys(content: bytes, path: str) -> Iterator[str]:
    """Yield provider/name of every key in a file that is an EncryptionConfiguration; nothing for any other file. Raises Invalid when one cannot be read."""
    if b"EncryptionConfig" not in content:
        return
    try:
        import yaml
    except ImportError:
        raise MissingDependency("The Python package PyYAML is not installed.", "Install it: pip install pyyaml", "secrets.files") from None
    try:
        document = yaml.safe_load(content)
        for resource in document["resources"]:
            for provider in resource["providers"]:
                for name in _PROVIDERS:
                    for key in ((provider or {}).get(name) or {}).get("keys") or ():
                        if key["secret"]:
                            yield f"{name}/{key['name']}"
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        # Not its text: it holds keys.
        raise Invalid(f"{path} is no EncryptionConfiguration, but says so.", "Is it the file of the API server?", "secrets.files") from None


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return b""
