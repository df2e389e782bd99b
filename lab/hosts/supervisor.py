"""First process of a standalone host: lays its disks and its root file system ready, then boots the system in it, again after each reboot.

Runs alone, outside the package: ``python -I supervisor.py FOLDER``; FOLDER/machine.json says what the host is made of. It has the namespaces of the host
to itself, so that mounts, disks, bridge and every process go with it, however it ends. It ends when the host is switched off.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# how systemd-nspawn ends when the system inside asks for a reboot
BOOT_AGAIN = 133
CABLE, BRIDGE = "eth0", "inside"
# null, zero, random and their like; terminals; tun
DEVICES = ("c 1:* rwm", "c 5:* rwm", "c 136:* rwm", "c 10:200 rwm", "c 10:229 rwm")
SETTINGS = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "SYSTEMD_NSPAWN_LOCK": "0", "SYSTEMD_NSPAWN_TMPFS_TMP": "0"}


def command(*words: str | Path, stdin: str | None = None) -> str:
    """Run a program and return its stdout. Raises CalledProcessError."""
    return subprocess.run(list(map(str, words)), input=stdin or "", stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def lay_root(folder: Path, tree: str) -> Path:
    """Mount the host's own layer over the tree that it shares with others."""
    command("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")  # what nspawn keeps there is not the machine's
    root, upper, work = folder / "root", folder / "upper", folder / "work"
    shutil.rmtree(work, ignore_errors=True)  # after a power cut the kernel refuses the old one
    for path in (root, upper, work):
        path.mkdir(exist_ok=True)
    # volatile: no fsync of a system that is soon thrown away reaches the machine's disk; those of the disks do
    command("mount", "-t", "overlay", "-o", f"lowerdir={tree},upperdir={upper},workdir={work},volatile", "overlay", root)
    return root


def attach(images: list[str]) -> list[str]:
    """Give each disk image a loop device, which goes when the last process that has it open has gone."""
    devices = []
    for image in images:
        device = command("losetup", "--find", "--show", image)
        os.open(device, os.O_RDWR)
        command("losetup", "--detach", device)
        devices.append(device)
    return devices


def fence(group: str, disks: list[str]) -> None:
    """Let the host open its own devices alone, though its root may make nodes of others; where the machine has that kind of control group."""
    if not group:
        return
    numbers = [os.stat(disk).st_rdev for disk in disks]
    Path(group, "devices.deny").write_text("a")
    for rule in [*DEVICES, *(f"b {os.major(number)}:{os.minor(number)} rwm" for number in numbers)]:
        Path(group, "devices.allow").write_text(rule)


def lay_network() -> None:
    """Lead the cable onto a bridge in here, to which nspawn plugs the host at each boot."""
    deadline = time.monotonic() + 30
    while not Path("/proc/sys/net/ipv4/conf", CABLE).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody plugged in {CABLE}")
        time.sleep(0.02)
    lines = ["link set lo up", f"link add {BRIDGE} type bridge forward_delay 0", f"link set {CABLE} master {BRIDGE} up", f"link set {BRIDGE} up"]
    command("ip", "-batch", "-", stdin="\n".join(lines) + "\n")


def boot(plan: dict[str, Any], root: Path, disks: list[str]) -> int:
    """Run the system until it ends; return the status that nspawn ends with."""
    words = ["systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", f"--machine={plan['name']}", f"--hostname={plan['name']}"]
    words += [f"--directory={root}", f"--network-bridge={BRIDGE}", "--link-journal=no", "--resolv-conf=off", "--timezone=off", "--console=read-only"]
    for letter, disk in zip("bcdefgh", disks, strict=False):
        words += [f"--bind={disk}", f"--bind={disk}:/dev/vd{letter}"]
    system = subprocess.Popen(words, stdin=subprocess.DEVNULL, env={**os.environ, **SETTINGS})
    while True:
        pid, status = os.wait()  # orphans of the system too
        if pid == system.pid:
            return os.waitstatus_to_exitcode(status)


def run(folder: Path) -> int:
    """Boot until the host is switched off; return the last status."""
    plan = json.loads((folder / "machine.json").read_text())
    root = lay_root(folder, plan["tree"])
    disks = attach(plan["disks"])
    fence(plan["devices"], disks)
    lay_network()
    status = BOOT_AGAIN
    while status == BOOT_AGAIN:
        print(f"supervisor {time.strftime('%H:%M:%S')}: booting", flush=True)
        status = boot(plan, root, disks)
        print(f"supervisor {time.strftime('%H:%M:%S')}: ended: {status}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1])))
