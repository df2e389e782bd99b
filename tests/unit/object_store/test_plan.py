"""What is planned for a host in each state: no more than it needs, in an order that works, and a restart only for a process that is not the wanted one."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_object_store_plan import Live, Observed, Planner
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Change
from ansible_collections.paas.hardening.plugins.module_utils._host import accounts, certificates, disk, files, program
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server import buckets, plain, policies, service, xfs
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.identities import Accounts, Directory, Iam
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.wishes import Wish
from tests.unit.object_store.test_wishes import SECRET, bucket, identity, wish

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
NO_FILE = files.Kept(None, 0, "")
NO_TLS = certificates.Seen(None, None, None, None, (), False, False, NO_FILE, NO_FILE)
KEY = files.Kept("", 0o600, "object-store")
GOOD_TLS = certificates.Seen(
    "PEM", NOW + datetime.timedelta(300), "PEM", NOW + datetime.timedelta(300), ("s3", "10.0.0.2"), True, True, KEY, KEY._replace(owner="root")
)
WISH = wish(data_disks=["/dev/vdb"], buckets=[bucket("one")], identities=[identity("app", "one")])
RIGHTS = policies.document_of(policies.rights_of(["one"], policies.WRITE))
DIRECTORY = Iam({"app": {"secretKey": SECRET, "status": "enabled"}}, {"paas-hardening-app": RIGHTS}, {"app": {"policy": "paas-hardening-app"}}, {}, {}, {})


def storage(wanted: Wish, **more: Any) -> tuple[disk.Seen, ...]:
    place = wanted.disks[0][0]
    empty = disk.Seen(place, "/dev/vdb", {}, 1 << 30, False, "/dev/vdb", None, False, False, False)
    return (empty._replace(**more),)


def bare(wanted: Wish) -> Observed:
    links = dict.fromkeys(service.links_of(wanted), "")
    folders = dict.fromkeys(service.folders_of(wanted), files.Folder(False, 0, ""))
    seen = service.Seen((), None, program.Seen("", 0), NO_FILE, NO_FILE, (), links, folders, False, None, False)
    return Observed(seen, storage(wanted), xfs.Seen((), NO_FILE, NO_FILE, False), NO_TLS, False, None, (), 0.0, NOW)


def good(wanted: Wish, directory: Directory = DIRECTORY) -> Observed:
    process = program.Process(7, tuple(wanted.backend.command(wanted.places)), {"PATH": "/bin", **wanted.variables}, True, 1000.0)
    folders = {path: files.Folder(True, mode, "object-store") for path, mode in service.folders_of(wanted).items()}
    seen = service.Seen(
        (),
        accounts.Account(999, "/usr/sbin/nologin"),
        program.Seen(wanted.program.digest, 0o755),
        files.Kept(service.environment_text(wanted.variables), 0o600, "root"),
        files.Kept(service.unit_text(wanted), 0o644, "root"),
        (),
        service.links_of(wanted),
        folders,
        True,
        process,
        True,
    )
    unit = f"What=/dev/vdb\nWhere={wanted.disks[0][0].where}\n"
    disks = storage(wanted, holds={"TYPE": "xfs", "LABEL": "objects-1"}, mounted=True, unit=unit, enabled=True)
    script, kept = files.Kept(xfs.script_text(), 0o755, "root"), files.Kept(xfs.unit_text(wanted.places.volumes), 0o644, "root")
    one = {"one": buckets.Seen("Enabled", False, None, frozenset())}
    return Observed(seen, disks, xfs.Seen((), script, kept, True), GOOD_TLS, True, Live(one, (), directory, ""), (), 900.0, NOW)


def planned(observed: Observed, wanted: Wish = WISH) -> list[Change]:
    return list(Planner(wanted).plan(observed).changes)


def fields(changes: list[Change]) -> list[str]:
    return [f"{change.ref.kind} {change.field}" for change in changes]


def test_a_bare_host_gets_everything_in_an_order_that_works() -> None:
    changes = planned(bare(WISH))
    kinds = list(dict.fromkeys(change.ref.kind for change in changes))
    assert kinds == [
        *("Program", "Account", "Disk", "Mount", "File", "Authority", "Certificate", "Link", "Environment", "Unit", "Bucket", "Identity"),
    ]
    assert fields(changes)[-6:] == ["Bucket bucket", "Bucket versioning", "Identity identity", "Identity secret key", "Identity policy", "Identity rights"]
    told = str([change.as_data() for change in changes])
    assert SECRET not in told
    assert SECRET[::-1] not in told


def test_on_the_other_backend_the_policy_of_the_bucket_comes_after_the_identity() -> None:
    wanted = wish(backend="versity", data_disks=["/dev/vdb"], buckets=[bucket("one")], identities=[identity("app", "one")])
    kinds = list(dict.fromkeys(change.ref.kind for change in planned(bare(wanted), wanted)))
    assert kinds[-4:] == ["Unit", "Bucket", "Identity", "Bucket policy"]
    assert planned(good(wanted, Accounts({"app": {"Secret": SECRET, "Role": "user"}})), wanted)[0].ref.kind == "Bucket policy"


def test_where_all_is_well_nothing_is_planned() -> None:
    assert planned(good(WISH)) == []


def test_a_server_that_does_not_answer_is_asked_for_nothing() -> None:
    there = good(WISH)._replace(live=None)
    assert there.silent
    assert planned(there) == []
    assert not bare(WISH).silent
    assert bare(WISH)._replace(disks=storage(WISH, holds={"TYPE": "xfs", "LABEL": "objects-1"})).silent


STALE: dict[str, tuple[dict[str, Any], str]] = {
    "another program": ({"current": False}, "another program"),
    "another command line": ({"words": ("/bin/minio",)}, "another command line"),
    "another secret": ({"environment": {**WISH.variables, "MINIO_ROOT_PASSWORD": "minioadmin"}}, "another environment"),
    "a further variable that it obeys": ({"environment": {**WISH.variables, "MINIO_KMS_SECRET_KEY": "x"}}, "another environment"),
    "begun before its unit was written": ({"since": 800.0}, "an older unit"),
}


@pytest.mark.parametrize("case", list(STALE))
def test_a_process_that_is_not_the_wanted_one_is_restarted_if_that_is_allowed(case: str) -> None:
    change, words = STALE[case]
    there = good(WISH)
    process = there.service.process
    assert process is not None
    there = there._replace(service=there.service._replace(process=process._replace(**change)))
    assert [(entry.field, entry.before) for entry in planned(there)] == [("restarted", f"runs with {words}")]
    never = Planner(WISH._replace(may_restart=False))
    assert list(never.plan(there).changes) == []
    assert words in never.remarks[0].text


def test_a_file_that_is_wrong_while_the_process_is_right_needs_no_restart() -> None:
    there = good(WISH)
    text = service.environment_text({**WISH.variables, "MINIO_BROWSER": "on"})
    there = there._replace(service=there.service._replace(environment=files.Kept(text, 0o644, "nobody")))
    assert fields(planned(there)) == ["Environment MINIO_BROWSER", "Environment mode", "Environment owner"]


def test_a_new_certificate_needs_no_restart() -> None:
    there = good(WISH)._replace(tls=GOOD_TLS._replace(ends=NOW))
    assert fields(planned(there)) == ["Certificate valid until", "Unit reloaded"]
    assert fields(planned(good(WISH)._replace(served=False))) == ["Unit reloaded"]


def test_errors_of_disks_are_set_where_that_can_be_and_told_where_not() -> None:
    one = xfs.Disk("/srv/objects/disk1", {"EIO": "-1", "ENOSPC": "0", "default": "-1"}, True)
    there = good(WISH)
    assert fields(planned(there._replace(xfs=there.xfs._replace(disks=(one,))))) == ["XFS retries after EIO", "XFS retries after default"]
    planner = Planner(WISH)
    assert list(planner.plan(there._replace(xfs=there.xfs._replace(disks=(one._replace(settable=False),)))).changes) == []
    assert "cannot be set here" in planner.remarks[0].text


def test_what_is_left_to_a_person_is_named() -> None:
    there = good(WISH)
    assert there.live is not None
    wanted = wish(data_disks=["/dev/vdb"], buckets=[bucket("one", object_lock=True)], identities=[identity("app", "one")])
    planner = Planner(wanted)
    stranger = Iam(
        {"app": {"secretKey": SECRET, "status": "enabled"}, "boss": {}}, {"paas-hardening-app": RIGHTS}, {"app": {"policy": "paas-hardening-app"}}, {}, {}, {}
    )
    live = there.live._replace(public=("forgotten",), illness="/minio/health/cluster: HTTP 503", directory=stranger)
    planner.plan(there._replace(live=live, full=(("/srv/objects/disk1", 71),), service=there.service._replace(drop_ins=("/etc/x.conf",))))
    assert [remark.text for remark in planner.remarks] == [
        "/etc/x.conf overrides our unit.",
        "The store says that it is not well: /minio/health/cluster: HTTP 503.",
        "The bucket one was made without object lock.",
        "The bucket forgotten is not declared, and lets everybody in.",
        "There is an identity boss, with no policy.",
        "/srv/objects/disk1 is full by 71 %.",
    ]


def door(wanted: Wish, **more: Any) -> plain.Seen:
    texts = (files.Kept(plain.configuration_text(wanted), 0o644, "root"), files.Kept(plain.unit_text(wanted), 0o644, "root"))
    return plain.Seen(*texts, (), True, True, True)._replace(**more)


def test_a_door_without_tls_is_opened_kept_told_and_shut_again() -> None:
    wanted = WISH._replace(plain_port=9001)
    planner = Planner(wanted)
    opened = list(planner.plan(good(WISH)).changes)
    assert fields(opened) == [f"Plain door {field}" for field in ("configuration", "unit", "at boot", "running")]
    assert [remark.text for remark in planner.remarks] == ["Port 9001 of 10.0.0.2 takes requests without TLS: what is sent there can be read."]
    kept = good(WISH)._replace(plain=door(wanted))
    assert planned(kept, wanted) == []
    assert fields(planned(kept)) == ["Plain door door"]
    assert fields(planned(kept._replace(plain=door(wanted, fresh=False)), wanted)) == ["Plain door restarted"]
    renewed = kept._replace(tls=GOOD_TLS._replace(authority_ends=NOW))
    assert "Plain door restarted" in fields(planned(renewed, wanted))
