"""What is planned for a host in each state; above all: what is refused, because it would cost data."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_postgres_plan import Observed, Planner, refusal_of
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Change
from ansible_collections.paas.hardening.plugins.module_utils._host import certificates, disk, files
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres import cluster, layout
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.wishes import ARGUMENTS, Wish, wish_of

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
NO_FILE = files.Kept(None, 0, "")
BARE = cluster.Seen(("postgresql-15",), None, False, False, False, False, {}, (), NO_FILE, NO_FILE, NO_FILE, False, 0, "", False, 0.0)
EMPTY_DISK = disk.Seen(layout.DATA, "/dev/vdb", {}, 1 << 30, False, "/dev/vdb", None, False, False, False)
NO_TLS = certificates.Seen(None, None, None, None, (), False, False, NO_FILE, NO_FILE)
DEBIAN = {"ID": "debian", "VERSION_CODENAME": "bookworm"}
PRIMARY = {"name": "db1", "address": "10.0.0.1", "authority": "PEM"}
RECEIVER = {"name": "backup-1", "address": "10.0.0.9"}
PASSWORD = "a password that is long"


def wish(**options: Any) -> Wish:
    given = {name: option.get("default", [] if option.get("type") == "list" else None) for name, option in ARGUMENTS.items()}
    return wish_of({**given, "addresses": ["10.0.0.2"], "names": ["db2"], **options})


def observed(**seen: Any) -> Observed:
    return Observed(layout.Layout(15), None, BARE._replace(**seen), NO_TLS, None, {}, (), NOW)


def planned(wanted: Wish, there: Observed) -> list[Change]:
    return list(Planner(wanted, there).plan(there).changes)


def test_a_bare_host_gets_everything_in_an_order_that_works() -> None:
    changes = planned(wish(), observed()._replace(disk=EMPTY_DISK))
    kinds = list(dict.fromkeys(change.ref.kind for change in changes))
    assert kinds == ["Packages", "File", "Disk", "Mount", "Cluster", "Authority", "Certificate", "Settings", "Unit"]


def test_no_cluster_comes_from_a_disk_that_is_buried_or_holds_something() -> None:
    for seen in (
        EMPTY_DISK._replace(buried=True),
        EMPTY_DISK._replace(holds={"TYPE": "ext4", "LABEL": "photos"}),
        EMPTY_DISK._replace(holds={"PTTYPE": "gpt"}),
    ):
        with pytest.raises(Refused):
            disk.refuse(seen)
    disk.refuse(EMPTY_DISK)
    disk.refuse(EMPTY_DISK._replace(holds={"TYPE": "xfs", "LABEL": "postgresql"}))


@pytest.mark.parametrize(
    ("options", "seen", "words"),
    [
        ({}, {"exists": True, "missing": ()}, "no data"),
        ({}, {"has_data": True}, "no configuration"),
        ({}, {"exists": True, "has_data": True, "signal": True}, "is a standby, and is wanted as a primary"),
        ({"primary": PRIMARY}, {"exists": True, "has_data": True, "control": {"Database cluster state": "in production"}}, "did not end in good order"),
        ({"primary": PRIMARY}, {"exists": True, "has_data": True, "control": {"Database cluster state": "shut down"}}, "was a primary, and is wanted"),
    ],
    ids=str,
)
def test_what_would_cost_data_is_refused(options: dict[str, Any], seen: dict[str, Any], words: str) -> None:
    refusal = refusal_of(wish(replication_password=PASSWORD, **options), observed(**seen))
    assert refusal is not None
    assert words in refusal.message
    assert refusal.hint


def test_a_primary_that_was_stopped_in_good_order_may_follow_when_that_is_allowed() -> None:
    there = observed(exists=True, has_data=True, missing=(), control={"Database cluster state": "shut down"})
    wanted = wish(replication_password=PASSWORD, primary=PRIMARY, rejoin=True)
    assert refusal_of(wanted, there) is None
    assert ("standby", True) in [(change.field, change.after) for change in planned(wanted, there)]


def test_nothing_is_said_of_roles_that_cannot_be_seen() -> None:
    wanted = wish(roles=[{"name": "app", "password": PASSWORD, "connection_limit": -1, "member_of": []}])
    assert "Role" in {change.ref.kind for change in planned(wanted, observed())}
    assert "Role" not in {change.ref.kind for change in planned(wanted, observed(exists=True, has_data=True, missing=()))}


@pytest.mark.parametrize(
    ("version", "there", "expected"),
    [(None, {}, 15), (17, {}, 17), (None, {14: ""}, 14), (14, {14: ""}, 14)],
)
def test_the_major_is_the_given_one_or_that_which_is_there_or_the_distributions(version: int | None, there: dict[int, str], expected: int) -> None:
    assert layout.chosen(version, there, DEBIAN).major == expected


def test_no_major_is_ever_jumped_and_other_systems_are_told() -> None:
    with pytest.raises(Refused, match="upgrades move data"):
        layout.chosen(17, {15: ""}, DEBIAN)
    with pytest.raises(Refused, match="Debian and Ubuntu"):
        layout.chosen(None, {}, {"ID": "rocky", "ID_LIKE": "rhel fedora"})
    with pytest.raises(Invalid, match="not known"):
        layout.chosen(None, {}, {"ID": "debian", "VERSION_CODENAME": "forky"})


@pytest.mark.parametrize(
    ("installed", "codename", "expected"),
    [
        ((), "bookworm", 15),
        ((), "trixie", 17),
        ((), "bullseye", 15),
        ((), "forky", 15),
        ((13, 17), "bookworm", 17),
        ((15, 17), "trixie", 15),
        ((14,), "trixie", 17),
    ],
)
def test_a_client_of_a_server_may_have_newer_programs_and_never_older_ones(installed: tuple[int, ...], codename: str, expected: int) -> None:
    assert layout.client_for(15, installed, {"VERSION_CODENAME": codename}).major == expected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"addresses": ["0.0.0.0"]}, "every address"),
        ({"addresses": ["db2"]}, "is no address"),
        ({"addresses": []}, "is empty"),
        ({"names": ["db2, IP:10.0.0.9"]}, "is no name"),
        ({"primary": PRIMARY}, "replication_password is empty"),
        ({"tls_key": "/etc/key.pem"}, "one is missing"),
        ({"renew_before": 400}, "Give 1 to 396 days"),
        ({"connections": 3}, "10 or more"),
        ({"receivers": [RECEIVER]}, "receiver_password is empty"),
        ({"receivers": [RECEIVER], "receiver_password": "short"}, "can be guessed"),
        ({"receivers": [RECEIVER], "receiver_password": PASSWORD, "receiver_role": "replicator"}, "the role of the standbys"),
        ({"receivers": [RECEIVER], "peers": [RECEIVER], "receiver_password": PASSWORD, "replication_password": PASSWORD}, "is a standby, too"),
    ],
    ids=str,
)
def test_wishes_that_cannot_be_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        wish(**options)


def test_peers_get_slots_and_lines_and_in_one_order() -> None:
    peers = [{"name": "db-3", "address": "10.0.0.3"}, {"name": "db1", "address": "10.0.0.1"}]
    one, other = (wish(peers=given, replication_password=PASSWORD, synchronous=True) for given in (peers, peers[::-1]))
    assert one == other
    assert one.slots == ("db_3", "db1")
    assert one.settings["synchronous_standby_names"] == "ANY 1 (db_3, db1)"
    assert [entry.network for entry in one.entries] == ["10.0.0.3/32", "10.0.0.1/32"]


def test_receivers_get_a_role_of_their_own_and_commits_wait_for_them_too() -> None:
    given = {"receivers": [RECEIVER], "receiver_password": PASSWORD, "synchronous": True}
    alone = wish(**given)
    assert alone.slots == ("backup_1",)
    assert alone.settings["synchronous_standby_names"] == "ANY 1 (backup_1)"
    assert [(role.name, role.replication, role.rewinds, role.member_of) for role in alone.roles] == [("receiver", True, False, ())]
    assert [entry.line() for entry in alone.entries] == ["hostssl replication receiver 10.0.0.9/32 scram-sha-256"]
    both = wish(**given, peers=[{"name": "db1", "address": "10.0.0.1"}], replication_password=f"{PASSWORD}2")
    assert both.settings["synchronous_standby_names"] == "ANY 1 (db1, backup_1)"
    assert [(role.name, role.password) for role in both.roles] == [("replicator", f"{PASSWORD}2"), ("receiver", PASSWORD)]
    # A standby keeps no log for them, and lets them in once it is the primary.
    standby = wish(**given, primary=PRIMARY, replication_password=PASSWORD)
    assert (standby.slots, standby.former, len(standby.entries)) == ((), ("backup_1",), 1)


def test_what_a_certificate_lacks_is_told() -> None:
    good = certificates.Seen(
        "PEM", NOW.replace(year=2036), "PEM", NOW.replace(year=2027), ("db2", "10.0.0.2"), True, True, NO_FILE, files.Kept("", 0o600, "root")
    )
    names = ("db2", "10.0.0.2")
    assert certificates.problems(good, names, 30, NOW) == []
    assert certificates.authority_problems(good, 30, NOW) == []
    for change, field in (
        ({"ends": NOW + datetime.timedelta(days=29)}, "valid until"),
        ({"names": ("db2",)}, "names"),
        ({"fits_key": False}, "public part"),
        ({"fits_authority": False}, "issuer"),
        ({"certificate": None}, "certificate"),
        ({"ends": None}, "certificate"),
    ):
        assert [entry[0] for entry in certificates.problems(good._replace(**change), names, 30, NOW)] == [field]
    assert certificates.authority_problems(good._replace(authority_key=NO_FILE), 30, NOW)[0][1] == "without its private part"
