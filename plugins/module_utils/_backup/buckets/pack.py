# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects in few files: their bytes one after the other in a pack, and an inventory that says of each key what lies where. Keys are never names of files."""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import IO, Dict, Iterator, NamedTuple, Optional

from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import told
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotProven
from ansible_collections.paas.hardening.plugins.module_utils._host.stores import ordered
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.listing import seconds_of

INVENTORY, PACK = "inventory", "pack-"
_CHUNK = 1 << 20


class Kept(NamedTuple):
    """One object of a point: its key, size and time as the store lists it, SHA-256, when it was listed before it was read, and where its bytes are."""

    key: bytes
    size: int
    modified: str
    digest: str
    seen: float
    pack: str
    offset: int

    def as_record(self) -> ordered.Record:
        fields = (str(self.size), self.modified, self.digest, f"{self.seen:.3f}", self.pack, str(self.offset))
        return (self.key, *(field.encode("ascii") for field in fields))

    def lasts(self, settled_seconds: float) -> bool:
        """Tell whether the same time means the same content: a store may write an object again within one tick of its clock."""
        try:
            return seconds_of(self.modified) < self.seen - settled_seconds
        except ValueError:
            return False


def read_inventory(path: str) -> Iterator[Kept]:
    """Yield what an inventory says, in the order of the keys. Raises NotProven for a record that is none."""
    for record in ordered.read(path):
        try:
            key, size, modified, digest, seen, pack, offset = record
            kept = Kept(key, int(size), modified.decode("ascii"), digest.decode("ascii"), float(seen), pack.decode("ascii"), int(offset))
            if os.path.basename(kept.pack) != kept.pack or not kept.pack.startswith(PACK):
                raise ValueError
        except (ValueError, UnicodeDecodeError):
            raise NotProven(f"{path} is torn.", "The disk or somebody changed it: do not restore from it.", path) from None
        yield kept


class Packs:
    """The packs of one bucket in a folder, for reading."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._open: Dict[str, IO[bytes]] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Packs:
        return self

    def __exit__(self, *_trouble: object) -> None:
        self._stack.close()

    def pieces(self, kept: Kept) -> Iterator[bytes]:
        """Yield the bytes of an object; fewer than its size when the pack is cut off. Raises NotProven when there is no such pack."""
        path = os.path.join(self._folder, kept.pack)
        file = self._open.get(kept.pack)
        if file is None:
            try:
                file = self._open[kept.pack] = self._stack.enter_context(_opened(path))
            except FileNotFoundError:
                raise NotProven(f"{path} is missing.", "The point is torn.", path) from None
        with told("read", path):
            file.seek(kept.offset)
            left = kept.size
            while left > 0:
                data = file.read(min(_CHUNK, left))
                if not data:
                    return
                left -= len(data)
                yield data

    def holds(self, kept: Kept) -> bool:
        """Tell whether the bytes of an object are those that were stored."""
        summed, size = hashlib.sha256(), 0
        for piece in self.pieces(kept):
            summed.update(piece)
            size += len(piece)
        return size == kept.size and summed.hexdigest() == kept.digest


def _opened(path: str) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb")


class PackWriter:
    """A new pack. Nothing is made before the first object comes."""

    def __init__(self, folder: str, name: str) -> None:
        self._path = os.path.join(folder, name)
        self.name = name
        self._file: Optional[IO[bytes]] = None
        self._offset = 0

    def add(self, source: str) -> int:
        """Append the bytes of a file, and return where they begin."""
        with told("written", self._path), open(source, "rb") as content:
            if self._file is None:
                self._file = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "wb")
            begin = self._offset
            for piece in iter(lambda: content.read(_CHUNK), b""):
                self._file.write(piece)
                self._offset += len(piece)
        return begin

    def close(self) -> None:
        if self._file is not None:
            with told("written", self._path):
                self._file.close()
