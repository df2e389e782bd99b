# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a bucket can be used: one object of random content is put, listed, read back and deleted, and every right that is missing is named."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Callable, List, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Forbidden, NotFound, NotProven
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.listing import Entry, peek, seconds_of
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import Engine
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.store import Store

PROBE_FOLDER = ".paas-hardening-probe"
_REMOTE = "store"
_BYTES = 1024
_PROBES = 900  # what others left there does not hide ours
_ANSWER_SECONDS = 120.0
# The names of the rights, as the policies of S3 spell them.
_RIGHTS = {"list": "s3:ListBucket", "put": "s3:PutObject", "get": "s3:GetObject", "delete": "s3:DeleteObject", "create": "s3:CreateBucket"}


@dataclass(frozen=True)
class Access:
    """A bucket that can be listed and whose objects can be put, read back equal, and deleted.

    ``created``: it was made just now. ``empty``: nothing was in it. ``skew_seconds``: how far the store's clock is ahead of ours, None where it does not show.
    """

    bucket: str
    created: bool
    empty: bool
    skew_seconds: Optional[float]


def check_access(engine: Engine, store: Store, bucket: str, create: bool = False) -> Access:
    """See that a bucket exists (or make it, when ``create``) and that the credentials can do in it what a platform does.

    Where the bucket keeps versions, the probe stays among the old ones; nothing else is left behind. Raises NotFound when there is no such bucket,
    Forbidden that names each missing right, NotProven when something else is read than was put, and the failures of Engine.run.
    """
    store.check_bucket(bucket)
    created = False
    lacking: List[str] = []
    found: List[Entry] = []
    try:
        found, _more = peek(engine, store, bucket, 1)
    except NotFound as error:
        if not create:
            raise NotFound(f"There is no bucket {bucket} at {store.name}.", "Create it, or ask for its creation.", bucket) from error
        _create(engine, store, bucket)
        created = True
    except Forbidden:
        lacking.append("list")
    lacking_of_objects, skew = _Probe(engine, store, bucket).run("list" not in lacking)
    lacking += lacking_of_objects
    if lacking:
        raise _refusal(store, bucket, lacking)
    return Access(bucket, created, not found, skew)


def _create(engine: Engine, store: Store, bucket: str) -> None:
    allowed = {f"RCLONE_CONFIG_{_REMOTE.upper()}_NO_CHECK_{name}": "false" for name in ("BUCKET", "CONTAINER")}
    try:
        engine.run(("mkdir", f"{_REMOTE}:{bucket}"), {_REMOTE: store}, settings=allowed, seconds=_ANSWER_SECONDS)
        peek(engine, store, bucket, 1)
    except Forbidden:
        raise _refusal(store, bucket, ["create"]) from None


def _refusal(store: Store, bucket: str, lacking: List[str]) -> Forbidden:
    named = [f"{right} ({_RIGHTS[right]})" if store.provider == "s3" else right for right in lacking]
    return Forbidden(f"The credentials lack rights in the bucket {bucket} at {store.name}: {', '.join(named)}.", "Grant them to the identity.", bucket)


class _Probe:
    """One object of a random name and content, and what can be done with it."""

    def __init__(self, engine: Engine, store: Store, bucket: str) -> None:
        self._engine = engine
        self._store = store
        self._bucket = bucket
        self._name = secrets.token_hex(16)
        self._key = f"{PROBE_FOLDER}/{self._name}"
        self._content = secrets.token_hex(_BYTES // 2).encode()

    def run(self, may_list: bool) -> Tuple[List[str], Optional[float]]:
        """Return the rights that are missing, and the skew of the clocks in seconds. What the probe put is gone afterwards, or named in the failure."""
        lacking: List[str] = []
        before = time.time()
        if not self._allowed("put", self._put, lacking):
            return lacking, None
        after = time.time()
        skew = None
        try:
            self._allowed("get", self._read_back, lacking)
            written = self._written() if may_list else None
            if written:
                skew = _skew(written, before, after)
            elif may_list:
                raise NotProven(
                    f"{self._key} was put, but is not listed in {self._bucket}.", "The store's listing is behind: no move can be proved.", self._bucket
                )
        finally:
            deleted = self._allowed("delete", self._delete, lacking)
        if not deleted:
            refusal = _refusal(self._store, self._bucket, lacking)
            raise Forbidden(f"{refusal.message} The probe {self._key} stays behind.", "Grant them to the identity, and delete the probe.", self._bucket)
        if may_list and self._written():
            raise NotProven(
                f"{self._key} was deleted, but {self._bucket} still lists it.", "The store's listing is behind: no move can be proved.", self._bucket
            )
        return lacking, skew

    def _allowed(self, right: str, act: Callable[[], None], lacking: List[str]) -> bool:
        try:
            act()
        except Forbidden:
            lacking.append(right)
            return False
        return True

    def _run(self, *words: str, on_line: Optional[Callable[[bytes], Optional[bool]]] = None, content: bytes = b"", head: bool = True) -> None:
        settings = {"RCLONE_S3_NO_HEAD": "true", f"RCLONE_CONFIG_{_REMOTE.upper()}_NO_HEAD_OBJECT": str(not head).lower()}
        self._engine.run(words, {_REMOTE: self._store}, on_line=on_line, settings=settings, content=content, seconds=_ANSWER_SECONDS)

    def _put(self) -> None:
        self._run("rcat", f"{_REMOTE}:{self._bucket}/{self._key}", content=self._content)

    def _read_back(self) -> None:
        found: List[bytes] = []
        self._named("cat", found.append)
        if b"".join(found) != self._content:
            raise NotProven(f"{self._key} was read back with other content than was put.", "The store, or a proxy before it, changes content.", self._bucket)

    def _written(self) -> str:
        """When the store says that the probe was written; empty when it does not list it."""
        try:
            entries, _more = peek(self._engine, self._store, self._bucket, _PROBES, PROBE_FOLDER)
        except NotFound:
            return ""
        return next((entry.modified for entry in entries if entry.key == self._name), "")

    def _delete(self) -> None:
        self._named("delete")

    def _named(self, verb: str, on_line: Optional[Callable[[bytes], Optional[bool]]] = None) -> None:
        """Do something with the probe alone: named in a list and not asked for its state first, it needs no right beside."""
        words = (verb, f"{_REMOTE}:{self._bucket}", "--files-from-raw=-", "--no-traverse")
        self._run(*words, on_line=on_line, content=self._key.encode(), head=False)


def _skew(modified: str, before: float, after: float) -> Optional[float]:
    """Seconds that the store's clock is ahead: zero as long as its time, of whole seconds perhaps, lies within the request."""
    try:
        told = seconds_of(modified)
    except ValueError:
        return None
    if told + 1 < before:
        return told + 1 - before
    return max(0.0, told - after)
