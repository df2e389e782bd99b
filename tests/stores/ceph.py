"""Ceph's RADOS gateway, the S3 server of another maker again: one monitor, one OSD and one gateway from Debian's packages, on loopback.

They run in a root folder of their own (Debian 12, Ceph 16.2), which nothing installs on this machine.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.paas.hardening.plugins.module_utils._host.stores.store import Store
from lab import layers, processes
from lab.image.lab import s3
from tests.stores.providers import READY_SECONDS, Provider, installed
from tests.stores.servers import free_port

_RELEASE = "bookworm"
_PACKAGES = ("ceph-mon", "ceph-osd", "ceph-common", "radosgw")
# where the folder of the server is seen inside
_INSIDE = Path("/srv")
# The root folder is for all to read: what is mounted into it is seen by this process only, and gone with it.
_ENTER = 'mount --bind "$1" "$2/srv"; mount --rbind /dev "$2/dev"; mount --bind /proc "$2/proc"; root=$2; shift 2; exec chroot "$root" "$@"'
_SIDES = ("cluster", "service", "client")
# On loopback they trust each other, and without secrets nothing can be encrypted.
_TRUSTING = "".join(f"auth {side} required = none\nms {side} mode = crc\nms mon {side} mode = crc\n" for side in _SIDES)


class Ceph(Provider):
    """A cluster with a single copy of everything: what is tested is the gateway and what it promises, not Ceph's durability."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._monitor_port = free_port()
        self._keys: Mapping[str, str] = {}

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.root = installed(f"ceph-{_RELEASE}", _make_root) / "root"
        identity, disk = str(uuid.uuid4()), str(uuid.uuid4())
        (self.folder / "ceph.conf").write_text(self._configuration(identity))
        for name in ("monitor", "osd", "run"):
            (self.folder / name).mkdir()
        address = f"[v2:127.0.0.1:{self._monitor_port}]"
        self._tell("monmaptool", "--create", "--fsid", identity, "--addv", "a", address, _INSIDE / "monmap")
        self._tell("ceph-mon", "--mkfs", "-i", "a", "--monmap", _INSIDE / "monmap")
        self._serve("ceph-mon", "-f", "-i", "a")
        self._tell("ceph", "--connect-timeout", str(int(READY_SECONDS)), "osd", "new", disk)
        self._tell("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk)
        self._serve("ceph-osd", "-f", "-i", "0")
        self._serve("radosgw", "-f", "-n", "client.gateway", f"--rgw-frontends=beast endpoint=127.0.0.1:{self.port}")
        self._wait(self.endpoint)
        # It makes the keys itself, so that they stand on no command line.
        told = json.loads(self._tell("radosgw-admin", "user", "create", "--uid=mover", "--display-name=mover"))
        self._keys = told["keys"][0]

    def _configuration(self, identity: str) -> str:
        return (
            f"[global]\nfsid = {identity}\nmon host = [v2:127.0.0.1:{self._monitor_port}]\nmon initial members = a\n{_TRUSTING}"
            f"public addr = 127.0.0.1\ncluster addr = 127.0.0.1\nms bind ipv6 = false\nsetuser match path =\nrun dir = {_INSIDE}/run\nlog file =\n"
            f"log to stderr = true\nmon data = {_INSIDE}/monitor\nosd data = {_INSIDE}/osd\nadmin socket = {_INSIDE}/run/$name.asok\n"
            "mon allow pool size one = true\nosd pool default size = 1\nosd pool default min size = 1\nosd pool default pg num = 4\n"
            "osd crush chooseleaf type = 0\nosd objectstore = bluestore\nbluestore block size = 4294967296\nbluestore block wal create = false\n"
            "osd memory target = 939524096\n"
        )

    def _inside(self, *words: str | Path) -> list[str]:
        enter = ["unshare", "--mount", "sh", "-ec", _ENTER, "sh", str(self.folder), str(self.root)]
        return [*enter, str(words[0]), "--conf", f"{_INSIDE}/ceph.conf", *map(str, words[1:])]

    def _tell(self, *words: str | Path) -> str:
        return processes.run(self._inside(*words), env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"})

    def _serve(self, *words: str | Path) -> None:
        self._spawn(*self._inside(*words))

    def store(self, wrong: bool = False) -> Store:
        secret = self._keys["secret_key"][::-1] if wrong else self._keys["secret_key"]
        return Store("s3", endpoint=self.endpoint, access_key=self._keys["access_key"], secret_key=secret)

    def contents(self, bucket: str) -> dict[str, bytes]:
        client = s3.Store(self.endpoint, self._keys["access_key"], self._keys["secret_key"])
        return {entry.key: client.send("GET", f"/{bucket}/{entry.key}").body for entry in client.entries(bucket)}


def _make_root(folder: Path) -> None:
    options = ["--mode=root", "--variant=minbase", "--components=main", "--format=directory", '--aptopt=APT::Install-Recommends "false"']
    options += ["--dpkgopt=force-unsafe-io", *layers.proxies(), f"--include={','.join(_PACKAGES)}", '--customize-hook=mkdir -p "$1/srv" "$1/dev" "$1/proc"']
    (folder / "work").mkdir()
    environment = {**os.environ, "TMPDIR": str(folder / "work"), "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    (folder / "work").chmod(0o755)
    processes.run(["mmdebstrap", *options, _RELEASE, str(folder / "root"), *layers.mirrors(_RELEASE)], env=environment)
