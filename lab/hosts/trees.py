"""Root file systems of hosts: one tree for each Debian release, made once, and seen read-only by all hosts of that release."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from pathlib import Path

from lab import layers, locks, paths
from lab.errors import LabError
from lab.progress import Report, run_long, silent

RELEASES = {"bookworm": 12, "trixie": 13}
DEFAULT_RELEASE = "bookworm"
_GUEST = paths.CHECKOUT / "lab" / "hosts" / "guest"
_PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "libpam-systemd", "openssh-server", "python3", "python3-apt", "sudo", "nftables", "iproute2", "iputils-ping"),
    *("procps", "ca-certificates", "curl", "xfsprogs", "e2fsprogs", "fdisk", "tzdata", "cron", "logrotate", "less"),
)
_OPTIONS = (
    '--aptopt=Acquire::Languages "none"',
    '--aptopt=APT::Install-Recommends "false"',
    "--dpkgopt=force-unsafe-io",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
)
# Timers that take apt's lock in the middle of a test, and services that wait for what a container does not have.
_DISABLED = ("apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer", "fstrim.timer")
_MASKED = ("console-getty.service", "systemd-networkd-wait-online.service", "systemd-firstboot.service")
# of the user that everybody logs in as
_HOME = "root"
_HOOKS = (
    # what every host has of its own
    'rm -f "$1"/etc/ssh/ssh_host_* "$1"/etc/resolv.conf "$1"/etc/hostname; : > "$1"/etc/machine-id; rm -rf "$1"/var/lib/dbus/machine-id "$1"/etc/hosts',
    f'printf \'PermitRootLogin prohibit-password\\nPasswordAuthentication no\\n\' > "$1"/etc/ssh/sshd_config.d/lab.conf; mkdir -p -m 700 "$1"/{_HOME}/.ssh',
    'install -m 755 "$GUEST"/paas-lab-guest "$1"/usr/local/sbin/; install -m 644 "$GUEST"/paas-lab-guest.service "$1"/etc/systemd/system/',
    'chroot "$1" systemctl --quiet enable systemd-networkd ssh paas-lab-guest',
    f'chroot "$1" systemctl --quiet disable {" ".join(_DISABLED)}',
    f'chroot "$1" systemctl --quiet mask {" ".join(_MASKED)}',
)
_SECONDS = 60


def _key(release: str) -> str:
    files = {path.name: path.read_text() for path in sorted(_GUEST.iterdir())}
    recipe = [release, _PACKAGES, _OPTIONS, _DISABLED, _MASKED, _HOOKS, files, platform.machine()]
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def _top() -> Path:
    return paths.private_folder(paths.images() / "hosts")


def place(release: str) -> Path:
    """Folder of a release's tree, made or not. Raises LabError for a release that the lab does not know."""
    if release not in RELEASES:
        raise LabError(f"hosts run {' or '.join(RELEASES)}, not {release!r}")
    return _top() / f"{release}-{_key(release)}"


def tree(release: str, report: Report = silent) -> Path:
    """The root folder of a release, built if need be. Nobody may write to it. Raises LabError that names the log of the build."""
    wanted = place(release)
    with locks.held(_top() / f"{release}.lock", lambda: report(f"  host tree {release}: another process builds it, waiting")):
        if not (wanted / "complete").exists():
            _build(release, wanted, report)
            _forget_others(release, wanted)
    return wanted / "root"


def _build(release: str, wanted: Path, report: Report) -> None:
    shutil.rmtree(wanted, ignore_errors=True)  # a build that was killed
    work = paths.private_folder(wanted / "work")
    wanted.chmod(0o755)
    work.chmod(0o755)
    sources = layers.mirrors(release)
    command = ["mmdebstrap", "--mode=root", "--variant=minbase", "--components=main", "--format=directory", *_OPTIONS, *layers.proxies()]
    command += [f"--include={','.join(_PACKAGES)}", *(f"--customize-hook={line}" for line in _HOOKS), release, str(wanted / "root"), *sources]
    run_long(
        command,
        f"building the root file system of Debian {RELEASES[release]} hosts",
        _top() / f"{release}.log",
        report,
        expected=_SECONDS,
        env={**os.environ, "TMPDIR": str(work), "GUEST": str(_GUEST), "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
    )
    shutil.rmtree(work)
    (wanted / "complete").touch()


def _forget_others(release: str, wanted: Path) -> None:
    """Remove trees of the release that were made by another recipe and that no host stands on."""
    used = {(paths.read_json(note) or {}).get("tree") for note in paths.labs().glob("*/hosts/*/machine.json")}
    for old in _top().glob(f"{release}-*"):
        if old != wanted and str(old / "root") not in used:
            shutil.rmtree(old)
