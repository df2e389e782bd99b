"""Only what is whole, signed, proved and at home in a repository is listed; the rest is named with its reason."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.catalogue import Catalogue
from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import Manifest
from ansible_collections.paas.hardening.plugins.module_utils._backup.signature import KeyRing, SigningKey
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Conflict, Forbidden, NotProven, Refused, TimedOut, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from tests.unit.backup.points import fill, make, manifest, publish, ring

Damage = Callable[[Path], object]


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def resign(point: Path, body: bytes) -> None:
    """Sign a manifest with another key."""
    (point / "manifest").write_bytes(SigningKey(b"x" * 32).sign(body))


def link_away(path: Path) -> None:
    """Put the file elsewhere, and a link in its place."""
    elsewhere = path.parent.parent.parent / "work" / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


DAMAGES: dict[str, tuple[Damage, str]] = {
    "manifest torn": (lambda point: (point / "manifest").write_bytes((point / "manifest").read_bytes()[:300]), "not what the key"),
    "manifest empty": (lambda point: (point / "manifest").write_bytes(b""), "no signature"),
    "manifest changed": (lambda point: flip(point / "manifest", 400), "not what the key"),
    "signature changed": (lambda point: flip(point / "manifest", 60), "not what the key|no signature"),
    "manifest gone": (lambda point: (point / "manifest").unlink(), "cannot be read"),
    "manifest a link": (lambda point: link_away(point / "manifest"), "cannot be read"),
    "signed by a stranger": (lambda point: resign(point, (point / "manifest").read_bytes().split(b"\n", 1)[1]), "not among the keys"),
    "file gone": (lambda point: (point / "etcd/file0").unlink(), "is missing"),
    "file cut": (lambda point: os.truncate(point / "etcd/file0", 999), "another size"),
    "file grown": (lambda point: os.truncate(point / "etcd/file0", 1001), "another size"),
    "file added": (lambda point: (point / "etcd/more").write_bytes(b""), "does not belong"),
    "file a link": (lambda point: ((point / "etcd/file1").unlink(), (point / "etcd/file1").symlink_to("/dev/null")), "neither a file"),
    "renamed": (lambda point: point.rename(point.parent / "00000009-00000000"), "is the point"),
    "misnamed": (lambda point: point.rename(point.parent / "latest"), "no name of a point"),
    "a file": (lambda point: (shutil.rmtree(point), point.write_bytes(b"")), "cannot be read"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_point_is_not_listed_but_named(tmp_path: Path, name: str) -> None:
    catalogue = make(tmp_path / "repository", 3)
    damage, reason = DAMAGES[name]
    whole = catalogue.read()
    assert len(whole.points) == 3
    assert not whole.damaged
    damage(tmp_path / "repository/points" / whole.points[-1].identifier)
    listing = catalogue.read()
    assert [point.identifier for point in listing.points] == [point.identifier for point in whole.points[:2]]
    (found,) = listing.damaged
    assert re.search(reason, found.reason), found.reason


@pytest.mark.parametrize("place", [0, 500, 999])
def test_changed_byte_is_found_by_reading(tmp_path: Path, place: int) -> None:
    catalogue = make(tmp_path / "repository")
    (point,) = catalogue.read().points
    catalogue.verify(point)
    flip(tmp_path / "repository/points" / point.identifier / "etcd/file0", place)
    with pytest.raises(NotProven, match="SHA-256 differs"):
        catalogue.verify(point)


def test_point_of_another_repository_is_refused(tmp_path: Path) -> None:
    keys = ring()
    mine, other = make(tmp_path / "mine", 1, keys), make(tmp_path / "other", 1, keys)
    (point,) = other.read().points
    shutil.copytree(tmp_path / "other/points" / point.identifier, tmp_path / "mine/points" / point.identifier)
    (tmp_path / "mine/points" / point.identifier).chmod(0o700)
    listing = mine.read()
    assert [found.name for found in listing.damaged] == [point.identifier]
    assert point.identifier not in [listed.identifier for listed in listing.points]


def test_older_key_is_still_believed(tmp_path: Path) -> None:
    old = ring()
    make(tmp_path / "repository", 1, old)
    new = ring()
    assert len(Catalogue(str(tmp_path / "repository"), KeyRing(new.current, (old.current,))).read().points) == 1
    with pytest.raises(NotProven, match="not among the keys"):
        Catalogue(str(tmp_path / "repository"), new).read()


def test_what_is_not_proved_or_changed_meanwhile_is_not_published(tmp_path: Path) -> None:
    catalogue = make(tmp_path / "repository")
    with catalogue.writing(Deadline(1)) as writer:
        for proof in ({"verdict": "fail"}, {"verdict": "unknown"}, {}):
            with writer.stage() as stage:
                fill(stage)
                told = manifest(stage, catalogue.read().identity, proof=proof)
                with pytest.raises(NotProven, match="not proved"):
                    writer.publish(stage, told)
        with writer.stage() as stage:
            fill(stage)
            told = manifest(stage, catalogue.read().identity)
            os.truncate(Path(stage.folder) / "etcd/file0", 5)
            with pytest.raises(NotProven, match="changed while"):
                writer.publish(stage, told)
    assert len(catalogue.read().points) == 1
    assert os.listdir(tmp_path / "repository/work") == []


def test_signed_point_without_a_proof_is_not_listed(tmp_path: Path) -> None:
    catalogue = make(tmp_path / "repository")
    for proofs in ({}, {"etcd": {"verdict": "fail"}}, {"etcd": {}}, {"postgres": {"verdict": "pass"}}):
        with catalogue.writing(Deadline(1)) as writer, writer.stage() as stage:
            fill(stage)
            told = manifest(stage, catalogue.read().identity, proofs=proofs)
            (Path(stage.folder) / "manifest").write_bytes(catalogue.keys.current.sign(told.as_body()))
            os.rename(stage.folder, tmp_path / "repository/points" / stage.identifier)
    listing = catalogue.read()
    assert len(listing.points) == 1
    assert ["was never proved" in found.reason for found in listing.damaged] == [True] * 4


def test_numbers_only_grow_and_the_same_one_twice_counts_for_nothing(tmp_path: Path) -> None:
    catalogue = make(tmp_path / "repository", 2)
    first, second = catalogue.read().points
    assert (first.sequence, second.sequence) == (1, 2)
    with catalogue.writing(Deadline(1)) as writer, writer.stage() as stage:
        fill(stage)
        twin = manifest(stage, catalogue.read().identity, identifier="00000002-00000000")
        (Path(stage.folder) / "manifest").write_bytes(catalogue.keys.current.sign(twin.as_body()))
        os.rename(stage.folder, tmp_path / "repository/points/00000002-00000000")
    listing = catalogue.read()
    assert [point.identifier for point in listing.points] == [first.identifier]
    assert len(listing.damaged) == 2


def test_point_without_its_parent_is_not_listed(tmp_path: Path) -> None:
    catalogue = make(tmp_path / "repository", 1)
    (base,) = catalogue.read().points
    with catalogue.writing(Deadline(1)) as writer:
        child = publish(writer, catalogue, 5000.0, parents=(base.identifier,))
        grandchild = publish(writer, catalogue, 6000.0, parents=(child.identifier,))
        assert len(catalogue.read().points) == 3
        writer.remove(base)
        with pytest.raises(Conflict):
            writer.remove(base)
    listing = catalogue.read()
    assert listing.points == ()
    assert sorted(found.name for found in listing.damaged) == sorted([child.identifier, grandchild.identifier])


def test_manifest_survives_as_it_was(tmp_path: Path) -> None:
    catalogue = make(tmp_path / "repository")
    (point,) = catalogue.read().points
    assert isinstance(point, Manifest)
    assert point.kinds["etcd"]["revision"] == 1000
    assert [file.path for file in point.files] == ["etcd/file0", "etcd/file1"]
    assert point.size == 1000


def test_second_writer_is_locked_out_until_the_first_ends(tmp_path: Path) -> None:
    catalogue = make(tmp_path / "repository")
    program = (
        "import sys, time\n"
        "from ansible_collections.paas.hardening.plugins.module_utils._backup.catalogue import Catalogue\n"
        "from ansible_collections.paas.hardening.plugins.module_utils._backup.signature import KeyRing, SigningKey\n"
        "from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline\n"
        "key = SigningKey(bytes.fromhex(sys.stdin.readline().strip()))\n"
        "with Catalogue(sys.argv[1], KeyRing(key)).writing(Deadline(5)) as writer, writer.stage() as stage:\n"
        "    print('in', flush=True)\n"
        "    time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, str(tmp_path / "repository")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdin.write(catalogue.keys.current.secret.hex() + "\n")
        other.stdin.flush()
        assert other.stdout.readline() == "in\n"
        # What the other one is busy with is not left behind, and not listed.
        assert catalogue.read().leftovers == ()
        assert len(catalogue.read().points) == 1
        with pytest.raises(TimedOut, match=f"process {other.pid} "), catalogue.writing(Deadline(0.3)):
            pass
        threading.Timer(0.5, other.kill).start()
        began = time.monotonic()
        with catalogue.writing(Deadline(10)) as writer:
            assert time.monotonic() - began > 0.3
            # The lock ended with its owner, and what it left is gone.
            assert os.listdir(tmp_path / "repository/work") == []
            publish(writer, catalogue, 9000.0)
    assert len(catalogue.read().points) == 2


def test_leftovers_are_seen_and_cleared_without_following_links(tmp_path: Path) -> None:
    catalogue = make(tmp_path / "repository")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("kept")
    work = tmp_path / "repository/work"
    (work / "point-00000002-aaaaaaaa").mkdir()
    (work / "point-00000002-aaaaaaaa/inner").symlink_to(outside)
    (work / "link").symlink_to(outside)
    (work / "file").write_text("")
    assert len(catalogue.read().leftovers) == 3
    with catalogue.writing(Deadline(1)):
        pass
    assert catalogue.read().leftovers == ()
    assert (outside / "precious").read_text() == "kept"


def test_folder_must_be_ours_alone(tmp_path: Path) -> None:
    catalogue = make(tmp_path / "repository")
    (tmp_path / "repository").chmod(0o750)
    with pytest.raises(Refused, match="not ours alone"):
        catalogue.read()
    (tmp_path / "repository").chmod(0o700)
    (tmp_path / "repository/thesis.txt").write_text("")
    with pytest.raises(Refused, match=r"thesis\.txt"):
        catalogue.read()
    (tmp_path / "repository/thesis.txt").unlink()
    (tmp_path / "repository/repository").unlink()
    with pytest.raises(NotProven, match="nothing says which repository"), catalogue.writing(Deadline(1)):
        pass


def test_no_folder_above_is_told(tmp_path: Path) -> None:
    catalogue = Catalogue(str(tmp_path / "missing/repository"), ring())
    assert catalogue.read().points == ()
    with pytest.raises(Unavailable, match="No such file"), catalogue.writing(Deadline(1)):
        pass


def test_error_of_the_system_is_told_by_its_cause() -> None:
    with pytest.raises((Forbidden, Unavailable), match=r"/proc/nothing cannot be made: .+"), Catalogue("/proc/nothing", ring()).writing(Deadline(1)):
        pass
