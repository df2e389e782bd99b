"""What is planned for a member in each state: no more than it needs, and never what would cost the cluster its quorum."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_etcd_plan import Observed, Planner, refusal_of
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Change
from ansible_collections.paas.hardening.plugins.module_utils._host import accounts, certificates, files, program, units
from ansible_collections.paas.hardening.plugins.module_utils._host.etcd import cluster, places, service
from ansible_collections.paas.hardening.plugins.module_utils._host.etcd.wishes import Wish
from tests.unit.etcd.test_wishes import PASSWORD, peer, wish

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
NO_FILE = files.Kept(None, 0, "")
UP, DOWN = units.State(True, True), units.State(False, False)
AUTHORITY = "-----BEGIN CERTIFICATE-----\nMQ==\n-----END CERTIFICATE-----"
TRUST = f"{AUTHORITY}\n"
KEY = files.Kept("", 0o600, "etcd")
TLS = certificates.Seen(
    TRUST, NOW + datetime.timedelta(300), "PEM", NOW + datetime.timedelta(300), ("e1", "10.0.0.1"), True, True, KEY, KEY._replace(owner="root")
)
THREE = wish(peers=[peer(2), peer(3)])


def status(number: int, leader: str = "1", **more: Any) -> cluster.Status:
    return cluster.Status(str(number), "3.6.16", leader, 1 << 20, 1 << 20, False, True)._replace(**more)


def member(number: int, **more: Any) -> cluster.Member:
    return cluster.Member(str(number), f"e{number}", (f"https://10.0.0.{number}:2380",), False)._replace(**more)


def known(voters: int, *ill: int, **more: Any) -> cluster.Cluster:
    """A cluster of so many voters, of whom these do not answer."""
    numbers = range(1, voters + 1)
    statuses = {str(number): status(number) for number in numbers if number not in ill}
    return cluster.Cluster(tuple(map(member, numbers)), statuses, (), cluster.OPEN, {}, {})._replace(**more)


def good(wanted: Wish, seen: cluster.Cluster | None, **more: Any) -> Observed:
    kept = {path: files.Kept(text, mode, "root") for path, (text, mode) in service.upkeep_files(wanted, b"").items()}
    there = service.Seen(
        (),
        accounts.Account(999, "/usr/sbin/nologin"),
        program.Seen("0" * 64, 0o755),
        "3.6.16",
        {places.HOME: files.Folder(True, 0o700, "etcd"), places.DATA: files.Folder(True, 0o700, "etcd")},
        True,
        files.Kept(TRUST, 0o644, "root"),
        files.Kept(f"{PASSWORD}\n", 0o600, "root"),
        files.Kept(wanted.unit, 0o644, "root"),
        (),
        UP,
        DOWN,
        program.Process(7, tuple(wanted.command), {"PATH": "/bin"}, True, 1000.0),
        900.0,
        kept,
        UP,
        0.001,
        1,
        (),
    )
    return Observed(there._replace(**more), None, TLS, seen, TRUST, b"", NOW)


def bare(wanted: Wish) -> Observed:
    nothing = good(wanted, None, data=False, process=None, trust=NO_FILE, unit=NO_FILE, state=DOWN, timer=DOWN)
    return nothing._replace(wanted_trust=None)


def planned(wanted: Wish, observed: Observed) -> list[Change]:
    return list(Planner(wanted, observed).plan().changes)


def told(changes: list[Change]) -> list[str]:
    return [f"{change.ref.kind} {change.field}" for change in changes]


def remarks(wanted: Wish, observed: Observed) -> str:
    planner = Planner(wanted, observed)
    planner.plan()
    return " ".join(remark.text for remark in planner.remarks)


@pytest.mark.parametrize("step", ["ground", "member", "cluster"])
def test_where_all_is_well_nothing_is_planned_and_nothing_said(step: str) -> None:
    wanted = THREE._replace(step=step)
    assert (planned(wanted, good(wanted, known(3))), remarks(wanted, good(wanted, known(3)))) == ([], "")


def test_who_leads_begins_when_nobody_has_data_and_the_others_join() -> None:
    alone = [peer(2, data=False)]
    for lead, after in ((True, "begins the cluster"), (False, "joins, as a learner first")):
        wanted = wish(peers=alone, lead=lead)
        (change,) = [change for change in planned(wanted, bare(wanted)) if change.ref.kind == "Member"]
        assert change.after == after
    wanted = wish(peers=[peer(2)], lead=True)
    assert [change.after for change in planned(wanted, bare(wanted)) if change.ref.kind == "Member"] == ["joins, as a learner first"]


def test_no_cluster_is_begun_beside_hosts_of_which_nothing_is_known() -> None:
    wanted = wish(peers=[peer(2, present=False, data=False)], lead=True)
    refusal = refusal_of(wanted, bare(wanted))
    assert refusal
    assert "e2" in refusal.message


STALE = {"unit": files.Kept("another", 0o644, "root")}


@pytest.mark.parametrize(
    ("seen", "refused"),
    [
        (known(1), ""),
        (known(2), ""),
        (known(3), ""),
        (known(3, 2), "of 3 voters 2 are needed, and without this one 1 would be there"),
        (known(5, 2), ""),
        (known(5, 2, 3), "of 5 voters 3 are needed, and without this one 2 would be there"),
        (known(2, 2), "the other of the two voters is not well"),
        # It serves nobody: nothing is lost by a restart.
        (known(3, 1, 2), ""),
        (None, ""),
    ],
)
def test_a_member_is_restarted_only_when_the_others_are_a_quorum(seen: cluster.Cluster | None, refused: str) -> None:
    observed = good(THREE, seen, **STALE)
    refusal = refusal_of(THREE, observed)
    assert (refused in refusal.message if refusal else "") == bool(refused) or (not refused and refusal is None)
    assert refusal_of(THREE._replace(may_restart=False), observed) is None
    assert "Unit restarted" in told(planned(THREE, observed))


@pytest.mark.parametrize(
    ("seen", "refused"),
    [
        (known(3, 3), ""),
        (known(3, 2, 3), "of 3 voters 2 are needed to agree, and 1 are well"),
        (known(5, 3, 4), ""),
        (known(5, 3, 4, 5), "of 5 voters 3 are needed to agree, and 2 are well"),
    ],
)
def test_who_is_lost_is_removed_only_when_the_others_can_agree(seen: cluster.Cluster, refused: str) -> None:
    wanted = THREE._replace(lead=True, lost=("e3",))
    refusal = refusal_of(wanted, good(wanted, seen))
    assert (refusal is None) == (not refused)
    assert refused in (refusal.message if refusal else "")
    changes = planned(wanted, good(wanted, seen))
    assert [(change.ref.name, change.field) for change in changes] == [("e3", "membership")]
    # Only who leads removes, and only who is named.
    assert planned(wanted._replace(lead=False), good(wanted, seen)) == []
    assert planned(wanted._replace(lost=()), good(wanted, seen)) == []


def test_who_is_named_as_lost_and_is_well_stays() -> None:
    wanted = THREE._replace(lead=True, lost=("e2", "e1", "e9"))
    assert planned(wanted, good(wanted, known(3))) == []


def test_data_of_a_former_membership_is_moved_aside_only_when_it_is_named() -> None:
    gone = known(3)._replace(members=(member(2), member(3)))
    refusal = refusal_of(THREE, good(THREE, gone))
    assert refusal
    assert "etcd_server_lost: [e1]" in refusal.hint
    wanted = THREE._replace(lost=("e1",))
    assert refusal_of(wanted, good(wanted, gone)) is None
    assert told(planned(wanted, good(wanted, gone))) == ["Data place", "Member membership"]


def test_a_learner_that_was_left_over_votes() -> None:
    seen = known(3)._replace(members=(member(1, learner=True), member(2), member(3)), statuses={"1": status(1, learner=True, serves=False), "2": status(2)})
    assert told(planned(THREE, good(THREE, seen))) == ["Member vote"]


MENDED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "stopped": ({"process": None}, ["Unit running"]),
    "not at boot": ({"state": units.State(True, False)}, ["Unit at boot"]),
    "a unit that others can write": ({"unit": files.Kept(THREE.unit, 0o666, "root")}, ["File mode"]),
    "authorities of a stranger": ({"trust": files.Kept(f"{TRUST}more", 0o644, "root")}, ["File content", "Unit restarted"]),
    "another command line": ({"process": program.Process(7, ("etcd",), {}, True, 1000.0)}, ["Unit restarted"]),
    "another environment": ({"process": program.Process(7, tuple(THREE.command), {"ETCD_DEBUG": "1"}, True, 1000.0)}, ["Unit restarted"]),
    "how it began": ({"process": program.Process(7, tuple(THREE.command), {"ETCD_INITIAL_CLUSTER": "x"}, True, 1000.0)}, []),
    "a unit that is newer": ({"unit_time": 1001.0}, ["Unit restarted"]),
    "no timer": ({"timer": DOWN}, ["Unit at boot", "Unit running"]),
}


@pytest.mark.parametrize("case", list(MENDED))
def test_what_is_wrong_with_a_member_is_mended_and_nothing_else(case: str) -> None:
    more, wanted = MENDED[case]
    assert told(planned(THREE, good(THREE, known(3), **more))) == wanted


GROUND: dict[str, tuple[dict[str, Any], list[str]]] = {
    "another program": ({"binary": program.Seen("1" * 64, 0o755)}, ["Program sha256"]),
    "a program that all can write": ({"binary": program.Seen("0" * 64, 0o777)}, ["Program mode"]),
    "no account": ({"account": None}, ["Account account"]),
    "an account that logs in": ({"account": accounts.Account(999, "/bin/sh")}, ["Account shell"]),
    "data that all can read": ({"folders": {places.HOME: files.Folder(True, 0o755, "etcd")}}, ["Folder mode"]),
    "data of another": ({"folders": {places.DATA: files.Folder(True, 0o700, "root")}}, ["Folder owner"]),
}


@pytest.mark.parametrize("case", list(GROUND))
def test_what_is_wrong_with_the_ground_is_mended_and_nothing_else(case: str) -> None:
    more, wanted = GROUND[case]
    ground = THREE._replace(step="ground")
    assert told(planned(ground, good(ground, None, **more))) == wanted


def test_slow_and_full_disks_are_told() -> None:
    ground = THREE._replace(step="ground")
    said = remarks(ground, good(ground, None, latency=0.128, full=90))
    assert ("up to 128 ms" in said, "full by 90 %" in said) == (True, True)


def test_the_distribution_s_own_service_is_put_out_of_reach_before_its_package_comes() -> None:
    ground = wish(step="ground", binary_sha256="")
    assert told(planned(ground, good(ground, None, missing=("etcd-server",), account=None)))[:2] == ["Unit masked", "Packages etcd-server"]


def test_what_concerns_all_members_is_told_or_mended() -> None:
    wanted = wish(step="cluster", peers=[peer(2), peer(3)], authentication=True, root_password=PASSWORD)
    seen = known(4, 3, alarms=(("1", cluster.NOSPACE), ("2", cluster.CORRUPT)))
    assert told(planned(wanted, good(wanted, seen))) == ["Authentication enabled", "Alarm raised"]
    said = remarks(wanted, good(wanted, seen))
    for words in (
        "a member e4 that the inventory does not name",
        "e3 is not well",
        "4 voters bear the loss of 1, which 3 would",
        "e2 says that its data is damaged",
    ):
        assert words in said
    shut = known(3, login=cluster.UNKNOWN)
    assert (planned(wanted, good(wanted, shut)), "does not take ours" in remarks(wanted, good(wanted, shut))) == ([], True)


def test_the_latency_is_read_from_the_metrics() -> None:
    name = "etcd_disk_wal_fsync_duration_seconds_bucket"
    text = "".join(f'{name}{{le="{bound}"}} {count}\n' for bound, count in (("0.001", 900), ("0.008", 985), ("0.016", 992), ("+Inf", 1000)))
    assert service.percentile(text) == 0.016
    assert service.percentile(f'{name}{{le="+Inf"}} 5\n') is None


def test_authorities_of_hosts_that_are_not_in_the_play_stay() -> None:
    two, three = (AUTHORITY.replace("MQ==", letters) for letters in ("Mg==", "Mw=="))
    peers = wish(peers=[peer(2, authority=two), peer(3, present=False)]).peers
    text, whole = service.trust_wanted(AUTHORITY, "", peers, f"{three}\n")
    assert (service.certificates_in(text), whole) == ([AUTHORITY, two, three], True)
    text, whole = service.trust_wanted(AUTHORITY, "", wish(peers=[peer(2)]).peers, f"{three}\n")
    assert (service.certificates_in(text), whole) == ([AUTHORITY], False)
