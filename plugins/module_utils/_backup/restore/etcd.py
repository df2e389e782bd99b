# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""etcd is restored into a new data folder of one member, under a revision that nobody has seen, and proved by an etcd on a copy of that very folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from typing import Any, Dict, List, Mapping, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import FOLDER_MODE, free_bytes, make_folder, remove_tree, told
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.content import Content
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.kind import FILE
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.programs import Programs, find
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.proof import Expected, compared, started
from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.snapshot import bump_for, read_snapshot, restore
from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import Manifest
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.place import Found, Place, changes_of, outcome_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore.restorer import Outcome
from ansible_collections.paas.hardening.plugins.module_utils._backup.signature import KeyRing
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, NotProven, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import PASS, Proof
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Change
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline

ARGUMENTS: Dict[str, Any] = {
    "data_folder": {"type": "path"},
    "programs": {"type": "path"},
    "member": {"type": "str"},
    "peer_url": {"type": "str"},
    "initial_cluster": {"type": "str"},
    "cluster_name": {"type": "str"},
}
# These keep more than etcd in it, and restore by a command of their own.
_DISTRIBUTIONS = ("/var/lib/rancher/",)
_BESIDE = 256 << 20
_MEMBER = ("member", "peer_url", "initial_cluster")


class EtcdRestore:
    """One member's data folder. ``folder`` is where the point has its snapshot."""

    name, swaps = "etcd", True

    def __init__(self, options: Mapping[str, Any], point: Manifest, folder: str, keys: KeyRing) -> None:
        target = options["data_folder"] or ""
        if not os.path.isabs(target) or os.path.normpath(target) == "/":
            raise Invalid(f"etcd.data_folder is {target!r}.", "Give the member's whole data folder, for example /var/lib/etcd.", "etcd.data_folder")
        target = os.path.normpath(target)
        if any(f"{os.path.realpath(target)}/".startswith(place) for place in _DISTRIBUTIONS):
            raise Refused(
                f"{target} belongs to a distribution that restores by itself.",
                "Restore there with: rke2 (or k3s) server --cluster-reset --cluster-reset-restore-path=SNAPSHOT",
                "etcd.data_folder",
            )
        self._point, self._snapshot, self._programs = point, os.path.join(folder, FILE), options["programs"]
        self._flags = _flags(options)
        self._place = Place(target, point.identifier, keys)
        self._found = Found(None, False, False, False, False, False, {})

    def look(self) -> None:
        self._found = self._place.look(_busy)

    def changes(self, swap: bool) -> List[Change]:
        return changes_of(self._place, self._found, "Restored etcd", "it is restored to a new place, and proved there", swap)

    def restore(self, change: Change, deadline: Deadline) -> None:
        place, about = self._place, self._point.kinds["etcd"]
        programs = find(self._programs, deadline)
        snapshot = read_snapshot(self._snapshot)
        needed = 2 * snapshot.size + 2 * _BESIDE
        if free_bytes(os.path.dirname(place.live)) < needed:
            raise Refused(f"{os.path.dirname(place.live)} has no {needed >> 20} MiB free.", "Make room there: the old data stay, too.", place.live)
        expected = Expected(Content(int(about["keys"]), str(about["content"])), int(about["revision"]), int(about["revision"]))
        # All that is not proved yet lies in one folder, whoever makes names in it.
        work = f"{place.fresh}.unproved"
        unproved, copy = os.path.join(work, "data"), os.path.join(work, "copy")
        with place.alone(), contextlib.ExitStack() as ends:
            place.clear(self._found)
            remove_tree(work)
            ends.callback(remove_tree, work)
            make_folder(work)
            begun = time.monotonic()
            restore(programs, snapshot.path, snapshot.sha256, unproved, bump_for(time.time() - self._point.instant), deadline, self._flags)
            proof, answered = _proved_on_a_copy(programs, unproved, copy, expected, deadline)
            if proof.verdict != PASS:
                raise NotProven(f"The restored etcd is not what the point holds: {proof}.", "Take an older point, and look at this disk.", place.fresh)
            _own_as(unproved, place.live)
            place.publish(unproved, proof, answered - begun)

    def swap(self, change: Change) -> None:
        self._place.swap(_busy)

    def outcome(self) -> Outcome:
        place, found = self._place, self._found
        todo = [
            "Restore the same point on every other member, with the same initial_cluster and cluster_name, before any of them starts."
            if any(flag.startswith("--initial-cluster=") and "," in flag for flag in self._flags)
            else "Start etcd, then the API servers.",
            "Restart controller-manager, scheduler, kubelets and operators: what they remember is of another time.",
        ]
        if not found.swapped:
            todo.insert(0, f"Stop every API server and etcd, then run again with state=swapped; or point etcd to {place.fresh}.")
        return outcome_of(place, found, todo)


def _flags(options: Mapping[str, Any]) -> List[str]:
    """Return whose folder it is to be, as etcdutl wants it. Raises Invalid when only a part of that is said."""
    given = [name for name in _MEMBER if options[name]]
    if given and len(given) < len(_MEMBER):
        raise Invalid(f"etcd.{', etcd.'.join(given)} alone do not say which member it is.", f"Give all of {', '.join(_MEMBER)}, or none.", "etcd.member")
    if not given:
        return []
    several = "," in options["initial_cluster"]
    if several and not options["cluster_name"]:
        raise Invalid(
            "etcd.cluster_name is missing.", "Give a new one, the same on each member: by it they know each other, and nobody else.", "etcd.cluster_name"
        )
    flags = [f"--name={options['member']}", f"--initial-cluster={options['initial_cluster']}", f"--initial-advertise-peer-urls={options['peer_url']}"]
    return [*flags, f"--initial-cluster-token={options['cluster_name']}"] if options["cluster_name"] else flags


def _proved_on_a_copy(programs: Programs, data: str, copy: str, expected: Expected, deadline: Deadline) -> Tuple[Proof, float]:
    """Start etcd on a copy of a restored folder, as a cluster of one, and compare; return the proof, and when it answered. The folder stays as it is."""
    os.mkdir(copy, FOLDER_MODE)
    with told("copied", data):
        shutil.copytree(data, os.path.join(copy, "data"))
    with started(programs, os.path.join(copy, "data"), copy, deadline, ["--force-new-cluster"]) as member:
        revision = member.agreed_revision(deadline)
        answered = time.monotonic()
        return compared(member, member.content(deadline), expected, revision, deadline), answered


def _own_as(folder: str, live: str) -> None:
    """Give a restored folder to whom the one in use belongs, with its mode; without one it stays root's alone."""
    try:
        about = os.stat(live)
    except FileNotFoundError:
        return
    with told("given to its owner", folder):
        for here, folders, files in os.walk(folder):
            for name in (*folders, *files):
                os.chown(os.path.join(here, name), about.st_uid, about.st_gid, follow_symlinks=False)
        os.chown(folder, about.st_uid, about.st_gid)
        os.chmod(folder, about.st_mode & 0o700)


def _busy(folder: str) -> str:
    """Say whether an etcd works in a data folder, in whatever container: it holds a lock on its database."""
    path = os.path.join(folder, "member", "snap", "db")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{path} cannot be looked at: {error.strerror}"
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "an etcd runs on it"
    finally:
        os.close(descriptor)
    return ""
