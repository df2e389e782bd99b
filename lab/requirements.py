"""What the machine must have: root, and a few Debian packages."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

from lab import processes
from lab.errors import LabError
from lab.progress import Report

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# package: the file or program by which it is known to be there
PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "containernetworking-plugins": "/usr/lib/cni/bridge",
    "nftables": "nft",
    "conntrack": "conntrack",
    "iproute2": "ip",
    "util-linux": "unshare",
    "mmdebstrap": "mmdebstrap",
    "gcc": "gcc",
    "libc6-dev": "/usr/include/stdlib.h",
    "openssl": "openssl",
    "age": "age",
    "postgresql-client": "pg_dump",
    "systemd-container": "systemd-nspawn",
    "openssh-client": "ssh",
}
_DAEMONS = ("containerd",)
# How many the systemd of a host and its services hold; the kernel counts those of all of root's processes together.
_WATCHERS_OF_A_HOST = 7
_WATCHERS = Path("/proc/sys/fs/inotify/max_user_instances")
# Hides a running systemd from the packages' scripts, so that they install and start nothing; only the command sees it so.
_QUIETLY = '[ ! -d /run/systemd ] || mount -t tmpfs tmpfs /run/systemd || exit 1; exec "$@"'


def missing() -> list[str]:
    """The packages that are not installed."""

    def there(sign: str) -> bool:
        return Path(sign).exists() if sign.startswith("/") else shutil.which(sign, path=_SYSTEM_PATH) is not None

    return [package for package, sign in PACKAGES.items() if not there(sign)]


def check() -> None:
    """Raise LabError, with the command to run, when the machine cannot run a lab."""
    if os.geteuid():
        raise LabError("the lab needs root: namespaces, mounts and control groups are its parts")
    lacking = missing()
    if lacking:
        raise LabError(f"Debian packages are missing, run: python -m lab setup  (or: apt-get install --no-install-recommends {' '.join(lacking)})")


def check_watchers(hosts: int, most: int, used: int) -> None:
    """Raise LabError when so many more hosts take more inotify instances than this machine gives: units of theirs would fail, and say nothing of it. Pure."""
    wanted = hosts * _WATCHERS_OF_A_HOST
    if used + wanted > most:
        raise LabError(
            f"{hosts} hosts hold {wanted} inotify instances, and of the {most} that this machine gives to root {used} are in use:"
            f" take another lab down, or run: sysctl fs.inotify.max_user_instances={max(1024, used + wanted)}"
        )


def watchers() -> tuple[int, int]:
    """How many inotify instances root may have, and how many processes hold now."""
    used = 0
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            # It may end meanwhile.
            with contextlib.suppress(OSError):
                used += sum(_is_watcher(entry) for entry in (process / "fd").iterdir())
    return int(_WATCHERS.read_text()), used


def _is_watcher(entry: Path) -> bool:
    try:
        return str(entry.readlink()) == "anon_inode:inotify"
    except OSError:
        return False


def install(report: Report) -> None:
    """Install the packages that are missing. None of their daemons is started. Raises LabError when apt fails or a daemon runs afterwards."""
    if os.geteuid():
        raise LabError("installing packages needs root")
    lacking = missing()
    if not lacking:
        report("all packages are installed")
        return
    before = _running()
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1", "LC_ALL": "C.UTF-8"}
    for words in (["update", "--quiet"], ["install", "--yes", "--quiet", "--no-install-recommends", *lacking]):
        report("+ apt-get " + " ".join(words))
        done = subprocess.run(["unshare", "--mount", "sh", "-c", _QUIETLY, "sh", "apt-get", *words], env=environment, check=False, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise LabError(f"apt-get {words[0]} failed ({done.returncode})")
    started = _running() - before
    if started:
        raise LabError(f"a package started a daemon that the lab does not want: processes {sorted(started)}; stop it")


def _running() -> set[int]:
    numbers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return {pid for pid in numbers if processes.program(pid) in _DAEMONS}
