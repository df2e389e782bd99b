# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects of a point as files, so many at once as a scratch folder takes; keys that cannot be files beside each other come one after the other."""

from __future__ import annotations

import itertools
import os
from typing import Iterator, List

from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.pack import Kept, Packs
from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import remove_tree, told
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotProven

_OBJECTS, _BYTES = 5000, 1 << 30
_LONGEST_KEY = 4096
# As which symbols rclone spells control characters, in keys and not in names of files.
_CONTROLS = {**{0x2400 + number: number for number in range(1, 32)}, 0x2421: 0x7F}


class Batches:
    """The objects of one bucket, by ``inventory``; a batch has ``most`` objects, and is full at ``most_bytes``."""

    def __init__(self, packs: Packs, inventory: Iterator[Kept], most: int = _OBJECTS, most_bytes: int = _BYTES) -> None:
        self._packs, self._inventory = packs, inventory
        self._most, self._most_bytes = most, most_bytes
        self._late: List[Kept] = []

    def lay_out(self, place: str) -> int:
        """Make the folder anew with the next batch, and return how many objects it has; 0 when all have been in one.

        What collides there with another key (a and a/b) is put off to the next. Raises NotProven for an object that is not what was stored.
        """
        remove_tree(place)
        with told("made", place):
            os.mkdir(place, 0o700)
        count = size = 0
        before = iter(self._late)
        late: List[Kept] = []
        for kept in itertools.chain(before, self._inventory):
            if not self._packs.holds(kept):
                raise NotProven(
                    f"The object {kept.key.decode('utf-8', 'replace')!r} is not what was stored.", "The point is torn: take an older one.", kept.pack
                )
            if _write(self._packs, kept, place):
                count, size = count + 1, size + kept.size
            else:
                late.append(kept)
            if count >= self._most or size >= self._most_bytes or len(late) >= self._most:
                break
        self._late = [*before, *late]
        return count


def _write(packs: Packs, kept: Kept, place: str) -> bool:
    """Write an object as the file that its key names; False when another one is in the way. Raises NotProven for a key that would lead elsewhere."""
    path = os.path.join(os.fsencode(place), kept.key.decode().translate(_CONTROLS).encode())
    if len(kept.key) > _LONGEST_KEY or any(part in (b"", b".", b"..") for part in kept.key.split(b"/")):
        raise NotProven(f"The key {kept.key[:80]!r} is none.", "The point was not made by this collection.", kept.pack)
    with told("written", place):
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
                for piece in packs.pieces(kept):
                    file.write(piece)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            return False
    return True
