"""Rows in a database: a table filled to a size, and a writer that goes on writing and keeps a ledger of what was acknowledged."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from lab import layers, postgres
from lab.errors import CommandFailed, LabError
from lab.progress import silent

FILLED, WRITTEN = "lab_filled", "lab_written"
_BATCH = 20_000
Target = dict[str, Any]

_TABLES = f"""
CREATE TABLE IF NOT EXISTS {FILLED} (id bigserial PRIMARY KEY, name text NOT NULL, made timestamptz NOT NULL, body bytea, tags text[], facts jsonb);
CREATE TABLE IF NOT EXISTS {WRITTEN} (writer text NOT NULL, number bigint NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp(), body text,
    PRIMARY KEY (writer, number));
"""
# about a kilobyte each, under the size from which PostgreSQL compresses; the text depends on the number alone
_ROWS = f"""
INSERT INTO {FILLED} (name, made, body, tags, facts)
SELECT 'röw ' || n, timestamptz '2026-01-01 00:00:00+00' + n * interval '1 second',
       decode((SELECT string_agg(md5(n || ':' || part), '') FROM generate_series(1, 48) part), 'hex'),
       CASE WHEN mod(n, 3) = 0 THEN NULL ELSE ARRAY['a' || mod(n, 7), 'b'] END, jsonb_build_object('n', n)
FROM generate_series(%d, %d) n;
"""


def fill(target: Target, megabytes: int) -> int:
    """Fill a table until it has this size, and make what else a database has: a view, an index, large objects. The rows that are in it."""
    ask = _asker(target)
    ask(_TABLES)
    ask(f"CREATE INDEX IF NOT EXISTS {FILLED}_made ON {FILLED} (made); CREATE OR REPLACE VIEW {FILLED}_names AS SELECT name FROM {FILLED}")
    ask("SELECT lo_from_bytea(0, decode(md5(n::text), 'hex')) FROM generate_series(1, 3) n WHERE NOT EXISTS (SELECT FROM pg_largeobject_metadata)")
    while True:
        rows, size = (int(text) for text in ask(f"SELECT count(*), pg_total_relation_size('{FILLED}') FROM {FILLED}")[0])
        missing = (megabytes << 20) - size
        if missing <= 0:
            return rows
        each = max(size // rows, 500) if rows else 1000
        ask(_ROWS % (rows + 1, rows + max(min(missing // each, _BATCH), 1)))


def _asker(target: Target) -> Callable[[str], list[list[str]]]:
    return lambda statement: postgres.ask(target, statement)


class Writer:
    """Inserts rows one by one, each in a transaction of its own, and notes each one that the server has acknowledged.

    ``where`` tells the database anew for every connection, so that the writer follows the platform to another server. What was sent but not acknowledged
    may be there or not; nobody promised it.
    """

    def __init__(self, where: Callable[[], Target], ledger: Path, pause: float = 0.02) -> None:
        self.where = where
        self.ledger = ledger
        self.pause = pause
        self.name = secrets.token_hex(6)
        self.acknowledged = 0
        self.longest_gap = 0.0
        self.trouble = ""
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._psql: subprocess.Popen[str] | None = None

    def start(self) -> Writer:
        """Begin to write; returns after the first acknowledged row. Raises LabError when none is within half a minute."""
        _asker(self.where())(_TABLES)
        self._thread.start()
        deadline = time.monotonic() + 30
        while not self.acknowledged:
            if time.monotonic() > deadline:
                self.stop()
                raise LabError(f"the writer gets no row in: {self.trouble}")
            time.sleep(0.05)
        return self

    def stop(self) -> int:
        """Stop writing; how many rows were acknowledged."""
        self._enough.set()
        session = self._psql
        if session is not None:
            session.kill()  # the thread may wait for its answer
        self._thread.join(15)
        return self.acknowledged

    def __enter__(self) -> Writer:
        return self.start()

    def __exit__(self, *_trouble: object) -> None:
        self.stop()

    def _write(self) -> None:
        number, last = 0, time.monotonic()
        with self.ledger.open("a") as ledger:
            while not self._enough.is_set():
                try:
                    ask, answers = self._session()
                    while not self._enough.is_set():
                        number += 1
                        ask.write(f"INSERT INTO {WRITTEN} (writer, number, body) VALUES ('{self.name}', {number}, md5('{number}')) RETURNING number;\n")
                        ask.flush()
                        if answers.readline().strip() != str(number):
                            break
                        ledger.write(f"{self.name} {number}\n")
                        ledger.flush()
                        self.acknowledged += 1
                        now = time.monotonic()
                        self.longest_gap, last = max(self.longest_gap, now - last), now
                        self._enough.wait(self.pause)
                except (OSError, LabError) as error:
                    self.trouble = str(error)
                self._end_session()
                self._enough.wait(0.2)

    def _session(self) -> tuple[IO[str], IO[str]]:
        words, environment = postgres.psql(layers.unpacked(layers.debian(silent)), self.where())
        log = self.ledger.with_suffix(".log").open("a")
        with log:
            self._psql = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment, text=True)
        assert self._psql.stdin
        assert self._psql.stdout
        return self._psql.stdin, self._psql.stdout

    def _end_session(self) -> None:
        session = self._psql
        if session is None:
            return
        session.kill()
        session.wait()
        for stream in (session.stdin, session.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def lost(target: Target, ledger: Path) -> list[str]:
    """The acknowledged rows, as WRITER NUMBER, that a database does not hold with their right content. Raises CommandFailed."""
    try:
        there = {" ".join(row) for row in postgres.ask(target, f"SELECT writer, number FROM {WRITTEN} WHERE body = md5(number::text)")}
    except CommandFailed as error:
        if "does not exist" not in error.stderr:
            raise
        there = set()
    return [line for line in ledger.read_text().splitlines() if line not in there]
