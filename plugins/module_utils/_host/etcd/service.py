# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The member of this host as a service: its files, its process, what it has on the disk, and how it begins, restarts and joins."""

from __future__ import annotations

import datetime
import hashlib
import os
import re
import secrets
import shutil
import time
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, RolloutFailed
from ansible_collections.paas.hardening.plugins.module_utils._host import accounts, certificates, disk, files, program, units
from ansible_collections.paas.hardening.plugins.module_utils._host.command import ask
from ansible_collections.paas.hardening.plugins.module_utils._host.etcd import api, cluster, places
from ansible_collections.paas.hardening.plugins.module_utils._host.etcd.wishes import Peer, Wish

TRUST_MODE, SECRET_MODE = 0o644, 0o600
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_BUCKET = re.compile(r'^etcd_disk_wal_fsync_duration_seconds_bucket\{le="([^"]+)"\} (\S+)$', re.MULTILINE)
_VERSION = re.compile(r"etcd Version: (\S+)")
# Seconds: a restart, until a member serves, and until a learner has caught up.
_STOP, _SERVE, _CATCH_UP, _PAUSE = 120.0, 90.0, 300.0, 0.3
# Writes to the log of a member before its latency says anything.
_ENOUGH = 100


class Seen(NamedTuple):
    """What is on this host. ``latency`` is that of the member's log in seconds, None when it has not written enough; ``full`` is in percent."""

    missing: Tuple[str, ...]
    account: Optional[accounts.Account]
    binary: program.Seen
    version: str
    folders: Mapping[str, files.Folder]
    data: bool
    trust: files.Kept
    secret: files.Kept
    unit: files.Kept
    drop_ins: Tuple[str, ...]
    state: units.State
    packaged: units.State
    process: Optional[program.Process]
    unit_time: float
    upkeep: Mapping[str, files.Kept]
    timer: units.State
    latency: Optional[float]
    full: int
    names: Tuple[certificates.Seen, ...]

    def __repr__(self) -> str:
        return f"Seen(data={self.data}, process={self.process!r})"


def look(wish: Wish, more: Sequence[Tuple[str, str]] = ()) -> Seen:
    """Look at all of it but the cluster. ``more`` are programs that are needed beside, with their packages. Raises MissingDependency without systemd."""
    units.require("A member of etcd is a service of systemd.")
    shown = units.shown(places.UNIT, ("MainPID", "DropInPaths"))
    needed = [("openssl", "openssl"), *more, *([] if wish.program else [("etcd", places.PACKAGE)])]
    state = units.states((places.UNIT, places.PACKAGED_UNIT, places.UPKEEP_TIMER))
    kept = program.look(wish.path) if wish.program else program.Seen("", program.MODE)
    process = program.process_of(places.UNIT, int(shown.get("MainPID") or 0), wish.path)
    return Seen(
        tuple(package for name, package in needed if shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin") is None),
        accounts.look(places.ACCOUNT),
        kept,
        _version(wish.path),
        {path: files.look_at_folder(path) for path in (places.HOME, places.DATA)},
        has_data(),
        files.look(places.TRUST),
        files.look(places.SECRET),
        files.look(places.UNIT_FILE),
        units.drop_ins(shown.get("DropInPaths", "")),
        state[places.UNIT],
        state[places.PACKAGED_UNIT],
        process,
        _written(places.UNIT_FILE, places.TRUST),
        {path: _kept(path) for path in upkeep_files(wish, b"")},
        state[places.UPKEEP_TIMER],
        _latency() if process else None,
        _fullness(),
        tuple(certificates.look(client) for client in wish.clients),
    )


def _kept(path: str) -> files.Kept:
    """Look at a file; instead of what is in the program it has its digest."""
    kept = files.look(path)
    return kept if path != places.UPKEEP or kept.text is None else kept._replace(text=program.digest_of(path))


def has_data() -> bool:
    """Tell whether a member has data here."""
    return os.path.isdir(f"{places.DATA}/member/wal")


def _version(path: str) -> str:
    found = _VERSION.search(ask([path, "--version"]).output) if os.access(path, os.X_OK) else None
    return found.group(1) if found else ""


def _written(*paths: str) -> float:
    """Return when the newest of these was written, in seconds since 1970; 0 without any, or when that is not over by a clock that was set back."""
    newest = max((os.stat(path).st_mtime for path in paths if os.path.exists(path)), default=0.0)
    return newest if newest <= time.time() else 0.0


def _fullness() -> int:
    if not os.path.isdir(places.HOME):
        return 0
    used = shutil.disk_usage(places.HOME)
    return round(100 * used.used / max(used.used + used.free, 1))


def _latency() -> Optional[float]:
    answer = api.plainly("127.0.0.1", places.METRICS_PORT, "/metrics", 3.0)
    return percentile(answer[1].decode("utf-8", "replace")) if answer and answer[0] == 200 else None


def answers() -> bool:
    """Tell whether a member runs here and says something of itself, well or not."""
    return api.plainly("127.0.0.1", places.METRICS_PORT, "/health", 3.0) is not None


def well() -> bool:
    """Tell whether the member of this host has a quorum, be there room for writes or not."""
    answer = api.plainly("127.0.0.1", places.METRICS_PORT, "/health", 3.0)
    return answer is not None and (answer[0] == 200 or b"NOSPACE" in answer[1])


def percentile(metrics: str, part: float = 0.99) -> Optional[float]:
    """Return within how many seconds so many of the writes to the log were on the disk; None for too few to tell. Pure."""
    counts = [(float("inf") if bound == "+Inf" else float(bound), float(count)) for bound, count in _BUCKET.findall(metrics)]
    if not counts or counts[-1][1] < _ENOUGH:
        return None
    return next((bound for bound, count in counts if count >= part * counts[-1][1]), None)


# What it has to be. Pure.


def certificates_in(text: str) -> List[str]:
    """Return the certificates of a file, one by one."""
    return _PEM.findall(text)


def trust_wanted(authority: str, client_authority: str, peers: Sequence[Peer], kept: str) -> Tuple[str, bool]:
    """Return the text of the file of authorities, and whether it is known wholly.

    Of a host that is not in this play nothing is known: then what is there already stays. One that has no authority yet will have one.
    """
    wanted = {one for text in (authority, client_authority, *(peer.authority for peer in peers)) for one in certificates_in(text)}
    if any(not peer.present for peer in peers):
        wanted |= set(certificates_in(kept))
    return "".join(f"{one}\n" for one in sorted(wanted)), bool(authority) and all(peer.authority or not peer.present for peer in peers)


def stale(wish: Wish, seen: Seen) -> List[str]:
    """Return why the process that runs is not the one that is wanted; nothing when it is."""
    process = seen.process
    if process is None:
        return []
    found = [] if process.current else ["another program"]
    if list(process.words) != wish.command:
        found.append("another command line")
    if any(name.startswith("ETCD_") and not name.startswith("ETCD_INITIAL_") for name in process.environment):
        found.append("another environment")
    if seen.unit_time > process.since:
        found.append("an older unit, or other authorities")
    return found


def upkeep_files(wish: Wish, archive: bytes) -> Dict[str, Tuple[str, int]]:
    """Return the text of each file of the upkeep, and its mode; of the program its digest. Nothing when none is wanted."""
    if not wish.defragment:
        return {}
    way = wish.way
    options = f'{{"address": "{way.address}", "port": {way.client_port}, "certificate": "{wish.tls.certificate}", "key": "{wish.tls.key}"}}\n'
    return {
        places.UPKEEP: (hashlib.sha256(archive).hexdigest(), program.MODE),
        places.UPKEEP_OPTIONS: (options, 0o644),
        f"{units.FOLDER}/{places.UPKEEP_SERVICE}": (places.service_text("/usr/bin/python3"), units.MODE),
        f"{units.FOLDER}/{places.UPKEEP_TIMER}": (places.timer_text(wish.defragment), units.MODE),
    }


# Asking


def identity(wish: Wish) -> api.Identity:
    """Who this host is to members."""
    return api.Identity(wish.tls.certificate, wish.tls.key, places.TRUST)


def client(wish: Wish, address: str, seconds: float = 5.0) -> api.Client:
    """Whom to ask for the member with this address."""
    return api.Client(address, wish.way.client_port, identity(wish), seconds)


def finder(wish: Wish) -> cluster.Finder:
    """Return what finds whom to ask for the member that its peers reach at a URL."""

    def found(url: str) -> Optional[api.Client]:
        address = re.fullmatch(r"https://\[?([0-9A-Fa-f:.]+)\]?:\d+", url)
        return client(wish, address.group(1)) if address else None

    return found


def all_clients(wish: Wish) -> List[api.Client]:
    """Whom to ask, this host first."""
    return [client(wish, address) for address in (wish.way.address, *(peer.address for peer in wish.peers))]


def look_at_cluster(wish: Wish) -> Optional[cluster.Cluster]:
    """Look at the cluster, by whoever answers; None when nobody does."""
    return cluster.look(all_clients(wish), finder(wish), wish.password)


def speaker(wish: Wish, seen: cluster.Cluster, others: bool = False) -> api.Client:
    """Return whom to ask to change the cluster: a voter that is well, logged in as root. ``others``: not this host. Raises Failure."""
    for member in seen.voters:
        if seen.well(member) and not (others and wish.way.peer_url in member.urls):
            asked = finder(wish)(member.urls[0])
            if asked is not None:
                asked.log_in(wish.password or "-")
                return asked
    raise Failure("No voter of the cluster is well.", f"Look at the members: journalctl -u {places.UNIT}", places.UNIT)


# Doing


def begin_cluster(wish: Wish) -> None:
    """Begin a cluster of this member alone. Raises RolloutFailed."""
    _first(wish, "new", [(wish.way.name, wish.way.peer_url)], secrets.token_hex(8))
    start(wish)


def join(wish: Wish, seen: cluster.Cluster) -> None:
    """Join a cluster as a learner, and vote when all that there is has come. Raises Failure."""
    asked = speaker(wish, seen, others=True)
    cluster.add(asked, wish.way.peer_url)
    others = [(member.name, member.urls[0]) for member in cluster.members_of(asked) if member.name and member.urls and wish.way.peer_url not in member.urls]
    _first(wish, "existing", [*others, (wish.way.name, wish.way.peer_url)], "")
    start(wish, learner=True)
    promote(wish, seen)


def promote(wish: Wish, seen: cluster.Cluster) -> None:
    """Let this member vote, as soon as it has caught up. Raises RolloutFailed."""
    asked, deadline = speaker(wish, seen, others=True), time.monotonic() + _CATCH_UP
    mine = cluster.status_of(client(wish, wish.way.address))
    while not cluster.promote(asked, mine.number):
        if time.monotonic() > deadline:
            raise RolloutFailed("The member does not catch up with its cluster.", f"It stays a learner. Ask: journalctl -u {places.UNIT}", wish.way.name)
        time.sleep(_PAUSE)
    _await(wish, False)


def _first(wish: Wish, state: str, members: Sequence[Tuple[str, str]], token: str) -> None:
    listed = ",".join(f"{name}={url}" for name, url in members)
    text = f'ETCD_INITIAL_CLUSTER="{listed}"\nETCD_INITIAL_CLUSTER_STATE="{state}"\n'
    files.replace(places.FIRST, text + (f'ETCD_INITIAL_CLUSTER_TOKEN="{token}"\n' if token else ""), 0o644)


def start(wish: Wish, verb: str = "start", learner: bool = False, alone: bool = False) -> None:
    """Start the member, or restart it, and wait until it is well. Raises RolloutFailed with what its log says.

    ``learner``: it does not vote yet. ``alone``: no other member runs, so it cannot have a quorum until they do.
    """
    ended = units.begin(places.UNIT, verb, _STOP)
    if ended.status:
        raise RolloutFailed(f"The member does not start: {ended.complaint.strip()[-300:]}", f"Ask: journalctl -u {places.UNIT}", places.UNIT)
    _await(wish, learner, alone)
    if os.path.exists(places.FIRST):
        os.unlink(places.FIRST)
    program.forget_former()


def _await(wish: Wish, learner: bool, alone: bool = False) -> None:
    """Wait until the member serves, or, as a learner, answers; fail early when it ends again and again. Raises RolloutFailed."""
    since, unwell = time.monotonic(), "it does not answer"
    for _round in _rounds(since + _SERVE):
        try:
            told = client(wish, wish.way.address)
            if alone and answers():
                return
            if not learner:
                told.log_in(wish.password or "-")
            status = cluster.status_of(told)
            if status.serves or (learner and status.leader != "0"):
                return
            unwell = "it has no quorum"
        except Failure as failure:
            unwell = failure.message
        if int(units.shown(places.UNIT, ("NRestarts",)).get("NRestarts") or 0) >= 5:
            break
    raise RolloutFailed(f"The member is not well ({unwell}): {units.journal(places.UNIT, 3)}", f"Ask: journalctl -u {places.UNIT}", places.UNIT)


def _rounds(deadline: float) -> Iterator[int]:
    number = 0
    while time.monotonic() < deadline:
        yield number
        number += 1
        time.sleep(_PAUSE)


def set_aside() -> str:
    """Move the data of a membership that is over out of the way, and return where it is now."""
    units.stop(places.UNIT)
    where = f"{places.DATA}.former-{datetime.datetime.now(datetime.timezone.utc):%Y%m%dT%H%M%SZ}"
    os.rename(places.DATA, where)
    return where


def write_trust(text: str) -> None:
    """Write the authorities that members and clients are verified with."""
    os.makedirs(places.OURS, mode=0o755, exist_ok=True)
    files.replace(places.TRUST, text, TRUST_MODE, "root")


def write_upkeep(wish: Wish, archive: bytes, path: str) -> None:
    """Write one of the files of the upkeep."""
    text, mode = upkeep_files(wish, archive)[path]
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    if path == places.UPKEEP:
        files.replace_bytes(path, archive, mode, "root")
    else:
        files.replace(path, text, mode, "root")
    units.read_files()


def disk_of(wish: Wish) -> Optional[disk.Seen]:
    """Look at the disk of the data; None when none is wanted. Raises NotFound, Refused."""
    return disk.look(places.DISK, wish.disk)
