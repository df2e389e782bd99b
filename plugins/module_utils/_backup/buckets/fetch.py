# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One bucket brought into a point: what an earlier point holds unchanged is taken over, all else is read, and has to be what the store says that it is.

Where the store says that by no MD5, it is read twice, and has to be the same both times.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import secrets
from dataclasses import dataclass
from typing import Callable, Dict, Iterator, List, Mapping, Optional, Set, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.pack import INVENTORY, PACK, Kept, Packs, PackWriter, read_inventory
from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import files_below, make_folder, remove_tree, told
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotProven, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.progress import counted
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.stores import ordered
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.listing import Listing, list_bucket
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import Engine
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.store import Store
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.transfer import SETTLED_SECONDS

_REMOTE = "store"
_PASSES = 6
# Objects and bytes that lie in the scratch folder at once.
_BATCH_OBJECTS, _BATCH_BYTES = 5000, 2 << 30
_LINE = re.compile(rb"([0-9a-f]{32}|[0-9a-f]{64})  (.+)")
_PARALLEL = 8
_CHUNK = 1 << 20
_SHOWN = 5
# Packs are linked from point to point. With more than this, or when most of their bytes are of nobody any more, everything is fetched anew.
_MOST_PACKS = 24
_LEAST_USED = 0.4


@dataclass(frozen=True)
class Fetched:
    """What came of a bucket: how it was listed at first, what of it is there, how many objects were deleted before they were read, and what was read."""

    listing: Listing
    objects: int
    bytes: int
    vanished: int
    fetched_objects: int
    fetched_bytes: int
    passes: int


class Bucket:
    """One bucket on its way into a folder of the point. ``earlier`` is the folder of the same bucket in an earlier point, or nothing."""

    def __init__(
        self,
        engine: Engine,
        store: Store,
        bucket: str,
        folder: str,
        scratch: str,
        earlier: str,
        deadline: Deadline,
        settled_seconds: float = SETTLED_SECONDS,
    ) -> None:
        self._engine, self._store, self._bucket = engine, store, bucket
        self._settled_seconds = settled_seconds
        self._folder, self._scratch, self._deadline = folder, scratch, deadline
        self._known = os.path.join(scratch, "known")
        self._writer = PackWriter(folder, f"{PACK}{secrets.token_hex(8)}")
        self._fetched_objects = self._fetched_bytes = 0
        self._take_over(earlier)

    def run(self) -> Fetched:
        """List the bucket, and bring every object that is there into the folder. Raises NotProven for what never was read and found to be right.

        What is written meanwhile may come in its new form, and what is deleted meanwhile may be missing: everything is at least as new as the listing.
        """
        try:
            first = now = self._list("first")
            passes = 0
            while True:
                unknown = self._unknown(first, now)
                head = next(unknown, None)
                if head is None:
                    return self._finish(first, passes)
                if passes == _PASSES:
                    raise self._unproved(itertools.chain([head], unknown))
                self._fetch(now, head, unknown)
                passes += 1
                # Only of what was not found to be right it matters whether it is still there, and what it is now.
                if next(self._unknown(first, now), None) is not None:
                    now = self._list(f"pass-{passes}")
        finally:
            self._writer.close()

    def _unproved(self, records: Iterator[ordered.Record]) -> NotProven:
        left = [record[0].decode("utf-8", "replace") for record in records]
        return NotProven(
            f"After {_PASSES} passes {len(left)} objects of {self._bucket} are not proved: {', '.join(left[:_SHOWN])}.",
            "They change with every reading, or their keys cannot be stored; run again in a calmer moment.",
            self._bucket,
        )

    def _list(self, name: str) -> Listing:
        listing = list_bucket(self._engine, self._store, self._bucket, self._scratch, name)
        if listing.odd:
            raise Refused(
                f"{listing.odd} objects of {self._bucket} have keys that cannot be asked for: {', '.join(listing.odd_keys)}.",
                "Rename or delete them: a key must not begin or end with a slash, nor hold two in a row.",
                self._bucket,
            )
        return listing

    def _take_over(self, earlier: str) -> None:
        """Link the packs of an earlier point, and believe of each object only what its bytes say."""
        inventory = os.path.join(earlier, INVENTORY) if earlier else ""
        # What cannot be believed is fetched anew.
        with open(self._known, "wb") as known, Packs(earlier) as reader, contextlib.suppress(NotProven):
            for entry in read_inventory(inventory) if self._worth(earlier, inventory) else ():
                if entry.lasts(self._settled_seconds) and reader.holds(entry):
                    known.write(ordered.SEPARATOR.join(entry.as_record()) + ordered.END)
        for name in {entry.pack for entry in read_inventory(self._known)}:
            with told("linked", os.path.join(earlier, name)):
                os.link(os.path.join(earlier, name), os.path.join(self._folder, name))

    @staticmethod
    def _worth(earlier: str, inventory: str) -> bool:
        """Tell whether an earlier point has packs that are few, and used well enough."""
        packs: Set[str] = set()
        used = 0
        for entry in read_inventory(inventory) if inventory else ():
            packs.add(entry.pack)
            used += entry.size
        paths = [os.path.join(earlier, name) for name in packs]
        there = sum(os.path.getsize(path) for path in paths if os.path.isfile(path))
        return 0 < len(packs) <= _MOST_PACKS and used >= there * _LEAST_USED

    def _unknown(self, first: Listing, now: Listing) -> Iterator[ordered.Record]:
        """Yield what was there at first, is still there, and is not known: neither read in this run, nor unchanged since an earlier one."""
        for _key, (then, still, known) in ordered.aligned(ordered.read(first.path), ordered.read(now.path), ordered.read(self._known)):
            if then is not None and still is not None and not _counts(known, then, first.begun):
                yield still

    def _fetch(self, listing: Listing, first: ordered.Record, rest: Iterator[ordered.Record]) -> None:
        """Read objects in batches, and note as known what was found to be right."""
        fresh = os.path.join(self._scratch, "fresh")
        sorter = ordered.Sorter(fresh)
        # Of most objects the store says their MD5 in pages of a thousand, in a third of the time.
        known = sum(1 for _record in ordered.read(self._known))
        said = self._ask_all() if 2 * known < listing.objects else ""
        batch: List[ordered.Record] = []
        sums: Dict[bytes, str] = {}
        size = 0
        for key, (record, summed) in ordered.aligned(itertools.chain([first], rest), ordered.read(said)):
            if record is None:
                continue
            if len(batch) >= _BATCH_OBJECTS or (batch and size + int(record[1]) > _BATCH_BYTES):
                self._batch(listing, batch, sums if said else None, sorter)
                batch, sums, size = [], {}, 0
            batch.append(record)
            size += int(record[1])
            if summed is not None:
                sums[key] = summed[1].decode("ascii")
        self._batch(listing, batch, sums if said else None, sorter)
        sorter.finish()
        merged = f"{self._known}.new"
        with open(merged, "wb") as file:
            for _key, (old, new) in ordered.aligned(ordered.read(self._known), ordered.read(fresh)):
                file.write(ordered.SEPARATOR.join(new or old or ()) + ordered.END)
        os.replace(merged, self._known)

    def _batch(self, listing: Listing, batch: List[ordered.Record], sums: Optional[Dict[bytes, str]], sorter: ordered.Sorter) -> None:
        place = os.path.join(self._scratch, "objects")
        make_folder(place)
        try:
            # We know what is there, so there is no question before each object; and what broke off has another sum than the store says.
            settings = {f"RCLONE_CONFIG_{_REMOTE.upper()}_NO_HEAD_OBJECT": "true"}
            self._ask(["copy", self._source, place, "--no-check-dest", "--inplace"], batch, settings)
            # By content, not by name: what a key is called on a file system is nobody's business.
            paths: Dict[Tuple[str, int], str] = {}
            by_md5: Dict[Tuple[str, int], Set[str]] = {}
            for path, size in files_below(place):
                digest, md5 = _sums(os.path.join(place, path))
                paths[digest, size] = os.path.join(place, path)
                by_md5.setdefault((md5, size), set()).add(digest)
            # Of an object that is written meanwhile the store says another MD5, before it was read or after: it is read anew.
            said = self._ask(["hashsum", "md5", self._source], batch) if sums is None else sums
            found = [(record[0], by_md5.get((said.get(record[0], ""), int(record[1])), set())) for record in batch]
            # Two contents may be made to have one MD5.
            digests = {key: min(those) for key, those in found if len(those) == 1}
            # Not every ETag is an MD5.
            unsure = [record for record in batch if record[0] not in digests]
            if unsure:
                digests.update(self._ask(["hashsum", "sha256", self._source, "--download"], unsure, settings))
            self._keep(listing, batch, digests, paths, sorter)
            counted(f"objects of {self._bucket} that are new", self._fetched_objects)
        finally:
            remove_tree(place)

    @property
    def _source(self) -> str:
        return f"{_REMOTE}:{self._bucket}"

    def _ask(self, words: List[str], batch: List[ordered.Record], settings: Optional[Mapping[str, str]] = None) -> Dict[bytes, str]:
        """Run rclone for these objects; return the sums that it gives, by key. What it complains of is looked at again in the next pass."""
        keys = os.path.join(self._scratch, "keys")
        with open(keys, "wb") as file:
            file.writelines(record[0] + ordered.END for record in batch)
        sums: Dict[bytes, str] = {}
        self._run([*words, f"--files-from-raw={keys}", "--no-traverse", f"--transfers={_PARALLEL}"], sums.__setitem__, settings)
        return sums

    def _ask_all(self) -> str:
        """Ask for the MD5s of all objects; return the sorted file that has them."""
        path = os.path.join(self._scratch, "said")
        sorter = ordered.Sorter(path)
        self._run(["hashsum", "md5", self._source], lambda key, said: sorter.add(key, said.encode("ascii")))
        sorter.finish()
        return path

    def _run(self, words: List[str], note: Callable[[bytes, str], None], settings: Optional[Mapping[str, str]] = None) -> None:
        def take(line: bytes) -> None:
            found = _LINE.fullmatch(line)
            if found:
                note(found.group(2), found.group(1).decode("ascii"))

        seconds = max(self._deadline.left, 1.0)
        words = [*words, f"--checkers={_PARALLEL}"]
        self._engine.run(words, {_REMOTE: self._store}, take, settings=settings, seconds=seconds, tolerant=True)

    def _keep(
        self, listing: Listing, batch: List[ordered.Record], digests: Dict[bytes, str], paths: Dict[Tuple[str, int], str], sorter: ordered.Sorter
    ) -> None:
        offsets: Dict[Tuple[str, int], int] = {}
        for key, size, modified, *_rest in batch:
            digest = digests.get(key, "")
            found = (digest, int(size))
            if found not in paths:
                continue
            if found not in offsets:
                offsets[found] = self._writer.add(paths[found])
                self._fetched_bytes += int(size)
            self._fetched_objects += 1
            sorter.add(*Kept(key, int(size), modified.decode("ascii"), digest, listing.begun, self._writer.name, offsets[found]).as_record())

    def _finish(self, first: Listing, passes: int) -> Fetched:
        """Write the inventory: of each object that was there at first, where its bytes are; packs that nobody needs any more go."""
        path, used, objects, total, vanished = os.path.join(self._folder, INVENTORY), set(), 0, 0, 0
        with told("written", path), open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "wb") as file:
            for _key, (then, known) in ordered.aligned(ordered.read(first.path), ordered.read(self._known)):
                if then is None:
                    continue
                if known is None or not _counts(known, then, first.begun):
                    # Otherwise it would have been asked for again.
                    vanished += 1
                    continue
                file.write(ordered.SEPARATOR.join(known) + ordered.END)
                used.add(known[5].decode("ascii"))
                objects += 1
                total += int(known[1])
        _drop(self._folder, used)
        return Fetched(first, objects, total, vanished, self._fetched_objects, self._fetched_bytes, passes)


def _sums(path: str) -> Tuple[str, str]:
    """Return the SHA-256 and the MD5 of a file."""
    sha256, md5 = hashlib.sha256(), hashlib.new("md5", usedforsecurity=False)
    with told("read", path), open(path, "rb") as file:
        for piece in iter(lambda: file.read(_CHUNK), b""):
            sha256.update(piece)
            md5.update(piece)
    return sha256.hexdigest(), md5.hexdigest()


def _counts(known: Optional[ordered.Record], listed: ordered.Record, begun: float) -> bool:
    """Tell whether what is known of an object is what a listing shows, or newer: it was read after that, or is unchanged."""
    return known is not None and (known[1:3] == listed[1:3] or float(known[4]) >= round(begun, 3))


def _drop(folder: str, used: Set[str]) -> None:
    for name in os.listdir(folder):
        if name.startswith(PACK) and name not in used:
            with told("removed", os.path.join(folder, name)):
                os.unlink(os.path.join(folder, name))
