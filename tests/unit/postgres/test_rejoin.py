"""What becomes of a former primary: what is lost by its return, who has to say so, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls import host_postgres_rejoin
from ansible_collections.paas.hardening.plugins.module_utils._controls.host_postgres_plan import refusal_of
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres import accounts, former, layout, live
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.former import Former
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.log import Fork, Past
from tests.unit.postgres.test_plan import PASSWORD, PRIMARY, observed, planned, wish

PLACE = layout.Layout(15)
SEGMENT = 16 << 20
PAST = {"identifier": "7", "timeline": 2, "switches": [{"timeline": 1, "end": "0/3000148"}], "oldest": "0/2000000"}
FORK = Fork(1, 0x3000148, 0x30F0000, False)
DIVERGED = Former(Past("7", 1), FORK, 12, SEGMENT, False, "", "", "/data.given-up", ("db1",))
BEHIND = DIVERGED._replace(fork=FORK._replace(end=FORK.at), commits=0)
CRASHED = {"exists": True, "has_data": True, "missing": (), "control": {"Database cluster state": "in production"}}


def wanted(**options: Any) -> Any:
    return wish(replication_password=PASSWORD, **{"primary": {**PRIMARY, "past": PAST}, **options})


def there(found: Former | None, **seen: Any) -> Any:
    return observed(**{**CRASHED, **seen})._replace(former=found)


@pytest.mark.parametrize(
    ("found", "options", "words"),
    [
        (DIVERGED, {}, "they went apart at 0/3000148 of timeline 1, and since then it wrote 982712 bytes of log, up to 0/30F0000, with 12 commits"),
        (DIVERGED, {"rejoin": True}, "they went apart at"),
        (BEHIND, {}, "db1 has all of it"),
        (DIVERGED._replace(obstacle="no checksums"), {"rejoin_by": "rewind"}, "cannot be rewound: no checksums"),
        (DIVERGED._replace(past=Past("8", 1)), {"rejoin_by": "rewind"}, "another cluster"),
        (DIVERGED._replace(fork=FORK._replace(same=True)), {"rejoin_by": "rewind"}, "never promoted"),
        (DIVERGED._replace(fork=None, unread="no such file"), {"rejoin_by": "rewind"}, "no such file"),
        (DIVERGED, {"rejoin_by": "rewind", "primary": {**PRIMARY, "past": {**PAST, "oldest": "0/5000000"}}}, "would need 000000010000000000000003"),
        (BEHIND, {"rejoin": True, "primary": {**PRIMARY, "past": {**PAST, "oldest": "0/5000000"}}}, "would need"),
    ],
    ids=["diverged", "switched", "behind", "obstacle", "stranger", "same", "unread", "gone", "too far behind"],
)
def test_nothing_is_given_up_that_nobody_said_may_be(found: Former, options: dict[str, Any], words: str) -> None:
    refusal = refusal_of(wanted(**options), there(found))
    assert refusal is not None
    assert words in refusal.message
    assert "postgres_server_rejoin" in refusal.hint


@pytest.mark.parametrize("options", [{}, {"rejoin_by": "rewind"}, {"primary": None}])
def test_a_rewind_that_broke_is_refused_whatever_the_host_is_wanted_as(options: dict[str, Any]) -> None:
    for runs in (there(DIVERGED, rewinding=True), there(None, rewinding=True, signal=True, control={"Database cluster state": "shut down"})):
        refusal = refusal_of(wanted(**options), runs)
        assert refusal is not None
        assert "neither what it was" in refusal.message or options.get("primary", 1) is None
    assert refusal_of(wanted(rejoin_by="copy"), there(DIVERGED, rewinding=True)) is None


def changes(found: Former | None, options: dict[str, Any], **seen: Any) -> dict[str, Any]:
    before = there(found, **seen)
    assert refusal_of(wanted(**options), before) is None
    return {change.field: change.after for change in planned(wanted(**options), before) if change.ref.kind == "Cluster"}


def test_each_way_back_is_planned_in_words() -> None:
    assert changes(BEHIND, {"rejoin": True}) == {"standby": True}
    assert changes(BEHIND, {"rejoin_by": "rewind"}) == {"standby": True}
    assert changes(DIVERGED, {"rejoin_by": "rewind"}) == {"rewound": "0/3000148 of timeline 1", "given up log": "/data.given-up", "standby": True}
    assert changes(DIVERGED, {"rejoin_by": "copy"}) == {"data": "a copy of db1", "former data": "/data.given-up.data"}
    assert changes(None, {"rejoin_by": "copy"}, rewinding=True) == {"data": "a copy of db1", "former data": f"{PLACE.data}.given-up.data"}
    # A run that ended between moving the old data aside and putting the copy in its place.
    assert changes(None, {}, has_data=False, incoming=True) == {"data": "the copy of db1 that was verified"}


def test_slots_of_a_former_primary_go_when_it_follows_and_a_rewind_or_a_copy_takes_them_itself() -> None:
    peers = {"peers": [{"name": "db1", "address": "10.0.0.1"}]}
    for found, options, expected in ((BEHIND, {"rejoin": True}, ["db1"]), (DIVERGED, {"rejoin_by": "rewind"}, []), (BEHIND, {"rejoin_by": "copy"}, [])):
        plan = planned(wanted(**peers, **options), there(found))
        assert [change.ref.name for change in plan if change.ref.kind == "Slot"] == expected


def test_a_host_that_is_a_standby_already_is_no_candidate() -> None:
    for seen, runs in (({"signal": True}, False), ({}, True), ({"has_data": False}, False)):
        assert not host_postgres_rejoin.is_candidate(there(None, **seen).cluster, runs)
    assert host_postgres_rejoin.is_candidate(there(None).cluster, False)
    assert host_postgres_rejoin.changes(wanted(rejoin_by="copy"), there(None, signal=True).cluster, None, PLACE) == []


def test_the_primary_gives_a_host_that_is_rewound_four_functions_and_takes_them_back() -> None:
    peers = [{"name": "db1", "address": "10.0.0.1", "rewinds": True}]
    during, after = (wish(peers=[{**one, "rewinds": now} for one in peers], replication_password=PASSWORD) for now in (True, False))
    assert [entry.line() for entry in during.entries] == [
        "hostssl replication replicator 10.0.0.1/32 scram-sha-256",
        "hostssl postgres replicator 10.0.0.1/32 scram-sha-256",
    ]
    assert [entry.database for entry in after.entries] == ["replication"]
    replicator = accounts.Account(("REPLICATION",), True, -1, "", ())
    (role,), (plain,) = during.roles, after.roles
    granted = [text for text in accounts.role_statements(role, replicator) if text.startswith("GRANT")]
    assert granted == [f'GRANT EXECUTE ON FUNCTION {", ".join(f"pg_catalog.{name}" for name in accounts.REWIND_FUNCTIONS)} TO "replicator"']
    assert [text.split()[0] for text in accounts.role_statements(plain, replicator._replace(functions=2))] == ["ALTER", "REVOKE"]
    told = [field for field, _before, _after in accounts.role_differences(plain, replicator._replace(functions=1))]
    assert "may read the server's files" in told


@pytest.mark.parametrize("timeline", ["1", "2"])
def test_what_a_primary_brings_to_its_files_is_told_the_same_whichever_checkpoint_has_just_ended(timeline: str) -> None:
    primary = wish(peers=[{"name": "db1", "address": "10.0.0.1", "rewinds": True}], replication_password=PASSWORD)
    running = live.Live("15", False, 0.0, {}, (), (), (), {}, {}, {}, (), "", 3)

    def told(on: str) -> list[tuple[Any, Any]]:
        seen = observed(**{**CRASHED, "control": {former.TIMELINE: on}})._replace(live=running)
        return [(change.before, change.after) for change in planned(primary, seen) if change.field == "timeline of the checkpoint"]

    assert (told(timeline), told("3")) == ([("an earlier one", "3")], [])
