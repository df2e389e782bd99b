"""Folders of a real host (Debian 13, its own restic): kept, proved entry by entry, kept again by links, drilled, restored beside what is in use, and swapped.

The tests tell one story, in this order.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests import labs
from tests.contract.playbook import Run, run_playbook
from tests.perf import figures
from tests.proof import Measured

if TYPE_CHECKING:
    from lab.hosts.fleet import Fleet
    from lab.hosts.host import Host

REPOSITORY, KEY, EXPORTS = "/var/backups/paas", "/etc/paas/key", "/srv/nfs"
# Something of everything that a file system has: access lists, capabilities, holes, names that are no text, one file with two names, times of long ago.
ZOO = r"""set -e
mkdir -p /srv/nfs/claim-1/deep/er /srv/nfs/claim-2/logs && cd /srv/nfs/claim-1
head -c 3000000 /dev/urandom > big; cp big deep/same; ln big deep/er/second
for n in $(seq 1 300); do echo "file $n" > deep/er/$n; done
echo acl > acl; setfacl -m u:4711:rwx,m::rwx acl; setfacl -d -m g:4712:rx deep
echo cap > cap; setcap cap_net_raw+ep cap; setfattr -n user.told -v 0x00ff acl
echo setuid > setuid; chown 4711:4712 setuid; chmod 6755 setuid
truncate -s 300M sparse; printf middle | dd of=sparse bs=1 seek=200000000 conv=notrunc status=none
ln -s /nowhere dangling; mkfifo fifo; mknod null c 1 3; touch -d @1 old; touch "$(printf 'no\377text')" 'two
lines' ' blank '
chmod 1777 deep/er; chown 65534:65534 /srv/nfs/claim-1; chmod 2770 /srv/nfs/claim-1; chattr +d big 2>/dev/null || true
python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('/srv/nfs/claim-1/socket')"
touch .nfs0000 ; echo claim > /srv/nfs/claim-2/data; touch -d @123456789.987654321 /srv/nfs/claim-2
"""


@dataclass
class Files:
    """A host with folders, and plays on it."""

    fleet: Fleet
    folder: Path

    @property
    def host(self) -> Host:
        return self.fleet.host("files")

    def play(self, module: str, *arguments: str, **options: Any) -> Run:
        """Run a module there as an ordinary task."""
        given = {"repository": REPOSITORY, "signing_key_file": KEY, **options}
        play = self.folder / "play.yml"
        play.write_text(yaml.safe_dump([{"hosts": "files", "gather_facts": False, "tasks": [{"name": "Do", f"paas.hardening.{module}": given}]}]))
        more = {"ANSIBLE_REMOTE_TEMP": "~/.ansible/tmp", "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp")}
        return run_playbook(self.folder, play, "-i", str(self.fleet.inventory), *arguments, more=more)

    def keep(self, *arguments: str, max_age: str = "1s", **volumes: Any) -> Run:
        return self.play("workflow_backup", *arguments, kinds=["volumes"], max_age=max_age, volumes={"folders": [EXPORTS], **volumes})

    def restore(self, *arguments: str, **options: Any) -> Run:
        return self.play("workflow_restore", *arguments, **{"kinds": ["volumes"], **options})

    def seen(self, folder: str) -> str:
        """A folder by the word of others: modes, owners, times, links, blocks, attributes, access lists, capabilities and contents."""
        words = (
            "find . -not -name '.nfs*' -not -type s -printf '%P|%y|%m|%U|%G|%T@|%l|%n\\n' | sort | sha256sum",
            "find . -type f -not -name '.nfs*' -print0 | sort -z | xargs -0 sha256sum | sha256sum",
            "find . -not -type s -not -name '.nfs*' -print0 | sort -z | xargs -0 getfacl -p -n 2>/dev/null | sha256sum",
            "find . -not -type s -not -name '.nfs*' -print0 | sort -z | xargs -0 getfattr -d -m - -e hex -h 2>/dev/null | sha256sum",
            "getcap -r . | sort | sha256sum",
        )
        return self.host.run(f"cd '{folder}' && " + " && ".join(words))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, report: Callable[[str], None]) -> Iterator[Files]:
    with labs.hosts(["files:trixie"], report=report, purpose="fl") as fleet:
        made = Files(fleet, tmp_path_factory.mktemp("files"))
        made.host.run("apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y restic acl attr libcap2-bin", seconds=300)
        made.host.run(f"umask 077; mkdir -p /etc/paas /var/backups; cat > {KEY}", stdin=secrets.token_hex(32) + "\n")
        made.host.run(ZOO)
        yield made


def result(run: Run) -> Mapping[str, Any]:
    return run.ok().result("Do")


def test_folders_are_kept_and_proved_once(files: Files, measured: Measured) -> None:
    predicted = result(files.keep("--check"))
    assert files.host.run(f"ls {REPOSITORY} 2>/dev/null || true") == ""
    begun = time.monotonic()
    done = result(files.keep())
    measured(figures.told("volumes kept and proved", time.monotonic() - begun, "s", str(done["point"]["proofs"]["volumes"]["steps"])))
    assert done["plan"] == predicted["plan"]
    assert done["proof"]["verdict"] == "pass"
    (kept,) = done["point"]["kinds"]["volumes"]["folders"].values()
    assert kept["entries"] > 300
    assert kept["moving"] == 0
    again = result(files.keep(max_age="1h"))
    assert (again["changed"], again["plan"]) == (False, [])


def test_the_next_point_takes_over_by_links_what_has_not_changed(files: Files, measured: Measured) -> None:
    before = int(files.host.run(f"du -sk {REPOSITORY}").split()[0])
    files.host.run(f"echo more > {EXPORTS}/claim-2/more; rm {EXPORTS}/claim-1/deep/er/7")
    done = result(files.keep())
    (kept,) = done["point"]["kinds"]["volumes"]["folders"].values()
    after = int(files.host.run(f"du -sk {REPOSITORY}").split()[0])
    note = f"a point of {done['point']['size'] >> 10} KiB, restic added {kept['added_bytes']} bytes"
    measured(figures.at_most("the second point of volumes adds", after - before, "KiB", 1500, note))
    # The first point is whole by itself, and both are what they were.
    assert result(files.play("workflow_backup_info", verify="all"))["problems"] == []
    files.host.run(f"rm -r {REPOSITORY}/points/00000001-*")
    assert result(files.play("workflow_restore_drill"))["proof"]["verdict"] == "pass"


def test_writers_at_work_and_databases_are_refused(files: Files) -> None:
    files.host.run(f"systemd-run --quiet --unit=writer sh -c 'while sleep 0.05; do date +%N >> {EXPORTS}/claim-2/logs/log; done'")
    refused = files.keep().result("Do")
    assert (refused["failure"]["reason"], "claim-2/logs/log" in refused["msg"]) == ("Refused", True), refused
    done = result(files.keep(changing=["claim-2/logs/*"]))
    assert next(iter(done["point"]["kinds"]["volumes"]["folders"].values()))["moving"] >= 1
    files.host.run("systemctl stop writer")
    files.host.run(f"mkdir {EXPORTS}/claim-3; touch {EXPORTS}/claim-3/PG_VERSION")
    refused = files.keep().result("Do")
    assert "is of a database" in refused["msg"]
    files.host.run(f"rm -r {EXPORTS}/claim-3")


def test_a_flipped_bit_is_red(files: Files) -> None:
    done = result(files.keep())
    name = done["point"]["identifier"]
    pack = files.host.run(f"find {REPOSITORY}/points/{name}/volumes/restic/data -type f -size +1000k | head -1").strip()
    flip = "import sys; f = open(sys.argv[1], 'r+b'); f.seek(500000); b = f.read(1); f.seek(500000); f.write(bytes([b[0] ^ 1]))"
    files.host.run(f"python3 - {pack}", stdin=flip)
    assert files.play("workflow_restore_drill").result("Do")["failure"]["reason"] == "NotProven"
    assert files.restore().result("Do")["failure"]["reason"] == "NotProven"
    files.host.run(f"python3 - {pack}", stdin=flip)
    assert files.host.run(f"ls -d {EXPORTS}.* 2>/dev/null || true") == ""


def test_folders_come_back_beside_what_is_in_use_and_take_its_place_by_name(files: Files, measured: Measured) -> None:
    before = files.seen(EXPORTS)
    files.host.run(f"rm -r {EXPORTS}/claim-1/deep; echo lost > {EXPORTS}/claim-2/data")
    lost = files.seen(EXPORTS)
    predicted = result(files.restore("--check"))
    done = result(files.restore())
    assert (done["plan"], done["proof"]["verdict"]) == (predicted["plan"], "pass")
    (place,) = done["restored"]["volumes"]["places"]
    assert files.seen(place) == before
    assert files.seen(EXPORTS) == lost
    allocated = int(files.host.run(f"stat -c %b {place}/claim-1/sparse"))
    measured(
        figures.told("volumes restored", done["rto_seconds"]["volumes"], "s"), figures.at_most("a restored hole of 300 MiB takes", allocated / 2, "KiB", 2048)
    )
    assert result(files.restore())["changed"] is False

    swap = {"state": "swapped", "confirm": "files"}
    assert files.restore(state="swapped", confirm="other").result("Do")["failure"]["reason"] == "Refused"
    files.host.run(f"systemd-run --quiet --unit=user --working-directory={EXPORTS}/claim-2 sleep 600")
    refused = files.restore(**swap).result("Do")
    assert (refused["failure"]["reason"], "stands in it" in refused["msg"]) == ("Refused", True)
    files.host.run("systemctl stop user")
    done = result(files.restore(**swap))
    assert done["restored"]["volumes"]["swapped"] is True
    assert files.seen(EXPORTS) == before
    assert files.seen(done["restored"]["volumes"]["kept"]) == lost
    assert result(files.restore(**swap))["changed"] is False


def test_a_host_that_is_killed_while_it_restores_begins_anew(files: Files) -> None:
    done = result(files.keep())
    wanted = {"volumes": {"folders": {EXPORTS: "/srv/again"}}}
    name = done["point"]["identifier"]
    files.host.run(f"mkdir -p /srv/again.restored-{name}.unproved/half /srv/again.restored-{name}; touch /srv/again.restored-{name}/torn")
    assert result(files.restore("--check", **wanted))["plan"][0]["before"] == "remains of a restore that was interrupted"
    assert result(files.restore(**wanted))["proof"]["verdict"] == "pass"
    assert files.seen(f"/srv/again.restored-{name}") == files.seen(EXPORTS)
    assert files.host.run(f"ls -d /srv/again.restored-{name}.unproved 2>/dev/null || true") == ""
