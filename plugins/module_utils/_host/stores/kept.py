# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a bucket still holds what was once proved to be in it, told by one listing."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass
from typing import List, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotFound, NotProven
from ansible_collections.paas.hardening.plugins.module_utils._host.stores import ordered
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.listing import SHOWN, Listing

_CHUNK = 1 << 20
_FIELDS = 8


@dataclass(frozen=True)
class Kept:
    """A copy that was proved: of which bucket, where, and when (seconds since 1970). ``sha256`` is that of the list of its objects."""

    source: str
    store: str
    bucket: str
    objects: int
    size: int
    instant: float
    sha256: str


@dataclass(frozen=True)
class Remains:
    """What a later listing shows of a proved copy: objects that are ``gone``, or were ``replaced`` by others; ``keys`` are the first of them."""

    gone: int
    replaced: int
    keys: Tuple[str, ...]


def keep(path: str, proved_list: str, source: str, store: str, bucket: str, objects: int, size: int) -> None:
    """Write down that a copy was proved, beside the list of its objects. Without any objects there need not be a list."""
    if not objects:
        open(proved_list, "wb").close()
    kept = Kept(source, store, bucket, objects, size, time.time(), _digest(proved_list))
    fresh = f"{path}.new"
    with open(fresh, "w", encoding="utf-8") as file:
        json.dump(asdict(kept), file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)


def recall(path: str, proved_list: str) -> Kept:
    """Return what was written down. Raises NotFound when nothing was, NotProven when the list is not the one that was written then."""
    try:
        with open(path, encoding="utf-8") as file:
            kept = Kept(**json.load(file))
        digest = _digest(proved_list)
    except FileNotFoundError:
        raise NotFound(
            f"{path} is not there: nobody knows what was proved.", "Run where the storage was moved from, with the same work_folder.", path
        ) from None
    except (OSError, ValueError, TypeError):
        raise NotProven(f"{path} cannot be read.", "It counts for nothing.", path) from None
    if digest != kept.sha256:
        raise NotProven(f"{proved_list} is not the list that was written when the copy was proved.", "It counts for nothing.", proved_list)
    return kept


def remains(proved_list: str, listing: Listing) -> Remains:
    """Hold a listing of the bucket against the list of what was proved there, in constant memory."""
    gone = replaced = 0
    keys: List[str] = []
    for key, (proved, there) in ordered.aligned(ordered.read(proved_list), ordered.read(listing.path)):
        if proved is None or len(proved) != _FIELDS:
            continue
        if there is None:
            gone += 1
        elif there[1] != proved[1] or there[2:4] != proved[4:6]:
            replaced += 1
        else:
            continue
        if len(keys) < SHOWN:
            keys.append(key.decode())
    return Remains(gone, replaced, tuple(keys))


def _digest(path: str) -> str:
    found = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(_CHUNK), b""):
            found.update(chunk)
    return found.hexdigest()
