"""Recovery points in a bucket of real stores of two makers, with object lock: copied once, locked, killed at any request, spoilt by hand, brought back."""

from __future__ import annotations

import calendar
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lab import builds
from tests.backup.asking import key_file, refused
from tests.backup.offsite import PREFIX, Afar, catalogue_of, content, good, point, same
from tests.backup.whole import Identity
from tests.perf import figures
from tests.proof import Measured
from tests.stores.liar import Liar
from tests.stores.servers import Gateway, Minio, ObjectServer

PACK = content(1 << 20)
DAY = 86400


@pytest.fixture(scope="session", autouse=True)
def built(report: Callable[[str], None]) -> None:
    builds.ensure(["minio", "versitygw"], report)


@pytest.fixture(params=["minio", "versity"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectServer]:
    made: ObjectServer = Minio(tmp_path / "server") if request.param == "minio" else Gateway(tmp_path / "server", versions=True)
    with made.running():
        yield made


@pytest.fixture
def afar(server: ObjectServer, tmp_path: Path) -> Afar:
    return Afar(server, tmp_path).make()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Where a repository of two points is that share a pack."""
    folder = tmp_path / "here"
    folder.mkdir()
    point(folder, {"snapshot.db": content(100_000), "packs/one": PACK, "empty": b""}, age=DAY)
    point(folder, {"snapshot.db": content(90_000), "packs/one": PACK, "packs/large": content(17 << 20)})
    return folder


def elsewhere(folder: Path, here: Path) -> Path:
    """An empty host: nothing but the key."""
    there = folder / f"empty-{len(list(folder.iterdir()))}"
    there.mkdir()
    shutil.copy(key_file(here), there / "key")
    return there


def test_what_is_new_goes_and_comes_back(afar: Afar, here: Path, tmp_path: Path, measured: Measured) -> None:
    predicted = good(afar.copied(here, check=True))
    assert (afar.versions(), len(predicted["plan"])) == (0, 3)
    begun = time.monotonic()
    done = good(afar.copied(here))
    measured(figures.told(f"18 MiB copied, read back and locked, {afar.server.program}", time.monotonic() - begun, "s"))
    assert done["plan"] == predicted["plan"]
    # The pack and the empty file once each: five contents in all.
    assert (done["sent"]["objects"], done["reused"]["objects"], done["read_back"]) == (5, 1, 5)
    assert sorted(entry["whole"] for entry in done["copies"]) == [True, True]
    assert all(entry["lock_mode"] == "compliance" for entry in done["copies"])
    assert 30 * DAY <= until(done) - time.time() <= 32 * DAY
    # By the clock of the store, which tells whole seconds.
    assert -1 <= done["rpo_seconds"] - 60 < 120

    seen = afar.versions()
    begun = time.monotonic()
    again = good(afar.copied(here))
    measured(figures.told(f"second run, {afar.server.program}", time.monotonic() - begun, "s"))
    assert (again["changed"], again["plan"], afar.versions(), again["read_back"]) == (False, [], seen, 4)
    assert (again["findings"][0]["status"], again["proof"]["verdict"]) == ("pass", "pass")

    # A further point costs what is new.
    point(here, {"snapshot.db": content(50_000), "packs/one": PACK}, age=0)
    done = good(afar.copied(here, verify="all"))
    assert (done["sent"], done["reused"]["objects"]) == ({"objects": 1, "bytes": 50_000}, 1)

    empty = elsewhere(tmp_path, here)
    predicted = good(afar.fetched(empty, check=True, points="all"))
    assert not (empty / "repository").exists()
    begun = time.monotonic()
    done = good(afar.fetched(empty, points="all"))
    measured(figures.told(f"18 MiB brought back and compared, {afar.server.program}", time.monotonic() - begun, "s"))
    assert (done["plan"], done["proof"]["verdict"], done["fetched"]["objects"]) == (predicted["plan"], "pass", 6)
    assert same(here, empty)
    assert good(afar.fetched(empty, points="all"))["changed"] is False
    # It is a repository like any other: the next point goes on from there.
    made = point(empty, {"snapshot.db": b"next"})
    assert made.sequence == 4
    # By itself only the newest comes.
    empty = elsewhere(tmp_path, here)
    assert len(list((empty / "repository/points").iterdir()) if good(afar.fetched(empty)) else []) == 1


def until(result: dict[str, Any]) -> float:
    return min(calendar.timegm(time.strptime(entry["locked_until"], "%Y-%m-%dT%H:%M:%SZ")) for entry in result["copies"])


def test_locked_copies_cannot_be_deleted_nor_hidden(afar: Afar, here: Path, tmp_path: Path) -> None:
    good(afar.copied(here))
    client = afar.client()
    page = client.list_object_versions(Bucket=afar.bucket)
    for entry in page["Versions"]:
        with pytest.raises(ClientError) as told:
            client.delete_object(Bucket=afar.bucket, Key=entry["Key"], VersionId=entry["VersionId"])
        assert told.value.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 403), entry["Key"]
        sooner = {"Mode": "COMPLIANCE", "RetainUntilDate": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))}
        with pytest.raises(ClientError):
            client.put_object_retention(Bucket=afar.bucket, Key=entry["Key"], VersionId=entry["VersionId"], Retention=sooner)
    # Who has the keys hides one, and writes over another: what was locked is taken all the same, and both are told.
    sizes = afar.keys("data/")
    names = sorted(sizes)
    client.delete_object(Bucket=afar.bucket, Key=f"{PREFIX}/{names[0]}")
    client.put_object(Bucket=afar.bucket, Key=f"{PREFIX}/{names[1]}", Body=b"x" * sizes[names[1]])
    newest = catalogue_of(here).read().points[-1].identifier
    client.delete_object(Bucket=afar.bucket, Key=f"{PREFIX}/points/{newest}/manifest")
    done = good(afar.copied(here, verify="all"))
    assert (done["changed"], len(done["problems"])) == (False, 3)
    empty = elsewhere(tmp_path, here)
    assert len(good(afar.fetched(empty, points="all"))["problems"]) == 3
    assert same(here, empty)


def test_the_lock_is_extended_for_what_is_shared_and_never_shortened(afar: Afar, here: Path) -> None:
    good(afar.copied(here, lock_days=2))
    point(here, {"packs/one": PACK, "new": b"new"}, age=0)
    done = good(afar.copied(here, lock_days=9))
    newest = done["newest"]["locked_until"]
    client = afar.client()

    def locked(name: str) -> str:
        about = client.get_object_retention(Bucket=afar.bucket, Key=f"{PREFIX}/{name}")["Retention"]
        return str(about["RetainUntilDate"].strftime("%Y-%m-%dT%H:%M:%SZ"))

    files = {file.path: f"data/{file.sha256}" for entry in catalogue_of(here).read().points for file in entry.files}
    assert locked(files["etcd/packs/one"]) == locked(files["etcd/new"]) == newest
    assert locked(files["etcd/packs/large"]) < newest
    point(here, {"packs/one": PACK, "more": b"more"}, age=0)
    good(afar.copied(here, lock_days=1))
    assert locked(files["etcd/packs/one"]) == newest


def test_a_bucket_without_locks_is_refused_unless_that_is_said(server: ObjectServer, here: Path, tmp_path: Path) -> None:
    plain = Afar(server, tmp_path, "plain").make(lock=False)
    reason, message = refused(plain.copied(here))
    assert (reason, "object lock" in message, plain.keys()) == ("Refused", True, {})
    done = good(plain.copied(here, object_lock="available"))
    assert (done["protection"]["object_lock"], done["newest"]["locked_until"]) == (False, "")
    assert good(plain.copied(here, object_lock="available"))["changed"] is False
    empty = elsewhere(tmp_path, here)
    good(plain.fetched(empty, points="all"))
    assert same(here, empty)

    # Without locks anybody can do anything: each is named, nothing counts that is not whole.
    points = catalogue_of(here).read().points
    (snapshot,) = [file for file in points[-1].files if file.path == "etcd/snapshot.db"]
    key, whole = f"{PREFIX}/data/{snapshot.sha256}", (Path(catalogue_of(here).folder_of(points[-1])) / snapshot.path).read_bytes()
    flipped = whole[:500] + bytes([whole[500] ^ 1]) + whole[501:]
    for spoilt, how in ((flipped, "flipped"), (whole[:-1], "truncated"), (b"", "emptied")):
        server.put("plain", key, spoilt)
        reason, message = refused(plain.copied(here, object_lock="available", verify="all"))
        assert (reason, snapshot.sha256 in message) == ("NotProven", True), how
        assert server.get("plain", key) == spoilt, "what lies there is never replaced"
        empty = elsewhere(tmp_path, here)
        reason, message = refused(plain.fetched(empty))
        assert (reason, snapshot.sha256 in message) == ("NotProven", True), how
        assert not list((empty / "repository/points").glob("*")) if (empty / "repository").exists() else True
    server.delete("plain", key)
    empty = elsewhere(tmp_path, here)
    reason, message = refused(plain.fetched(empty))
    assert (reason, snapshot.sha256 in message, "is not there" in message) == ("NotProven", True, True)
    # The point is still here, so it is made whole.
    done = good(plain.copied(here, object_lock="available"))
    assert (done["changed"], done["sent"]["objects"]) == (True, 1)
    assert server.get("plain", key) == whole

    # A manifest of an older point under the name of the newest, and a newest one that is gone.
    old, new = (f"{PREFIX}/points/{entry.identifier}/manifest" for entry in points)
    kept = server.get("plain", new)
    server.put("plain", new, server.get("plain", old))
    reason, message = refused(plain.fetched(elsewhere(tmp_path, here)))
    assert (reason, "put there by hand" in message or points[0].identifier in message) == ("NotProven", True)
    assert refused(plain.copied(here, object_lock="available"))[0] == "NotProven"
    server.delete("plain", new)
    assert refused(plain.fetched(elsewhere(tmp_path, here), known_point=points[-1].identifier))[0] == "NotProven"
    assert refused(plain.fetched(elsewhere(tmp_path, here), max_age="2h"))[0] == "NotProven"
    server.put("plain", new, kept)
    assert good(plain.copied(here, object_lock="available", verify="all"))["changed"] is False


def test_wrong_keys_and_places_are_named(afar: Afar, here: Path, tmp_path: Path) -> None:
    good(afar.copied(here))
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    reason, message = refused(afar.fetched(stranger))
    assert (reason, "not among the keys given" in message) == ("NotProven", True)
    assert not (stranger / "repository").exists()
    assert refused(afar.fetched(elsewhere(tmp_path, here), prefix="nowhere"))[0] == "NotFound"
    assert refused(afar.fetched(elsewhere(tmp_path, here), bucket="no-such-bucket"))[0] == "NotFound"
    assert refused(afar.fetched(elsewhere(tmp_path, here), point="00000009-aaaaaaaa"))[0] == "NotFound"
    # Another repository does not go over this one, nor comes into one that is in use.
    other = elsewhere(tmp_path, here)
    point(other, {"a": b"a"})
    assert refused(afar.copied(other))[0] == "Refused"
    assert refused(afar.fetched(other))[0] == "Refused"
    # Keys that the store knows no more.
    secret = afar.server.secret_key
    good(afar.copied(here))
    afar.server.secret_key = "0" * 40
    result = afar.copied(here)
    assert refused(result)[0] == "Unauthorized"
    assert refused(afar.fetched(elsewhere(tmp_path, here)))[0] == "Unauthorized"
    assert "0" * 40 not in json.dumps(result)
    afar.server.secret_key = secret


def test_what_goes_can_be_encrypted_and_comes_back_by_one_key(afar: Afar, here: Path, tmp_path: Path, keys: list[Identity]) -> None:
    recipients = [key.recipient for key in keys]
    assert "fewer than 2" in refused(afar.copied(here, recipients=recipients[:1]))[1]
    predicted = good(afar.copied(here, check=True, recipients=recipients))
    done = good(afar.copied(here, recipients=recipients))
    assert (done["plan"], done["sent"]["objects"]) == (predicted["plan"], 5)
    for name in afar.keys("data/"):
        body = afar.client().get_object(Bucket=afar.bucket, Key=f"{PREFIX}/{name}")["Body"].read()
        assert body.startswith(b"age-encryption.org/v1\n")
        assert PACK[:100] not in body
    seen = afar.versions()
    assert good(afar.copied(here, recipients=recipients, verify="all"))["changed"] is False
    assert afar.versions() == seen
    empty = elsewhere(tmp_path, here)
    assert "identity_file" in refused(afar.fetched(empty))[1]
    stranger = tmp_path / "stranger-key"
    shutil.copy(key_file(tmp_path), stranger)
    reason, message = refused(afar.fetched(empty, identity_file=str(stranger)))
    assert (reason, "age ended" in message) == ("Invalid", True)
    assert list((empty / "repository/points").iterdir()) == []
    keys[1].file.chmod(0o600)
    good(afar.fetched(empty, points="all", identity_file=str(keys[1].file)))
    assert same(here, empty)
    assert not list(tmp_path.rglob("sealed"))


def test_killed_at_any_request_nothing_half_counts_and_the_next_run_goes_on(
    afar: Afar, here: Path, tmp_path: Path, share: Callable[[int, int], int], measured: Measured
) -> None:
    expected = [entry.identifier for entry in catalogue_of(here).read().points]
    victim: list[int] = []
    at = [0]

    def rule(_method: str, _path: str) -> str | None:
        if liar.requests == at[0] and victim:
            os.kill(victim[0], signal.SIGKILL)
            # Every other time the server never hears of it.
            return "500" if at[0] % 2 else None
        return None

    liar = Liar(afar.server.port, rule)
    with liar.listening() as url:
        counted = Afar(afar.server, tmp_path, "counted", url)
        counted.make()
        good(counted.copied(here))
        total = liar.requests
        tried = sorted(random.Random(6).sample(range(1, total + 1), min(total, share(8, 1000))))
        for index in tried:
            bucket = Afar(afar.server, tmp_path, f"killed-{index}", url).make()
            liar.requests, at[0] = 0, index
            bucket.options(here)
            child = os.fork()
            if child == 0:
                try:
                    time.sleep(0.1)
                    bucket.copied(here)
                finally:
                    os._exit(0)
            victim[:] = [child]
            _pid, status = os.waitpid(child, 0)
            victim.clear()
            assert os.WIFSIGNALED(status), index
            at[0] = 0
            # Whatever counts there is whole.
            named = list(bucket.keys("points/"))
            empty = elsewhere(tmp_path, here)
            if named:
                good(bucket.fetched(empty, points="all"))
                assert len(list((empty / "repository/points").iterdir())) == len(named)
            shutil.rmtree(empty)
            seen = bucket.keys("data/")
            done = good(bucket.copied(here))
            assert [entry["identifier"] for entry in done["copies"]] == expected, index
            assert done["sent"]["objects"] == 5 - len(seen), index
            assert good(bucket.copied(here, verify="all"))["changed"] is False
            assert len(bucket.keys()) == 8
    measured(figures.told(f"copies killed at a request, gone on with, {afar.server.program}", len(tried), f"of {total}"))


def test_a_store_that_is_full_or_busy_or_lies(tmp_path: Path, here: Path) -> None:
    with Minio(tmp_path / "lied-about").running() as server:
        fault: list[str | None] = [None]
        method = [""]
        liar = Liar(server.port, lambda asked, path: fault[0] if asked == method[0] and "/data/" in path else None)
        with liar.listening() as url:
            afar = Afar(server, tmp_path, endpoint=url).make()
            for lie, where, expected in (("503", "PUT", "Unavailable"), ("500", "POST", "Unavailable"), ("flipped", "GET", "NotProven"), ("cut", "GET", "")):
                fault[0], method[0] = lie, where
                reason, _message = refused(afar.copied(here))
                assert reason == expected or not expected, lie
                assert afar.keys("points/") == {} or lie != "flipped"
            fault[0] = None
            good(afar.copied(here, verify="all"))
            fault[0], method[0] = "flipped", "GET"
            empty = elsewhere(tmp_path, here)
            assert refused(afar.fetched(empty))[0] == "NotProven"
            assert list((empty / "repository/points").iterdir()) == []
    with Gateway(tmp_path / "small", capacity=10 << 20).running() as small:
        full = Afar(small, tmp_path, "full").make(lock=False)
        reason, message = refused(full.copied(here, object_lock="available"))
        assert reason in ("Unavailable", "Invalid"), message
        # The older and smaller point may have gone; nothing half is named.
        assert len(full.keys("points/")) <= 1
        assert refused(full.copied(here, object_lock="available"))[0] in ("Unavailable", "Invalid")


def test_only_what_retention_lets_go_is_deleted_and_only_when_the_lock_has_run_out(afar: Afar, here: Path) -> None:
    good(afar.copied(here))
    kept = good(afar.copied(here, retention={"last": 1}))
    assert (kept["changed"], len(kept["locked"]), len(kept["copies"])) == (False, 1, 2)
    free = Afar(afar.server, afar.folder, "free").make(lock=False)
    good(free.copied(here, object_lock="available"))
    predicted = good(free.copied(here, check=True, object_lock="available", retention={"last": 1}))
    done = good(free.copied(here, object_lock="available", retention={"last": 1}))
    assert (done["plan"], len(done["plan"]), len(done["copies"])) == (predicted["plan"], 1, 1)
    # What the other one still needs is there.
    assert good(free.copied(here, object_lock="available", retention={"last": 1}, verify="all"))["changed"] is False
    assert len(free.keys("data/")) == 3
