"""Real files of every kind: an inventory says all that a restore has to bring back, and one difference of any sort is seen."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.volumes.walk import (
    changed,
    differences,
    entries,
    names,
    order,
    read_inventory,
    stamps,
    write_inventory,
)
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotProven

DAY = 86400 * 10**9


def nothing(_entry: object) -> bool:
    return False


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """Something of everything that a file system has."""
    folder = tmp_path / "zoo"
    (folder / "a").mkdir(parents=True)
    (folder / "a.b").write_text("between a and what is in it")
    (folder / "a/inner").write_text("inner")
    (folder / "plain").write_text("plain")
    os.link(folder / "plain", folder / "a/second name")
    (folder / "setuid").write_text("x")
    os.chown(folder / "setuid", 4711, 4712)
    (folder / "setuid").chmod(0o4751)
    (folder / "link").symlink_to("nowhere/at all")
    os.mkfifo(folder / "fifo", 0o620)
    (folder / os.fsdecode(b"no\xfftext\n")).write_text("odd")
    with (folder / "sparse").open("wb") as file:
        file.truncate(8 << 20)
        file.seek(5 << 20)
        file.write(b"in the middle")
    os.setxattr(folder / "plain", "user.told", b"\x00\xff")
    os.utime(folder / "plain", ns=(DAY, DAY + 1))
    (folder / "empty").mkdir(mode=0o1770)
    return folder


def test_the_order_is_one(zoo: Path) -> None:
    found = [path for path, _about in names(str(zoo))]
    assert found == sorted(found, key=order)
    assert found[:4] == [".", "a", "a/inner", "a/second name"]


def test_a_copy_that_keeps_all_has_no_difference(zoo: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-a", "--sparse=always", zoo, tmp_path / "copy"], check=True)
    path = tmp_path / "inventory"
    count, size, digest = write_inventory(str(zoo), str(path), nothing)
    assert (count, size > 8 << 20) == (12, True)
    assert list(differences(read_inventory(str(path)), entries(str(tmp_path / "copy")), nothing)) == []
    assert write_inventory(str(zoo), str(tmp_path / "again"), nothing) == (count, size, digest)


def unlinked(folder: Path) -> None:
    (folder / "a/second name").unlink()
    shutil.copy2(folder / "plain", folder / "a/second name")


def filled(folder: Path) -> None:
    about = (folder / "sparse").stat()
    content = (folder / "sparse").read_bytes()
    (folder / "sparse").write_bytes(content)
    os.utime(folder / "sparse", ns=(about.st_atime_ns, about.st_mtime_ns))


def same_size(folder: Path) -> None:
    about = (folder / "plain").stat()
    (folder / "plain").write_text("PLAIN")
    os.utime(folder / "plain", ns=(about.st_atime_ns, about.st_mtime_ns))


# What a restore may get wrong, and the field that tells.
DEFECTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "another content of the same size and time": (same_size, "digest"),
    "another mode": (lambda folder: (folder / "a/inner").chmod(0o600), "mode"),
    "a lost setuid bit": (lambda folder: (folder / "setuid").chmod(0o751), "mode"),
    "another owner": (lambda folder: os.chown(folder / "setuid", 0, 4712), "user"),
    "another group": (lambda folder: os.chown(folder / "a", -1, 4712), "owners"),
    "another owner of a link": (lambda folder: os.chown(folder / "link", 1, 1, follow_symlinks=False), "user"),
    "another time by a nanosecond": (lambda folder: os.utime(folder / "plain", ns=(DAY, DAY + 2)), "modified"),
    "another time of a folder": (lambda folder: os.utime(folder / "empty", ns=(DAY, DAY)), "modified"),
    "another mode of the whole": (lambda folder: folder.chmod(0o700), "mode"),
    "a lost attribute": (lambda folder: os.removexattr(folder / "plain", "user.told"), "attributes"),
    "another attribute": (lambda folder: os.setxattr(folder / "plain", "user.told", b"\x00\xfe"), "attributes"),
    "a link elsewhere": (lambda folder: ((folder / "link").unlink(), (folder / "link").symlink_to("elsewhere")), "target"),
    "two files for one": (unlinked, "group"),
    "a hole that was filled": (filled, "bytes on the disk"),
    "a missing file": (lambda folder: (folder / "a/inner").unlink(), "entry"),
    "a missing folder": (lambda folder: (folder / "empty").rmdir(), "entry"),
    "one too many": (lambda folder: (folder / "a/zzz").touch(), "entry"),
    "a file for a fifo": (lambda folder: ((folder / "fifo").unlink(), (folder / "fifo").touch()), "kind"),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_one_difference_is_seen(zoo: Path, tmp_path: Path, name: str) -> None:
    change, field = DEFECTS[name]
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", "--sparse=always", zoo, copy], check=True)
    change(copy)
    found = list(differences(entries(str(zoo)), entries(str(copy)), nothing))
    assert field in {entry.field for entry in found}, found
    assert str(found[0])


def test_what_moves_meanwhile_is_named_and_nothing_else(zoo: Path) -> None:
    before = list(stamps(str(zoo)))
    assert list(changed(iter(before), stamps(str(zoo)))) == []
    same_size(zoo)
    (zoo / "new").touch()
    (zoo / "a/inner").unlink()
    found = list(changed(iter(before), stamps(str(zoo))))
    assert found == [".", "a", "a/inner", "a/second name", "new", "plain"]


def test_a_torn_inventory_is_refused(zoo: Path, tmp_path: Path) -> None:
    path = tmp_path / "inventory"
    write_inventory(str(zoo), str(path), nothing)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(NotProven, match="is torn"):
        list(read_inventory(str(path)))


def test_sockets_and_devices_have_a_kind(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        os.mknod(tmp_path / "null", 0o20600, os.makedev(1, 3))
        assert [(entry.kind, entry.target) for entry in entries(str(tmp_path))][1:] == [("device", "character 1:3"), ("socket", "")]
