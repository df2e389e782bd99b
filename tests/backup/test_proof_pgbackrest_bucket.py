"""A PostgreSQL whose log and backups are in a bucket of a real MinIO on another host: kept, proved, drilled, spoilt, lost, and brought back.

The tests tell one story, in this order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from lab import builds
from tests import labs
from tests.backup.archive_site import DATA, PASS
from tests.backup.bucket_site import BUCKET, FOLDER, KEYS, Bucketed
from tests.backup.test_proof_pgbackrest import WATCH, reason, well
from tests.perf import figures
from tests.proof import Measured


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, report: Callable[[str], None]) -> Iterator[Bucketed]:
    builds.ensure(["minio"], report)
    with labs.hosts(["db:trixie", "s3:trixie"], report=report, purpose="pgs3") as fleet:
        made = Bucketed(fleet, tmp_path_factory.mktemp("bucket"))
        made.prepare()
        made.have_the_store()
        yield made


def refused(run: Any, words: str) -> None:
    assert (run.status, words in run.output) == (2, True), run.output


def test_the_roles_archive_to_the_bucket_and_say_what_is_wrong_before(site: Bucketed) -> None:
    # The store's authority is not one of the system's: without it nobody is believed.
    refused(site.in_the_bucket(ca_file=""), "certificate")
    refused(site.in_the_bucket(bucket="others"), "AccessDenied")
    site.host.run(f"chmod 644 {KEYS}")
    refused(site.in_the_bucket(), f"{KEYS} has to be there, of root, and readable by nobody else")
    site.host.run(f"chmod 600 {KEYS}; cp {KEYS} {KEYS}.one; sed -i 2d {KEYS}.one")
    run = site.in_the_bucket(key_file=f"{KEYS}.one")
    assert run.status == 2, run.output
    assert site.listed() == []
    done = site.in_the_bucket().ok()
    again = site.in_the_bucket().ok()
    assert again.recap()["changed"] == 0
    assert site.secret not in run.output + done.output + again.output
    assert site.passphrase not in run.output + done.output + again.output
    assert any(key.startswith(f"{FOLDER}/archive/main/17-1/") for key in site.listed())
    site.have_ledger()


def test_a_point_in_the_bucket_is_taken_proved_drilled_and_encrypted(site: Bucketed, measured: Measured) -> None:
    begun = time.monotonic()
    point = well(site.keep(rows={"app": {"public.ledger": 50000}}))["point"]
    measured(figures.told("a point of PostgreSQL in a bucket, proved", time.monotonic() - begun, "s", str(point["proofs"]["postgres"]["steps"])))
    about = point["kinds"]["postgres"]
    assert (about["kind"], about["holes"], [about["label"]]) == ("full", [], site.backups())
    assert well(site.drill())["proof"]["verdict"] == "pass"
    # All that is in the bucket is encrypted: pgBackRest's own mark stands before each.
    manifests = [key for key in site.listed(f"backup/main/{about['label']}/") if key.endswith("manifest")]
    assert manifests
    assert [key for key in [*manifests, *site.listed("archive/main/17-1/0000000100000000/")] if not site.get(key).startswith(b"Salted__")] == []
    again = well(site.keep(max_age="1h"))
    assert (again["changed"], again["plan"]) == (False, [])


def test_the_keys_and_the_pass_phrase_are_shown_nowhere(site: Bucketed) -> None:
    site.host.run("cat > /srv/watch.sh; systemd-run --quiet --unit=watch bash /srv/watch.sh", stdin=WATCH)
    done = well(site.keep())
    assert well(site.drill())["proof"]["verdict"] == "pass"
    site.host.run("systemctl stop watch")
    assert "pgbackrest backup" in site.host.run("sort -u /srv/commands")
    site.host.run(f"umask 077; (cat {PASS}; sed -n 2p {KEYS}) > /run/known-secrets; journalctl --no-pager > /srv/journal", seconds=120)
    places = "/srv/commands /srv/journal /var/log /etc/systemd /run/systemd /var/backups/paas /var/lib/postgresql /var/lib/pgbackrest"
    assert site.host.run(f"grep -rlaF -f /run/known-secrets {places} || true", seconds=120) == ""
    assert site.host.run("grep -caF -f /run/known-secrets /etc/pgbackrest.conf").strip() == "2"
    assert site.host.run("stat -c '%a %U %G' /etc/pgbackrest.conf").strip() == "640 root postgres"
    assert site.secret not in str(done)


def test_a_store_that_nobody_verifies_or_with_another_key_is_refused(site: Bucketed) -> None:
    for harm, wanted, words in (
        ("sed -i 's/^start-fast/repo1-storage-verify-tls=n\\n&/' {}", "Refused", "repo1-storage-verify-tls=n"),
        ("sed -i 's/^repo1-storage-ca-file.*//' {}", "NotProven", "certificate"),
        ("sed -i 's/^repo1-s3-key-secret=/&x/' {}", "NotProven", ""),
        ("sed -i 's/^repo1-s3-bucket=.*/repo1-s3-bucket=others/' {}", "NotProven", ""),
        ("sed -i 's/cipher-pass=/&x/' {}", "NotProven", ""),
    ):
        site.host.run(f"cp -a /etc/pgbackrest.conf /srv/conf; {harm.format('/srv/conf')}")
        found = site.keep(config="/srv/conf")
        assert (reason(found), words in found["msg"]) == (wanted, True), (harm, found["msg"])
        assert site.secret not in str(found)


HARMS: Mapping[str, Callable[[bytes], bytes]] = {
    "flip": lambda body: body[: len(body) // 2] + bytes([body[len(body) // 2] ^ 1]) + body[len(body) // 2 + 1 :],
    "cut": lambda body: body[: len(body) // 2],
    "zero": lambda body: bytes(len(body)),
}


def test_every_defect_in_the_bucket_is_red(site: Bucketed, share: Callable[[int, int], int], measured: Measured) -> None:
    site.sql("CREATE TABLE load AS SELECT n, md5(n::text) FROM generate_series(1, 100000) n; SELECT pg_switch_wal()")
    about = well(site.keep(full_age="1s"))["point"]["kinds"]["postgres"]
    # Of the manifest there are two, and one is enough.
    manifests = site.listed(f"backup/main/{about['label']}/backup.manifest")
    files = [entry.key for entry in site.client().entries(BUCKET, f"{FOLDER}/backup/main/{about['label']}/pg_data") if entry.size > 4096]
    segments = [key for key in site.listed(f"archive/main/{about['archive']}/") if f"{about['first']}-" in key]
    assert (len(manifests), bool(files), len(segments)) == (2, True, 1)
    places = [segments, manifests, *([name] for name in files[:: max(1, len(files) // share(1, 12))])]
    red, count = 0, 0
    for place in places:
        kept = {key: site.get(key) for key in place}
        for harm in (*HARMS, "gone"):
            for key, body in kept.items():
                site.delete(key) if harm == "gone" else site.put(key, HARMS[harm](body))
            with site.reading_once():
                found = site.drill()
            for key, body in kept.items():
                site.put(key, body)
            assert found.get("failed"), (place, harm)
            assert found["failure"]["reason"] == "NotProven", (place, harm, found["msg"])
            red += 1
            count += 1
    measured(figures.at_least("defects of a repository in a bucket that are red", red, f"of {count}", count))
    assert well(site.drill())["proof"]["verdict"] == "pass"


def test_while_the_store_is_away_the_log_waits_and_then_goes_there(site: Bucketed) -> None:
    site.store.run("systemctl stop object-store")
    site.sql("CREATE TABLE away AS SELECT 1; SELECT pg_switch_wal()")
    # pgBackRest tries again for so long as it is told, for every request.
    site.host.run("sed 's/^start-fast/io-timeout=2\\n&/' /etc/pgbackrest.conf > /srv/conf; chgrp postgres /srv/conf; chmod 640 /srv/conf")
    assert site.keep(config="/srv/conf", timeout=120).get("failed")
    site.store.run("systemctl start object-store")
    deadline = time.monotonic() + 180
    while site.sql("SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'", "postgres") != "0":
        assert time.monotonic() < deadline, "the log does not go to the store"
        time.sleep(2)
    assert well(site.keep())["problems"] == []


def test_an_erased_server_comes_back_out_of_the_bucket(site: Bucketed, measured: Measured) -> None:
    site.sql("CREATE TABLE last AS SELECT 'here'::text AS word")
    well(site.keep())
    site.erase()
    assert site.host.run(f"ls -d {DATA} 2>/dev/null || true") == ""
    done = well(site.restore(state="swapped", confirm="db"))
    site.begin_anew()
    assert site.sql("SELECT word FROM last") == "here"
    assert site.sql("SELECT count(*) FROM ledger") == "50000"
    measured(figures.told("an erased server is back out of a bucket after", done["rto_seconds"]["postgres"], "s"))


def test_only_what_no_point_needs_goes_from_the_bucket(site: Bucketed) -> None:
    well(site.keep(full_age="1s"))
    done = well(site.keep(retention={"last": 1}, full_age="1s"))
    label = done["point"]["kinds"]["postgres"]["label"]
    assert site.backups() == [label]
    assert {key.split("/")[4] for key in site.listed("backup/main/") if key.split("/")[4][:2] == "20"} == {label}
    assert well(site.drill())["proof"]["verdict"] == "pass"
