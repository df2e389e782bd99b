"""A restored folder and the one in use, with real folders: every state a run can leave, and what is refused."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.restore import etcd, postgres
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.custody import _files_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.objects import RESTING, resting
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.place import Place, identity, require_confirmation
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Conflict, Invalid, NotProven, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import PASS, Check, Proof
from tests.unit.backup.points import ring

PROOF = Proof((Check("keys", "1", "1", PASS),))
POINT = "00000003-0a0a0a0a"


def nobody(folder: str) -> str:
    return ""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/old").write_text("old")
    return Place(str(tmp_path / "data"), POINT, ring())


def restored(place: Place) -> None:
    folder = Path(f"{place.fresh}.unproved")
    folder.mkdir()
    (folder / "new").write_text("new")
    place.publish(str(folder), PROOF, 1.5)


def test_a_restore_is_proved_once_and_swapped_by_renames_that_keep_the_old_one(place: Place) -> None:
    found = place.look(nobody)
    assert (found.fresh, found.remains, found.live, found.kept, found.swapped, found.record) == (False, False, True, False, False, None)
    restored(place)
    found = place.look(nobody)
    assert (found.fresh, found.swapped) == (True, False)
    assert found.record is not None
    assert (found.record.proof(), found.record.seconds) == (PROOF, 1.5)
    place.swap(nobody)
    found = place.look(nobody)
    assert (found.fresh, found.swapped, found.kept) == (False, True, True)
    assert os.listdir(place.live) == ["new"]
    assert os.listdir(place.kept) == ["old"]


def test_where_nothing_was_nothing_is_kept(place: Place) -> None:
    shutil.rmtree(place.live)
    restored(place)
    place.swap(nobody)
    found = place.look(nobody)
    assert (found.swapped, found.kept) == (True, False)


def test_a_swap_that_was_killed_between_its_renames_goes_on(place: Place) -> None:
    restored(place)
    os.rename(place.live, place.kept)
    found = place.look(nobody)
    assert (found.fresh, found.live, found.kept, found.swapped) == (True, False, True, False)
    place.swap(nobody)
    assert place.look(nobody).swapped
    assert os.listdir(place.kept) == ["old"]


def test_a_folder_without_a_record_proves_nothing(place: Place) -> None:
    """Killed between the two names, put there by hand, signed by a stranger, or of another point."""
    os.mkdir(place.fresh)
    found = place.look(nobody)
    assert (found.fresh, found.remains) == (False, True)
    place.clear(found)
    assert not os.path.exists(place.fresh)
    restored(place)
    shutil.copytree(place.fresh, f"{place.fresh}.copy")
    shutil.rmtree(place.fresh)
    os.rename(f"{place.fresh}.copy", place.fresh)
    assert place.look(nobody).remains
    restored_by = Place(place.live, POINT, ring())
    shutil.rmtree(place.fresh)
    restored(restored_by)
    assert place.look(nobody).record is None
    assert restored_by.look(nobody).fresh
    other = Place(place.live, "00000004-0b0b0b0b", restored_by.keys)
    shutil.copy(f"{restored_by.fresh}.proof", f"{other.fresh}.proof")
    assert other.look(nobody).record is None


def test_what_was_in_use_before_is_never_overwritten(place: Place) -> None:
    restored(place)
    os.mkdir(place.kept)
    with pytest.raises(Refused, match="is there already"):
        place.swap(nobody)
    assert os.listdir(place.live) == ["old"]


def test_nothing_that_is_in_use_is_touched(place: Place) -> None:
    restored(place)
    with pytest.raises(Refused, match="in use: somebody"):
        place.swap(lambda folder: "somebody")
    os.unlink(f"{place.fresh}.proof")
    with pytest.raises(Refused, match="never proved"):
        place.clear(place.look(lambda folder: "somebody" if folder == place.fresh else ""))
    assert os.listdir(place.live) == ["old"]
    assert os.listdir(place.fresh) == ["new"]


def test_what_no_rename_can_swap_is_refused(place: Place, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(place.live)
    with pytest.raises(Refused, match="is a link"):
        Place(str(tmp_path / "link"), POINT, place.keys).look(nobody)
    with pytest.raises(Refused, match="file system of its own"):
        Place("/proc", POINT, place.keys).look(nobody)
    with pytest.raises(Invalid, match="is not there"):
        Place(str(tmp_path / "no/data"), POINT, place.keys).look(nobody)


def test_one_restore_at_a_time(place: Place, tmp_path: Path) -> None:
    restored(place)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with pytest.raises(Conflict):
            place.swap(nobody)
    finally:
        os.close(descriptor)
    place.swap(nobody)


@pytest.mark.parametrize("given", ["", "yes", "true", "some-other-host"])
def test_a_swap_takes_the_name_of_this_very_host(given: str) -> None:
    with pytest.raises(Refused, match=identity()):
        require_confirmation(given, "it")
    require_confirmation(identity(), "it")


def test_an_etcd_at_work_is_seen_by_its_lock(tmp_path: Path) -> None:
    assert etcd._busy(str(tmp_path)) == ""
    (tmp_path / "member/snap").mkdir(parents=True)
    (tmp_path / "member/snap/db").write_bytes(b"x")
    assert etcd._busy(str(tmp_path)) == ""
    with (tmp_path / "member/snap/db").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert etcd._busy(str(tmp_path)) == "an etcd runs on it"


def flags(**changed: str) -> list[str]:
    return etcd._flags({name: changed.get(name) for name in etcd.ARGUMENTS})


def test_a_member_is_named_whole_or_not_at_all() -> None:
    one = {"member": "a", "peer_url": "https://a:2380", "initial_cluster": "a=https://a:2380"}
    assert flags() == []
    assert flags(**one) == ["--name=a", "--initial-cluster=a=https://a:2380", "--initial-advertise-peer-urls=https://a:2380"]
    with pytest.raises(Invalid, match="do not say which member"):
        flags(member="a")
    several = {**one, "initial_cluster": "a=https://a:2380,b=https://b:2380"}
    with pytest.raises(Invalid, match="cluster_name is missing"):
        flags(**several)
    assert flags(**several, cluster_name="anew")[-1] == "--initial-cluster-token=anew"


def test_names_out_of_a_point_never_leave_their_folder() -> None:
    whole = {"secrets": [{"metadata": {"namespace": "deis", "name": "a"}, "data": {}}], "files": [{"path": "/etc/keys", "content": "aGk="}]}
    assert _files_of(whole)["files/etc/keys"] == b"hi"
    for secret in ({"namespace": "..", "name": "a"}, {"namespace": "a", "name": "../../x"}, {"namespace": "a/b", "name": "x"}):
        with pytest.raises(NotProven):
            _files_of({**whole, "secrets": [{"metadata": secret}]})
    for path in ("/etc/../srv/x", "etc/x", "/", "//etc"):
        with pytest.raises(NotProven):
            _files_of({**whole, "files": [{"path": path, "content": ""}]})


def test_a_password_is_read_from_a_file_of_ours_alone(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.touch(0o600)
    file.write_text("se cret\n")
    assert postgres._password(str(file)) == "se cret"
    file.chmod(0o640)
    with pytest.raises(Invalid, match="open to other users"):
        postgres._password(str(file))
    with pytest.raises(Invalid, match="cannot be read"):
        postgres._password(str(tmp_path / "none"))


def test_a_workload_comes_back_at_rest_and_knows_what_it_was() -> None:
    def made(kind: str, **spec: object) -> dict[str, Any]:
        return resting({"kind": kind, "metadata": {"name": "x", "annotations": {"a": "b"}}, "spec": dict(spec)})

    assert made("Deployment", replicas=3)["spec"] == {"replicas": 0}
    assert made("Deployment", replicas=3)["metadata"]["annotations"] == {"a": "b", RESTING: "3"}
    assert made("StatefulSet")["metadata"]["annotations"][RESTING] == "1"
    assert made("Deployment", replicas=0)["metadata"]["annotations"][RESTING] == "0"
    assert (made("CronJob")["spec"], made("CronJob")["metadata"]["annotations"][RESTING]) == ({"suspend": True}, "false")
    assert made("CronJob", suspend=True)["metadata"]["annotations"][RESTING] == "true"
    assert made("ConfigMap") == {"kind": "ConfigMap", "metadata": {"name": "x", "annotations": {"a": "b"}}, "spec": {}}
