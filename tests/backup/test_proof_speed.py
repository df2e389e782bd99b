"""A point takes hardly longer than the engines run by hand, by somebody who proves what he took: restored, and compared with what is there.

Both do their work on the same data in every round, in turn.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.fetch import Bucket
from ansible_collections.paas.hardening.plugins.module_utils._backup.buckets.kind import proved
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.kind import Etcd as EtcdKind
from ansible_collections.paas.hardening.plugins.module_utils._backup.volumes.kind import Volumes
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import find
from lab import builds, processes
from tests.backup.by_hand import compared, told
from tests.backup.member import Etcd, free_ports
from tests.proof import Measured
from tests.stores.servers import Minio, ObjectServer

BUCKET, PARALLEL = "speed", "8"
Share = Callable[[int, int], int]


@pytest.fixture(scope="module", autouse=True)
def built(report: Callable[[str], None]) -> None:
    builds.ensure(["minio", "etcd", "etcdctl", "etcdutl", "restic"], report)


@contextmanager
def scratch(folder: Path) -> Iterator[str]:
    place = folder / "scratch"
    place.mkdir()
    yield str(place)
    shutil.rmtree(place)


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory. An ext4 without a journal, as this may run on, makes new files some times slower for a minute after others were removed."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.mark.timeout(3600)
def test_buckets(memory: Path, share: Share, measured: Measured) -> None:
    """By hand: rclone copy, and rclone check --download, which reads both sides."""
    count, large = share(500, 20_000), share(1, 8)
    with Minio(memory / "store").running() as server:
        server.bucket(BUCKET)
        chance, files = random.Random(1), memory / "files"
        for number in range(count):
            path = files / f"{number % 97:02}" / f"{number:06}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(chance.randbytes(chance.randrange(4096)))
        for number in range(large):
            (files / f"large{number}").write_bytes(chance.randbytes(32 << 20))
        rclone(server, "copy", str(files), f"store:{BUCKET}", "--transfers=16")

        def ours(place: Path) -> None:
            for name in ("bucket", "scratch"):
                (place / name).mkdir()
            Bucket(find(), server.store(), BUCKET, str(place / "bucket"), str(place / "scratch"), "", Deadline(3000), settled_seconds=0.0).run()
            assert proved(str(place / "bucket"))[0] == count + large

        def by_hand(place: Path) -> None:
            words = (f"--transfers={PARALLEL}", f"--checkers={PARALLEL}")
            rclone(server, "copy", f"store:{BUCKET}", str(place), *words)
            rclone(server, "check", "--download", f"store:{BUCKET}", str(place), *words)

        times = compared(memory, ours, by_hand, share(1, 5))
    measured(told("buckets", times, f"{count} small objects and {large} of 32 MiB, in memory", share))


def rclone(server: ObjectServer, *words: str) -> None:
    environment = {"PATH": os.defpath, "HOME": "/nonexistent", **server.store().environment("store")}
    subprocess.run([find().path, "--config=", *words], env=environment, check=True, capture_output=True)


@pytest.mark.timeout(3600)
def test_volumes(tmp_path: Path, share: Share, measured: Measured) -> None:
    """By hand: restic backup and restore, and for both sides a list of every name with all that belongs to it, and of every sum."""
    count, chance, source, restic = share(1000, 20_000), random.Random(2), tmp_path / "exports", str(builds.binary("restic"))
    for number in range(count):
        path = source / f"{number % 97:02}" / f"{number:06}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.randrange(30_000)))

    def ours(place: Path) -> None:
        options = {"folders": [str(source)], "changing": [], "databases": [], "restic": restic, "timeout": 3000}
        kept = place / "kept"
        kept.mkdir()
        assert Volumes(options, lambda _host, _folders: "").take(str(kept), lambda: scratch(place)).proof.verdict == "pass"

    def by_hand(place: Path) -> None:
        repository, target = place / "kept", place / "restored"
        flags = [restic, "--insecure-no-password", "--no-cache", "--quiet", f"--repo={repository}"]
        for words in (["init"], ["backup", "--one-file-system", source], ["restore", f"latest:{source}", f"--target={target}", "--sparse"]):
            subprocess.run([*flags, *words], check=True, capture_output=True)
        sums = [_sums(folder) for folder in (source, target)]
        assert sums[0] == sums[1]

    measured(told("volumes", compared(tmp_path, ours, by_hand, share(1, 5)), f"{count} files", share))


def _sums(folder: Path) -> bytes:
    """What a person compares: every name with its mode, owner, time and link, and the SHA-256 of every file."""
    script = "find . -printf '%P|%y|%m|%U|%G|%T@|%l|%n\\n' | sort; find . -type f -print0 | sort -z | xargs -0 sha256sum"
    found = subprocess.run(["sh", "-c", script], cwd=folder, check=True, capture_output=True).stdout
    # The folder itself is new.
    return b"\n".join(line for line in found.splitlines() if not line.startswith(b"|d|"))


@pytest.mark.timeout(3600)
def test_etcd(tmp_path: Path, share: Share, measured: Measured) -> None:
    """By hand: etcdctl snapshot save, etcdutl snapshot status and restore, etcd started on that, and every key of both read."""
    with Etcd(tmp_path / "member").running() as member:
        for part in range(share(2, 25)):
            member.fill(1000, 4000, f"/registry/part{part:02}/")

        def ours(place: Path) -> None:
            kept = place / "kept"
            kept.mkdir()
            assert EtcdKind(member.options()).take(str(kept), lambda: scratch(place)).proof.verdict == "pass"

        def by_hand(place: Path) -> None:
            snapshot, data = place / "snapshot.db", place / "data"
            member.ctl("snapshot", "save", str(snapshot))
            etcdutl = [member.programs / "etcdutl", "snapshot"]
            subprocess.run([*etcdutl, "status", snapshot], check=True, capture_output=True)
            words = [f"--data-dir={data}", "--bump-revision=1000000000", "--mark-compacted"]
            subprocess.run([*etcdutl, "restore", snapshot, *words], check=True, capture_output=True)
            with ExitStack() as stack:
                sums = [_keys(member, []), _keys(member, [f"--endpoints={stack.enter_context(started(member, data))}"])]
            assert sums[0] == sums[1]

        times = compared(tmp_path, ours, by_hand, share(1, 5))
    measured(told("etcd", times, f"{share(2, 25) * 1000} keys of 4 KB", share))


@contextmanager
def started(member: Etcd, data: Path) -> Iterator[str]:
    """A plain etcd on a restored folder."""
    client, peer = (f"http://127.0.0.1:{port}" for port in free_ports(2))
    words = [f"--data-dir={data}", f"--listen-client-urls={client}", f"--advertise-client-urls={client}", f"--listen-peer-urls={peer}", "--log-level=error"]
    command = ["setpriv", "--pdeathsig", "KILL", str(member.programs / "etcd"), *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            etcdctl = [member.programs / "etcdctl", f"--endpoints={client}", "endpoint", "health"]
            assert processes.wait_until(lambda: subprocess.run(etcdctl, capture_output=True, check=False).returncode == 0, 60, pause=0.05)
            yield client
        finally:
            process.kill()


def _keys(member: Etcd, flags: list[str]) -> str:
    """Every key and value, as a person reads them."""
    if flags:
        done = subprocess.run([member.programs / "etcdctl", *flags, "get", "", "--from-key"], check=True, capture_output=True, text=True)
        return done.stdout
    return member.ctl("get", "", "--from-key").stdout
