# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bucket moved to another store, and proved: every object read on both sides and compared by SHA-256, in passes until nothing changes any more.

What a pass does follows from two listings and from what was proved before. So an interrupted move goes on by being started again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import os
import re
import shutil
import tempfile
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotProven, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.progress import counted
from ansible_collections.paas.hardening.plugins.module_utils._host.stores import ordered
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.failures import Complaint
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.inventory import Inventory, Pair, Plan, verdict_of
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.listing import Listing, list_bucket
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import Engine, Progress
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.starter import File, Word
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.store import Store

# Signed requests fail when a store's clock is off by more than 15 minutes, so after that its clock has surely moved on.
SETTLED_SECONDS = 900.0
PASSES = 5
_SOURCE, _TARGET = "source", "target"
# A batch is what an interruption can lose of a proof. After a doubt a smaller one tells which objects it is about.
_BATCH_OBJECTS, _SMALL_BATCH_OBJECTS, _BATCH_BYTES = 20_000, 500, 8 << 30
# Up to this size one request carries an object: parts of 5 MiB, rclone's own choice, take twice the time. What breaks off is copied anew either way.
_IN_ONE_PIECE = "512Mi"
_DIGEST = re.compile(rb"[0-9a-f]{64}  ")
_DIGEST_WIDTH = 64

LISTING, COPYING, PROVING = "listing", "copying", "proving"


@dataclass(frozen=True)
class Step:
    """How far a move is. ``objects`` of ``all_objects`` and ``bytes`` of ``all_bytes`` of this step are done; proving counts both sides."""

    name: str
    number: int
    objects: int = 0
    all_objects: int = 0
    bytes: int = 0
    all_bytes: int = 0


@dataclass(frozen=True)
class Transfer:
    """What a move came to.

    ``objects`` and ``bytes`` are what the source holds; ``proved_objects`` of these are proved to be equal in the target, ``read_objects`` were read for
    that in this call; ``copied_*`` is what this call copied. ``pending`` is above zero for a live move only: what was still changing. ``extra`` objects are
    in the target alone. ``seconds`` is the time of this call.
    """

    objects: int
    bytes: int
    copied_objects: int
    copied_bytes: int
    proved_objects: int
    read_objects: int
    pending: int
    extra: int
    extra_keys: Tuple[str, ...]
    passes: int
    seconds: float
    inventory: str


def transfer(
    engine: Engine,
    source: Store,
    bucket: str,
    target: Store,
    target_bucket: str,
    work: str,
    progress: Optional[Callable[[Step], None]] = None,
    since: Optional[str] = None,
    exact: bool = False,
    live: bool = False,
    passes: int = PASSES,
    parallel: int = 8,
    settled_seconds: float = SETTLED_SECONDS,
    proved_list: Optional[str] = None,
) -> Transfer:
    """Copy what is missing or different, and prove by content that the target holds every object of the source.

    ``work`` is a folder that is kept between runs; it holds what was proved. ``since`` is the inventory of another folder to begin with. ``live`` says that
    the source is still written to: one pass is made, and what changed meanwhile is counted as pending. ``exact`` refuses objects that only the target has;
    nothing is ever deleted. ``parallel`` is how many objects move at once. ``proved_list`` is a file that then says which objects were proved (see Kept).

    Raises NotProven when after ``passes`` passes a doubt is left, with the first keys; Refused for keys that cannot be carried, for a full target, for a
    bucket moved onto itself, or while another move uses the folder; and the failures of Engine.run.
    """
    for store, name in ((source, bucket), (target, target_bucket)):
        store.check_bucket(name)
    if (source.name, bucket) == (target.name, target_bucket) and source.region == target.region:
        raise Refused("Source and target are the same bucket.", "Name another bucket or another store.", target_bucket)
    os.makedirs(work, mode=0o700, exist_ok=True)
    identity = _identity(source, bucket, target, target_bucket)
    with _alone(os.path.join(work, f"{identity}.lock")), _scratch(work, identity) as scratch:
        inventory = Inventory(os.path.join(work, f"{identity}.proved"))
        inventory.begin(since, settled_seconds)
        return _Move(engine, {_SOURCE: source, _TARGET: target}, {_SOURCE: bucket, _TARGET: target_bucket}, scratch, inventory, progress, parallel).run(
            1 if live else passes, exact, live, proved_list
        )


def _identity(*parts: Union[Store, str]) -> str:
    """A name for the files of one move. What it is made of says which buckets are meant, and nothing of the credentials."""
    named = [f"{part.name} {part.region}" if isinstance(part, Store) else part for part in parts]
    return hashlib.sha256("\n".join(named).encode()).hexdigest()[:16]


@contextlib.contextmanager
def _alone(path: str) -> Iterator[None]:
    with open(path, "ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Refused("Another run moves this bucket.", "Wait for its end.", path) from None
        yield


@contextlib.contextmanager
def _scratch(work: str, identity: str) -> Iterator[str]:
    """A folder for listings, removed at the end; what a killed run left is removed now."""
    prefix = f"{identity}.tmp-"
    for name in os.listdir(work):
        if name.startswith(prefix):
            shutil.rmtree(os.path.join(work, name), ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=work) as folder:
        yield folder


@dataclass
class _Move:
    """One call of transfer()."""

    engine: Engine
    stores: Dict[str, Store]
    buckets: Dict[str, str]
    scratch: str
    inventory: Inventory
    progress: Optional[Callable[[Step], None]]
    parallel: int
    number: int = 0
    copied_objects: int = 0
    copied_bytes: int = 0
    read_objects: int = 0
    complaints: List[Complaint] = field(default_factory=list)

    def run(self, passes: int, exact: bool, live: bool, proved_list: Optional[str]) -> Transfer:
        begun = time.monotonic()
        while True:
            source, target = self._list_both()
            self._refuse_odd(source)
            plan = self.inventory.plan(source, target, self._file("copy"))
            if plan.settled or self.number == passes:
                break
            self.number += 1
            self.complaints = []
            if plan.copies:
                if plan.lost:
                    self.inventory.forget_lost(source, target)
                self._copy(plan)
                target = self._list(_TARGET)
            self._prove(source, target)
        if not plan.settled and not live:
            raise self._doubt(plan)
        if plan.extra and exact:
            shown = ", ".join(plan.extra_keys)
            raise NotProven(f"The target holds {plan.extra} objects that the source does not: {shown}.", "Delete them, or allow them.", plan.extra_keys[0])
        if proved_list:
            self.inventory.keep_proved(source, target, proved_list)
        pending = plan.copies + plan.unread
        return Transfer(
            objects=plan.objects,
            bytes=plan.bytes,
            copied_objects=self.copied_objects,
            copied_bytes=self.copied_bytes,
            proved_objects=plan.objects - pending,
            read_objects=self.read_objects,
            pending=pending,
            extra=plan.extra,
            extra_keys=tuple(plan.extra_keys),
            passes=self.number,
            seconds=time.monotonic() - begun,
            inventory=self.inventory.path,
        )

    def _refuse_odd(self, source: Listing) -> None:
        if source.odd:
            raise Refused(
                f"{source.odd} objects of {self.buckets[_SOURCE]} have keys that cannot be carried: {', '.join(source.odd_keys)}.",
                "Rename or delete them: a key must not begin or end with a slash, nor hold two in a row, a dot or two dots as a part, or the sign U+201B.",
                source.odd_keys[0],
            )

    def _doubt(self, plan: Plan) -> Exception:
        shown = ", ".join(plan.doubts)
        count = plan.copies + plan.unread
        said = self.complaints[-1] if self.complaints else None
        if said is not None and said.cause.failure is not NotProven:
            return said.as_failure(f"{self.stores[_SOURCE].name} to {self.stores[_TARGET].name}, {count} objects are left")
        text = f" rclone: {said.text}" if said else ""
        return NotProven(
            f"After {self.number} passes {count} of {plan.objects} objects are not proved: {shown}.{text}",
            "See that nobody writes into the source, and that the stores answer truly; then start again: what is proved is kept.",
            plan.doubts[0].rpartition(" (")[0],
        )

    def _list_both(self) -> Tuple[Listing, Listing]:
        self._tell(Step(LISTING, self.number))
        source, target = _both(lambda give_up: self._list(_SOURCE, give_up), lambda give_up: self._list(_TARGET, give_up))
        return source, target

    def _list(self, side: str, give_up: Optional[threading.Event] = None) -> Listing:
        return list_bucket(self.engine, self.stores[side], self.buckets[side], self.scratch, f"{side}.list", give_up=give_up)

    def _copy(self, plan: Plan) -> None:
        """Copy what the plan says, without asking the target about each object first."""
        last = Progress()

        def follow(done: Progress) -> None:
            nonlocal last
            last = done
            self._tell(Step(COPYING, self.number, done.objects, plan.copies, done.bytes, plan.copy_bytes))

        words: List[Word] = ["copy", *(f"{side}:{self.buckets[side]}" for side in (_SOURCE, _TARGET)), File("--files-from-raw=", self._file("copy"))]
        words += ["--no-traverse", "--no-check-dest", "--metadata", f"--transfers={self.parallel}", f"--checkers={self.parallel}"]
        # The proof reads every object: asking for its state after each upload would say less.
        settings = {"RCLONE_S3_NO_HEAD": "true", "RCLONE_S3_UPLOAD_CUTOFF": _IN_ONE_PIECE, "RCLONE_MULTI_THREAD_CUTOFF": _IN_ONE_PIECE}
        try:
            ended = self.engine.run(words, self.stores, on_progress=follow, settings=settings, tolerant=True)
        finally:
            self.copied_objects += last.objects
            self.copied_bytes += last.bytes
        self.complaints += ended.complaints

    def _prove(self, source: Listing, target: Listing) -> None:
        """Read what is on both sides and not known to be equal, batch by batch, and write down what was found."""
        limit = _BATCH_OBJECTS if self.number == 1 else _SMALL_BATCH_OBJECTS
        waiting = self._file("unread")
        objects = size = 0
        with open(waiting, "wb") as file:
            # The inventory is written while batches are read, so the question is answered first.
            for pair in self.inventory.unread(source, target):
                objects += 1
                size += int(pair.size)
                file.write(ordered.SEPARATOR.join((pair.key, pair.size, *pair.source, *pair.target)) + ordered.END)
        told = _Tally(lambda done: self._tell(Step(PROVING, self.number, done.objects, 2 * objects, done.bytes, 2 * size)))
        for batch in _batches(ordered.read(waiting), self._file("batch"), limit):
            self._read(batch, source.begun, told)

    def _read(self, batch: _Batch, seen: float, told: _Tally) -> None:
        paths = {side: self._file(f"{side}.digests") for side in (_SOURCE, _TARGET)}
        _both(*(self._reader(side, batch, paths[side], told) for side in (_SOURCE, _TARGET)))
        self.read_objects += batch.objects
        verdicts = self._file("verdicts")
        found: Dict[str, int] = {_SOURCE: 0, _TARGET: 0}
        with open(verdicts, "wb") as file:
            for _key, (record, mine, theirs) in ordered.aligned(ordered.read(batch.pairs), ordered.read(paths[_SOURCE]), ordered.read(paths[_TARGET])):
                if record is None:
                    continue
                found[_SOURCE] += int(record[1]) if mine else 0
                found[_TARGET] += int(record[1]) if theirs else 0
                if mine and theirs:
                    pair = Pair(record[0], record[1], (record[2], record[3]), (record[4], record[5]))
                    file.write(ordered.SEPARATOR.join(verdict_of(pair, mine[1], theirs[1], seen)) + ordered.END)
        # Two stores behind one broken proxy may tell the same lie, in fewer bytes or in more: then nothing that was read counts.
        if all(found[side] == batch.read_bytes[side] for side in found):
            self.inventory.record(verdicts)

    def _reader(self, side: str, batch: _Batch, path: str, told: _Tally) -> Callable[[threading.Event], None]:
        def read(give_up: threading.Event) -> None:
            sorter = ordered.Sorter(path)

            def take(line: bytes) -> None:
                if _DIGEST.match(line):
                    sorter.add(line[_DIGEST_WIDTH + 2 :], line[:_DIGEST_WIDTH])

            words: List[Word] = ["hashsum", "sha256", f"{side}:{self.buckets[side]}", "--download", File("--files-from-raw=", batch.keys), "--no-traverse"]
            words += [f"--transfers={self.parallel}", f"--checkers={self.parallel}"]
            # We know what is there: no question before each object.
            settings = {f"RCLONE_CONFIG_{side.upper()}_NO_HEAD_OBJECT": "true"}
            try:
                ended = self.engine.run(
                    words, {side: self.stores[side]}, take, lambda done: told.note((side, path), done), settings=settings, give_up=give_up, tolerant=True
                )
                sorter.finish()
            except BaseException:
                sorter.discard()
                raise
            told.close((side, path))
            batch.read_bytes[side] = ended.progress.bytes
            self.complaints += ended.complaints

        return read

    def _file(self, name: str) -> str:
        return os.path.join(self.scratch, name)

    def _tell(self, step: Step) -> None:
        counted(f"{step.name} {self.buckets[_SOURCE]}, pass {step.number}, objects", step.objects, step.all_objects)
        if self.progress is not None:
            self.progress(step)


@dataclass
class _Batch:
    """Some objects to read: their pairs in one file, their keys in another, and how many bytes rclone read of each side."""

    pairs: str
    keys: str
    objects: int = 0
    read_bytes: Dict[str, int] = field(default_factory=dict)


class _Tally:
    """Adds up the progress of several runs of rclone, which come one after the other and side by side."""

    def __init__(self, tell: Callable[[Progress], None]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._running: Dict[Any, Progress] = {}
        self._done = Progress()

    def note(self, run: Any, done: Progress) -> None:
        with self._lock:
            self._running[run] = done
            self._tell(_sum([self._done, *self._running.values()]))

    def close(self, run: Any) -> None:
        with self._lock:
            self._done = _sum([self._done, self._running.pop(run, Progress())])


def _sum(parts: Sequence[Progress]) -> Progress:
    return Progress(sum(part.objects for part in parts), sum(part.bytes for part in parts), sum(part.listed for part in parts))


def _batches(records: Iterator[ordered.Record], path: str, limit: int) -> Iterator[_Batch]:
    """Cut the records into batches; each is written over the one before."""
    first = next(records, None)
    while first is not None:
        batch, size = _Batch(f"{path}.pairs", f"{path}.keys"), 0
        rest, first = itertools.chain([first], records), None
        with open(batch.pairs, "wb") as pairs, open(batch.keys, "wb") as keys:
            for record in rest:
                if batch.objects and (batch.objects >= limit or size + int(record[1]) > _BATCH_BYTES):
                    first = record
                    break
                pairs.write(ordered.SEPARATOR.join(record) + ordered.END)
                keys.write(record[0] + ordered.END)
                batch.objects += 1
                size += int(record[1])
        yield batch


def _both(one: Callable[[threading.Event], Any], other: Callable[[threading.Event], Any]) -> Tuple[Any, Any]:
    """Do two things at once and return what both return. When one fails, the other is stopped, and the failure of the first is raised."""
    give_up = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(one, give_up), pool.submit(other, give_up)]
        try:
            done, _running = wait(futures, return_when=FIRST_EXCEPTION)
            failed = [future.exception() for future in futures if future in done and future.exception() is not None]
        except BaseException:
            give_up.set()
            raise
        if failed and failed[0] is not None:
            give_up.set()
            raise failed[0]
    return futures[0].result(), futures[1].result()
