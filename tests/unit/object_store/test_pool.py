"""A store over several hosts: what cannot be one, what its members are told, and in which step what is done."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_object_store_plan import Observed, Planner, apart_from_others
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Change
from ansible_collections.paas.hardening.plugins.module_utils._host import files
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server import pool
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.backends import outlives_a_host, parity
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.wishes import GROUND, MEMBER, POOL, Wish
from tests.unit.object_store.test_plan import bare, fields, good
from tests.unit.object_store.test_wishes import bucket, identity, wish

ADDRESSES = ("10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5")
BLOCKS = [f"-----BEGIN CERTIFICATE-----\n{number}\n-----END CERTIFICATE-----" for number in range(4)]


def members(count: int = 4, known: int = 4) -> list[dict[str, str]]:
    return [{"name": f"s{number}", "address": ADDRESSES[number], "authority": f"{BLOCKS[number]}\n" if number < known else ""} for number in range(count)]


def part(step: str, known: int = 4, **more: Any) -> Wish:
    given = {"data_disks": ["/dev/vdb"], "buckets": [bucket("one")], "identities": [identity("app", "one")], "members": members(known=known), **more}
    return wish(step=step, **given)


WELL = pool.Seen("", ())
TRUST = files.Kept(pool.trust_text([one["authority"] for one in members()], ""), 0o644, "root")


def there(wanted: Wish, **more: Any) -> Observed:
    return good(wanted)._replace(pool=WELL, trust=TRUST, trust_time=900.0, **more)


def planned(observed: Observed, wanted: Wish) -> list[Change]:
    return list(Planner(wanted).plan(observed).changes)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "two hosts": ({"members": members(2)}, "members"),
    "one that is not among them": ({"address": "10.0.0.9"}, "members"),
    "one twice": ({"members": [*members(), members(1)[0]]}, "members"),
    "a system's disk": ({"data_disks": []}, "data_disks"),
    "too many drives": ({"data_disks": [f"/dev/vd{letter}" for letter in "bcdef"]}, "data_disks"),
    "another server": ({"backend": "versity"}, "backend"),
    "no step": ({"step": "all"}, "step"),
    "no members": ({"members": []}, "step"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_can_be_no_pool_is_refused(case: str) -> None:
    given, option = REFUSED[case]
    with pytest.raises(Invalid) as caught:
        wish(**{"step": GROUND, "data_disks": ["/dev/vdb"], "members": members(), **given})
    assert caught.value.subject == option
    assert caught.value.hint


@pytest.mark.parametrize(
    ("hosts", "disks", "lives"), [(2, 1, False), (3, 1, True), (4, 1, True), (3, 2, True), (3, 4, True), (3, 5, False), (4, 4, True), (2, 4, False)]
)
def test_a_pool_has_to_be_written_without_any_one_host(hosts: int, disks: int, lives: bool) -> None:
    assert outlives_a_host(hosts, disks) is lives
    assert [parity(drives) for drives in (1, 2, 3, 4, 5, 6, 7, 8, 16)] == [0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_every_member_is_told_the_same_drives_in_the_same_order() -> None:
    for address in ADDRESSES:
        made = part(MEMBER, address=address, data_disks=["/dev/vdb", "/dev/vdc"])
        words = made.backend.command(made.places)
        assert words[3] == f"--address={address}:9000"
        assert words[5:] == [f"https://{other}:9000/srv/objects/disk{disk}" for other in ADDRESSES for disk in (1, 2)]
    assert made.places.drives == 8
    assert made.program.path == wish().program.path


def test_members_trust_each_other_and_keep_whom_they_know_while_one_is_away() -> None:
    everybody = pool.trust_text([f"{block}\n" for block in BLOCKS], "")
    assert everybody == "".join(f"{block}\n" for block in BLOCKS)
    assert pool.trust_text([BLOCKS[0], BLOCKS[1], BLOCKS[2], ""], everybody) == everybody
    assert pool.trust_text([BLOCKS[0], ""], BLOCKS[3]) == f"{BLOCKS[3]}\n{BLOCKS[0]}\n"
    assert pool.trust_text(BLOCKS[:2], everybody) == "".join(f"{block}\n" for block in BLOCKS[:2])


def test_each_step_does_its_part_and_together_they_do_what_a_host_alone_does() -> None:
    kinds = {step: list(dict.fromkeys(change.ref.kind for change in planned(bare(part(step)), part(step)))) for step in (GROUND, MEMBER, POOL)}
    assert kinds == {
        GROUND: ["Program", "Account", "Disk", "Mount", "File", "Authority", "Certificate", "Link"],
        MEMBER: ["Trust", "Environment", "File", "Unit"],
        POOL: ["Bucket", "Identity"],
    }
    assert planned(bare(part(POOL, lead=False)), part(POOL, lead=False)) == []
    for step in (GROUND, MEMBER, POOL):
        assert planned(there(part(step)), part(step)) == []


def running(wanted: Wish, **more: Any) -> Observed:
    found = there(wanted)
    assert found.service.process is not None
    return found._replace(service=found.service._replace(process=found.service.process._replace(**more)))


def test_what_members_compare_is_changed_on_all_at_once_and_on_one_in_its_turn() -> None:
    other = {"environment": {"MINIO_ROOT_USER": "somebody"}}
    assert apart_from_others(part(MEMBER), running(part(MEMBER), **other)) == ["another environment"]
    assert fields(planned(running(part(MEMBER), **other), part(MEMBER, together=True))) == ["Unit restarted"]
    assert planned(running(part(POOL), **other), part(POOL, together=True)) == []
    assert planned(running(part(MEMBER), **other), part(MEMBER)) == []
    assert fields(planned(running(part(POOL), **other), part(POOL))) == ["Unit restarted"]
    assert planned(running(part(MEMBER), **other), part(MEMBER, together=True, restart="never")) == []


def test_an_older_unit_is_only_ever_changed_in_turn() -> None:
    late = {"since": 800.0}
    assert planned(running(part(MEMBER), **late), part(MEMBER, together=True)) == []
    (change,) = planned(running(part(POOL), **late), part(POOL))
    assert (change.field, change.before) == ("restarted", "runs with an older unit, older authorities")


def test_one_that_is_not_well_yet_gets_no_signal_and_is_told() -> None:
    wanted = part(POOL)
    planner = Planner(wanted)
    ill = there(wanted)._replace(pool=pool.Seen("/minio/health/cluster: HTTP 503", ()), served=False, live=None)
    assert list(planner.plan(ill).changes) == []
    assert [remark.text for remark in planner.remarks] == ["The pool cannot be used: /minio/health/cluster: HTTP 503."]
    assert fields(planned(there(wanted)._replace(served=False), wanted)) == ["Unit reloaded"]
    planner.plan(there(wanted)._replace(pool=pool.Seen("", ("The member s3:9000 is offline.",))))
    assert planner.remarks[-1].text == "The member s3:9000 is offline."


def drive(folder: Path, sets: list[list[str]], store: str) -> str:
    (folder / ".minio.sys").mkdir(parents=True)
    (folder / ".minio.sys/format.json").write_text(json.dumps({"version": "1", "format": "xl", "id": store, "xl": {"this": sets[0][0], "sets": sets}}))
    return str(folder)


def test_the_number_of_drives_is_read_where_the_server_wrote_it_and_never_changes(tmp_path: Path) -> None:
    store, sets = secrets.token_hex(8), [["a", "b", "c", "d"]]
    (tmp_path / "empty").mkdir()
    found = pool.formats([drive(tmp_path / "one", sets, store), str(tmp_path / "empty"), str(tmp_path / "absent")])
    assert found == (pool.Format(str(tmp_path / "one"), store, 4),)
    pool.require_same(found, 4)
    for drives in (3, 5, 8, 1):
        with pytest.raises(Refused, match="belongs to a store of 4 drives"):
            pool.require_same(found, drives)
    with pytest.raises(Refused, match="different stores"):
        pool.require_same(pool.formats([str(tmp_path / "one"), drive(tmp_path / "two", sets, "other")]), 4)
    (tmp_path / "two/.minio.sys/format.json").write_text("{}")
    with pytest.raises(Refused, match=r"format\.json"):
        pool.formats([str(tmp_path / "two")])
