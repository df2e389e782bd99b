# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in a bucket: one recursive listing into a sorted file, without a request for each object and without holding it in memory.

Keys are spelled as rclone spells them: control characters as symbols, so that a key never holds a newline or NUL. Some keys rclone cannot ask for again;
they are counted and named, never left out in silence.
"""

from __future__ import annotations

import calendar
import json
import os
import re
import threading
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotProven, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._host.stores import ordered
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import Engine, Progress
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.store import Store

# How many keys an error or a report names.
SHOWN = 5
_REMOTE = "store"
_ANSWER_HEAD = 120
_PARTS_OF_TIME = ((0, 4), (5, 7), (8, 10), (11, 13), (14, 16), (17, 19))
_FLAGS = ("--recursive", "--no-mimetype", "--use-server-modtime")
# A listing leaves nothing but garbage: collected more rarely it costs a fifth less time, and some tens of MiB more in rclone.
_SETTINGS = {"GOGC": "400"}
# Most lines of lsjson are of this form and hold no escape: they need no reader of JSON, which takes three times as long.
_PLAIN = re.compile(
    rb'\{"Path":"([^"\\]+)","Name":"[^"\\]*","Size":([0-9]+),"ModTime":"([^"\\]*)","IsDir":false'
    rb'(?:,"Hashes":\{"md5":"([0-9a-f]*)"\})?(?:,"Tier":"[^"\\]*")?\},?'
)
# What rclone would not find again under the key that it lists: parts without a name, its own quoting, the dots of a path; and what no record holds.
_QUOTE, _DOT = "\u201b".encode(), "\uff0e".encode()
_ODD = re.compile(rb"//|\A/|/\Z|%b|(?:\A|/)(?:%b){1,2}(?:/|\Z)|%b|%b" % (_QUOTE, _DOT, ordered.SEPARATOR, ordered.END))


@dataclass(frozen=True)
class Entry:
    """One object: its size in bytes, when the store says that it was written, and its MD5 in hexadecimal, empty where a listing does not carry it."""

    key: str
    size: int
    modified: str
    digest: str = ""


@dataclass(frozen=True)
class Listing:
    """A bucket as it was listed into the sorted file ``path``. ``begun`` is our own clock before the first request, in seconds since 1970.

    ``odd`` is how many objects have keys that rclone cannot carry, ``odd_keys`` the first of these.
    """

    path: str
    objects: int
    bytes: int
    begun: float
    odd: int = 0
    odd_keys: Tuple[str, ...] = ()

    def entries(self) -> Iterator[Entry]:
        """Yield every object, sorted by the bytes of its key."""
        for key, size, modified, digest in ordered.read(self.path):
            yield Entry(key.decode(), int(size), modified.decode(), digest.decode())


@dataclass(frozen=True)
class Difference:
    """A key about which two listings do not agree: ``missing`` from the other, ``extra`` in the other, or of another ``size`` or ``digest`` there."""

    key: str
    kind: str
    one: Optional[Entry]
    other: Optional[Entry]


def list_bucket(
    engine: Engine,
    store: Store,
    bucket: str,
    work: str,
    name: str = "listing",
    on_progress: Optional[Callable[[Progress], None]] = None,
    give_up: Optional[threading.Event] = None,
) -> Listing:
    """List a bucket into the file ``name`` of the folder ``work``.

    Raises NotFound when there is no such bucket, NotProven when a key comes twice, and the failures of Engine.run.
    """
    store.check_bucket(bucket)
    begun = time.time()
    path = os.path.join(work, name)
    collected, answers = _Collected(ordered.Sorter(path)), _Answers(store)
    digests = ("--hash", "--hash-type=md5") if store.lists_digests else ()
    try:
        words = ("lsjson", f"{_REMOTE}:{bucket}", *_FLAGS, *digests)
        engine.run(words, {_REMOTE: store}, collected.take, on_progress, answers.take if answers.readable else None, _SETTINGS, give_up=give_up)
        answers.check(bucket, collected.objects)
        if not collected.complete:
            raise Unavailable(f"The listing of {bucket} broke off.", "Start again.", bucket)
        collected.sorter.finish()
    except BaseException:
        collected.sorter.discard()
        raise
    _refuse_twins(path, bucket)
    return Listing(path, collected.objects, collected.bytes, begun, collected.odd, tuple(collected.odd_keys))


def differences(one: Listing, other: Listing) -> Iterator[Difference]:
    """Yield where two listings differ, in the order of the keys and in constant memory. Digests are compared where both have one."""
    for key, (left, right) in ordered.aligned(ordered.read(one.path), ordered.read(other.path)):
        mine, theirs = _entry(left), _entry(right)
        if mine is None or theirs is None:
            yield Difference(key.decode(), "extra" if mine is None else "missing", mine, theirs)
        elif mine.size != theirs.size:
            yield Difference(key.decode(), "size", mine, theirs)
        elif mine.digest and theirs.digest and mine.digest != theirs.digest:
            yield Difference(key.decode(), "digest", mine, theirs)


def peek(engine: Engine, store: Store, bucket: str, limit: int = 100, folder: str = "") -> Tuple[List[Entry], bool]:
    """Return the first objects of a bucket, at most ``limit`` (1 to 999), and whether there are more: the cost is that of a page or two.

    ``folder`` is a prefix without its last slash; the keys are then those below it. Raises NotFound when there is no such bucket, or nothing below the folder.
    """
    store.check_bucket(bucket)
    found: List[Entry] = []

    def take(line: bytes) -> bool:
        document = _document(line)
        if document is not None and not document["IsDir"]:
            found.append(Entry(document["Path"], document["Size"], document["ModTime"]))
        return len(found) > limit

    # One more than asked for tells whether there are more.
    where, answers = f"{_REMOTE}:{bucket}/{folder}".rstrip("/"), _Answers(store)
    engine.run(("lsjson", where, *_FLAGS, "--files-only"), {_REMOTE: store}, on_line=take, on_answer=answers.take if answers.readable else None)
    if len(found) <= limit:  # else it was stopped before its log was read
        answers.check(bucket)
    return found[:limit], len(found) > limit


def seconds_of(modified: str) -> float:
    """Return the seconds since 1970 of a modification time in a listing (RFC 3339 in UTC, with any fraction). Raises ValueError for anything else."""
    whole, _dot, fraction = modified.rstrip("Z").partition(".")
    # Six times as fast as strptime, which counts where every object of a bucket is looked at.
    moment = [int(whole[begin:end]) for begin, end in _PARTS_OF_TIME]
    return calendar.timegm((*moment, 0, 0, 0)) + float(f"0.{fraction or 0}")


def _entry(record: Optional[ordered.Record]) -> Optional[Entry]:
    return None if record is None else Entry(record[0].decode(), int(record[1]), record[2].decode(), record[3].decode())


def _document(line: bytes) -> Optional[Dict[str, Any]]:
    """Return the object of one line of lsjson's array, None for its brackets."""
    text = line.rstrip(b",")
    if text in (b"[", b"]"):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("Path"), str):
        raise Unavailable("rclone wrote something that is no listing.", "Start again; see that nothing else writes into its output.")
    return found


class _Answers:
    """Looks at the pages of a listing as the store sent them. rclone takes an error, a log-in page, anything with angle brackets for an empty listing.

    ``readable``: the provider's pages are known. For the others rclone's own reading has to do.
    """

    def __init__(self, store: Store) -> None:
        self.readable = store.provider == "s3"
        self._pages = self._keys = self._others = 0

    def take(self, line: bytes) -> None:
        """Take one line of the log."""
        begin = line[:_ANSWER_HEAD]
        if b'"msg":"HTTP/' not in begin or b" 200 OK" not in begin:
            return
        if b"<ListBucketResult" in line:
            self._pages += 1
            self._keys += line.count(b"<Key>")
        else:
            self._others += 1

    def check(self, bucket: str, objects: Optional[int] = None) -> None:
        """Raise Unavailable unless all pages were pages of a listing and held as many keys as ``objects``, if given."""
        if self.readable and (self._others or not self._pages):
            raise Unavailable(f"The store answers a listing of {bucket} with something else.", "A proxy between may answer in its place.", bucket)
        if self.readable and objects is not None and objects != self._keys:
            raise Unavailable(f"The store sent {self._keys} keys of {bucket}, but rclone listed {objects}.", "Start again.", bucket)


class _Collected:
    """The listing as it comes."""

    def __init__(self, sorter: ordered.Sorter) -> None:
        self.sorter = sorter
        self.objects = self.bytes = self.odd = 0
        self.odd_keys: List[str] = []
        self.complete = False

    def take(self, line: bytes) -> None:
        """Take one line of lsjson."""
        plain = _PLAIN.fullmatch(line)
        if plain is not None:
            key, size, modified, digest = plain.groups(b"")
            self._note(key, int(size), modified, digest)
            return
        document = _document(line)
        if document is None:
            self.complete = line == b"]"
            return
        key, size = document["Path"].encode("utf-8", "surrogatepass"), document["Size"]
        if document["IsDir"]:
            if size != 0:
                return  # made up by rclone for the objects below it
            key += b"/"  # an empty object whose key ends in a slash
        self._note(key, size, document["ModTime"].encode(), document.get("Hashes", {}).get("md5", "").encode())

    def _note(self, key: bytes, size: int, modified: bytes, digest: bytes) -> None:
        self.objects += 1
        self.bytes += size
        if _ODD.search(key):
            self.odd += 1
            if len(self.odd_keys) < SHOWN:
                self.odd_keys.append(key.decode("utf-8", "surrogatepass"))
            if ordered.SEPARATOR in key or ordered.END in key:
                return  # counted and named, but no record can hold it
        self.sorter.add(key, b"%d" % size, modified, digest)


def _refuse_twins(path: str, bucket: str) -> None:
    before = None
    for record in ordered.read(path):
        if record[0] == before:
            shown = record[0].decode(errors="replace")
            raise NotProven(f"The listing of {bucket} names {shown} twice.", "The store's listing is broken, or two keys are spelled alike: rename one.", shown)
        before = record[0]
