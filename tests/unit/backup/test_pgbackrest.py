"""What is decided about pgBackRest without it: which backup is due, which may go, what of a log is needed, and which configuration is refused."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.catalogue import Damaged, Listing
from ansible_collections.paas.hardening.plugins.module_utils._backup.continuity import log_problems
from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import Manifest
from ansible_collections.paas.hardening.plugins.module_utils._backup.metrics import Ran, check_path, of_repository
from ansible_collections.paas.hardening.plugins.module_utils._backup.pgbackrest.engine import Backup, judge, stanza_of, working_folders
from ansible_collections.paas.hardening.plugins.module_utils._backup.pgbackrest.kind import due, needed, parents_of, superfluous
from ansible_collections.paas.hardening.plugins.module_utils._backup.pgbackrest.proof import Promised, gaps, promised_of
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, NotFound, NotProven, Refused
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.log import segment_name
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.settings import archiving

DAY = 86400.0
IDENTITY = "0123456789abcdef"
FULL, DIFFERENTIAL, INCREMENTAL = "20261101-000000F", "20261101-000000F_20261102-000000D", "20261101-000000F_20261103-000000I"


def backup(label: str, kind: str = "full", chain: tuple[str, ...] = (), ended: float = 0.0, mark: str = f"{IDENTITY[:12]}-1") -> Backup:
    return Backup(label, kind, (*chain, label), "0/2000028", "0/3000000", segment_name(1, 2), ended, mark, False, segment_name(1, 3))


def promised(**changed: Any) -> Promised:
    given = {
        "label": FULL,
        "chain": (FULL,),
        "archive": "17-1",
        "system": "1",
        "version": 170004,
        "segment": 16 << 20,
        "checksums": True,
        "start": "0/2000028",
        "first": segment_name(1, 2),
        "stop": "0/3000000",
        "name": "p",
        "timeline": 1,
        "lsn": "0/5000100",
        "instant": 1.0,
        "backed_up": 0.5,
        "bytes": 1,
        "databases": ("postgres",),
        "rows": {},
    }
    return Promised(**{**given, **changed})


def point(number: int, label: str, *chain: str, **about: Any) -> Manifest:
    kinds = {"postgres": {"label": label, "chain": [*chain, label], "needs": [], **about}}
    return Manifest(f"{number:08d}-00000000", IDENTITY, 1.0, 1.0, 1.0, kinds, (), {}, {}, {"postgres": {"verdict": "pass"}})


def test_the_kind_of_the_next_backup_follows_from_ages() -> None:
    assert due([], 7 * DAY, DAY, 0.0) == "full"
    one = backup(FULL, ended=0.0)
    assert due([one], 7 * DAY, DAY, 0.5 * DAY) == "incr"
    assert due([one], 7 * DAY, DAY, 1.5 * DAY) == "diff"
    assert due([one], 7 * DAY, DAY, 7.5 * DAY) == "full"
    # A clock that ran back makes no age.
    assert due([one], 7 * DAY, DAY, -1.0) == "full"
    assert due([one, backup(DIFFERENTIAL, "diff", (FULL,), 1.5 * DAY)], 7 * DAY, DAY, 2 * DAY) == "incr"


def test_nothing_goes_that_anybody_needs() -> None:
    newer = "20261110-000000F"
    there = [backup(FULL), backup(DIFFERENTIAL, "diff", (FULL,)), backup(INCREMENTAL, "incr", (FULL, DIFFERENTIAL)), backup(newer)]
    listing = Listing(IDENTITY, (point(3, INCREMENTAL, FULL, DIFFERENTIAL), point(4, newer)))
    assert superfluous(there, listing) == []
    assert superfluous(there, Listing(IDENTITY, (point(4, newer),))) == [INCREMENTAL, DIFFERENTIAL, FULL]
    # With damage in the catalogue nothing is sure; and the last full backup stays in any case.
    assert superfluous(there, Listing(IDENTITY, (point(4, newer),), (Damaged("x", "torn"),))) == []
    assert superfluous(there, Listing(IDENTITY, ())) == [INCREMENTAL, DIFFERENTIAL, FULL]
    assert superfluous(there, Listing("", ())) == []
    # What was made by hand, and what it stands on, is not ours.
    by_hand = [*there[:2], backup(INCREMENTAL, "incr", (FULL, DIFFERENTIAL), mark=""), there[3]]
    assert superfluous(by_hand, Listing(IDENTITY, (point(4, newer),))) == []


def test_no_link_of_a_kept_chain_goes_whatever_the_history() -> None:
    chance = random.Random(11)
    for _case in range(2000):
        backups: list[Backup] = []
        for number in range(chance.randrange(1, 12)):
            parent = chance.choice(backups) if backups and chance.random() < 0.7 else None
            label = f"{number:08d}-000000F" if parent is None else f"{parent.label[:16]}_{number:08d}-000000I"
            mark = f"{IDENTITY[:12]}-{number}" if chance.random() < 0.8 else chance.choice(["", "ffffffffffff-1"])
            backups.append(backup(label, "incr" if parent else "full", parent.chain if parent else (), mark=mark))
        kept = [entry for entry in backups if chance.random() < 0.3]
        points = tuple(point(number + 1, entry.label, *entry.chain[:-1]) for number, entry in enumerate(kept))
        left = {entry.label for entry in backups}
        for label in superfluous(backups, Listing(IDENTITY, points)):
            # As expire does: what stands on it goes with it.
            left -= {entry.label for entry in backups if label in entry.chain}
        assert all(set(entry.chain) <= left for entry in kept)
        assert all(set(entry.chain) <= left for entry in backups if not entry.mark.startswith(IDENTITY[:12]))


def test_parents_are_the_points_with_the_rest_of_the_chain() -> None:
    points = (point(1, FULL), point(2, "20261109-000000F"), point(3, DIFFERENTIAL, FULL))
    assert parents_of((FULL, DIFFERENTIAL, INCREMENTAL), points) == (points[0].identifier, points[2].identifier)


def test_what_pgbackrest_says_is_read() -> None:
    one = {
        "label": DIFFERENTIAL,
        "type": "diff",
        "reference": [FULL],
        "error": False,
        "annotation": {"paas-hardening": "m"},
        "lsn": {"start": "0/1", "stop": "0/2"},
        "archive": {"start": "A", "stop": "B"},
        "timestamp": {"start": 1, "stop": 2},
        "database": {"id": 2},
    }
    old = {**one, "database": {"id": 1}}
    said = [
        {
            "name": "main",
            "cipher": "aes-256-cbc",
            "backup": [old, one],
            "db": [{"id": 1, "system-id": 7, "version": "15"}, {"id": 2, "system-id": 8, "version": "17"}],
            "archive": [{"id": "15-1", "database": {"id": 1}}, {"id": "17-2", "database": {"id": 2}}],
        }
    ]
    read = stanza_of(said, "main")
    assert (read.system, read.archive, read.encrypted, [entry.chain for entry in read.backups]) == ("8", "17-2", True, [(FULL, DIFFERENTIAL)])
    with pytest.raises(NotProven, match="cannot be read: no key"):
        stanza_of([{**said[0], "status": {"code": 99, "message": "no key"}}], "main")
    # The stanza says no more than "other"; its repository says why, and then shows the whole request.
    repositories = [{"key": 1, "status": {"code": 99, "message": "[CryptoError] unable to verify certificate:\n*** Path/Query ***:\nGET /log"}}]
    with pytest.raises(NotProven, match="unable to verify certificate Is it"):
        stanza_of([{**said[0], "repo": repositories, "status": {"code": 99, "message": "other"}}], "main")
    with pytest.raises(NotFound):
        stanza_of(said, "other")
    with pytest.raises(NotProven):
        stanza_of([{"name": "main", "db": [{"id": "x"}]}], "main")


def test_the_segments_of_a_point_are_those_between_backup_and_promise() -> None:
    names = [f"{segment_name(1, number)}-{'a' * 40}.zst" for number in range(1, 9)] + ["00000002.history", f"{segment_name(2, 4)}-{'b' * 40}.zst"]
    assert [name[:24] for name in needed(names, promised())] == [segment_name(1, number) for number in (2, 3, 4, 5)]
    assert segment_name(2, 4) in [name[:24] for name in needed(names, promised(timeline=2))]
    one = promised()
    assert gaps(names, {}, one.since, one.through, one.segment)[0].startswith("00000002.history is missing")
    assert gaps(names[:8], {}, one.since, one.through, one.segment) == []
    assert gaps(names[:2] + names[3:8], {}, one.since, one.through, one.segment) == [f"{segment_name(1, 3)} is missing"]
    assert promised_of({**one.as_about(), "engine": "pgbackrest"}) == one
    with pytest.raises(NotProven):
        promised_of({"engine": "pgbackrest"})


def test_a_history_that_runs_back_and_holes_are_told() -> None:
    about = {"system": "1", "timeline": 1, "lsn": "0/5000000", "holes": []}
    assert log_problems([point(1, FULL, **about), point(2, FULL, **{**about, "lsn": "0/6000000"})]) == []
    assert "ran back" in log_problems([point(1, FULL, **about), point(2, FULL, **{**about, "lsn": "0/4000000"})])[0].what
    assert "another PostgreSQL" in log_problems([point(1, FULL, **about), point(2, FULL, **{**about, "system": "2"})])[0].what
    assert "X is missing" in log_problems([point(1, FULL, **{**about, "holes": ["X is missing"]})])[0].what


def test_a_configuration_that_loses_or_shows_something_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "conf"
    with pytest.raises(Invalid, match="cannot be read"):
        judge(str(path), "main")
    path.write_text(f"[global]\nrepo1-path={tmp_path}\nrepo1-cipher-pass=a%b;c#d\nlock-path={tmp_path}/none\n[main]\npg1-path=/x\n")
    path.chmod(0o640)
    judge(str(path), "main")
    assert working_folders(str(path))[0] == str(tmp_path)
    with pytest.raises(Invalid, match="no section"):
        judge(str(path), "other")
    path.chmod(0o644)
    with pytest.raises(Refused, match="open to other users"):
        judge(str(path), "main")
    path.chmod(0o640)
    path.write_text(path.read_text().replace("[main]", "archive-push-queue-max=1GiB\n[main]"))
    with pytest.raises(Refused, match="archive-push-queue-max"):
        judge(str(path), "main")
    for line in ("repo1-storage-verify-tls=n", "repo1-s3-verify-tls = N"):
        path.write_text(f"[global]\nrepo1-type=s3\nrepo1-s3-key-secret=0123\n{line}\n[main]\npg1-path=/x\n")
        with pytest.raises(Refused, match="verify-tls=") as blind:
            judge(str(path), "main")
        assert "0123" not in str(blind.value)
        path.write_text(path.read_text().lower().replace("=n", "=y").replace("= n", "=y"))
        judge(str(path), "main")
    path.write_text("not a configuration\nsecret=1\n")
    with pytest.raises(Invalid) as caught:
        judge(str(path), "main")
    assert "secret" not in str(caught.value)


def test_a_server_archives_to_one_stanza() -> None:
    assert archiving("main", {})["archive_command"] == "pgbackrest --stanza=main archive-push %p"
    with pytest.raises(Invalid):
        archiving("a b", {})
    with pytest.raises(Invalid):
        archiving("main", {"archive_mode": "off"})


def test_numbers_are_moments_and_names_cannot_break_out(tmp_path: Path) -> None:
    text = of_repository('/a"\n', Listing(IDENTITY, (point(1, FULL, system="1", timeline=1, lsn="0/1", holes=["x"]),)), 5.0, Ran(4.0, False, 0.0, DAY))
    assert 'paas_backup_point_timestamp_seconds{repository="/a\\"\\n",kind="postgres"} 1.0\n' in text
    assert 'paas_backup_problems{repository="/a\\"\\n"} 1\n' in text
    assert "paas_backup_run_success{" in text
    with pytest.raises(Invalid):
        check_path("relative.prom", "x")
    with pytest.raises(Invalid):
        check_path(f"{tmp_path}/file.txt", "x")
