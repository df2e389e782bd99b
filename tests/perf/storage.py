"""What moving a bucket costs, against rclone run by hand: python -m tests.perf.storage --output build/bench-storage.json.

Source and target are two real servers on loopback, MinIO and Versity's gateway. By hand means: rclone copy, then rclone check --download, with the same number
of transfers. Both do the same work in every round, in turn. The exit status is 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import Engine, find
from lab import builds
from tests.perf import figures
from tests.perf.figures import Figure, at_most, ratio, told
from tests.quality.checkout import ROOT
from tests.stores.servers import Gateway, Minio, ObjectServer

# How many objects, and of how many bytes at most.
SIZES = {"small": (20_000, 4096), "large": (8, 256 << 20)}
MANY = 200_000
PARALLEL = 8
PARTS = (*SIZES, "many")
_BAR, _MEMORY_MIB, _LISTING_BAR = 1.05, 64, 1.1

# One move, or one listing, in a process of its own: its time and the peak of its memory, without that of rclone.
_WORKER = """
import json, re, sys, time
given = json.load(sys.stdin)
sys.path.insert(0, given["path"])
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.listing import list_bucket
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import find
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.store import Store
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.transfer import transfer
source, target = (Store("s3", *given[side]) for side in ("source", "target"))
begun = time.monotonic()
if given["verb"] == "list":
    found = list_bucket(find(given["rclone"]), source, given["source_bucket"], given["work"])
    said = {"objects": found.objects}
else:
    buckets = given["source_bucket"], given["target_bucket"]
    done = transfer(find(given["rclone"]), source, buckets[0], target, buckets[1], given["work"], lambda step: None, settled_seconds=0.0)
    said = {"objects": done.proved_objects, "copied": done.copied_objects, "read": done.read_objects}
seconds = time.monotonic() - begun
# Not getrusage(): that counts what the process that started us had.
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
print(json.dumps({**said, "seconds": seconds, "peak_mib": peak / 1024}))
"""


class Desk:
    """Two servers, an rclone, and a folder for all of it."""

    def __init__(self, engine: Engine, source: ObjectServer, target: ObjectServer, folder: Path, say: Callable[[str], None]) -> None:
        self.engine, self.source, self.target, self.folder, self.say = engine, source, target, folder, say

    def ours(self, verb: str, bucket: str, target_bucket: str, work: Path, source: ObjectServer | None = None) -> dict[str, float]:
        """Run one of our verbs in a process of its own."""
        sides = {"source": source or self.source, "target": self.target}
        given: dict[str, Any] = {side: [server.endpoint, "", server.access_key, server.secret_key] for side, server in sides.items()}
        given.update(verb=verb, path=str(ROOT / ".cache"), rclone=self.engine.path, work=str(work), source_bucket=bucket, target_bucket=target_bucket)
        work.mkdir(exist_ok=True)
        done = subprocess.run([sys.executable, "-c", _WORKER], input=json.dumps(given), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{verb} of {bucket} failed: {done.stderr.strip()[-2000:]}")
        said: dict[str, float] = json.loads(done.stdout)
        return said

    def by_hand(self, *words: str, source: ObjectServer | None = None) -> float:
        """Run rclone as people do; return its seconds."""
        environment = {"PATH": os.defpath, "HOME": "/nonexistent"}
        for remote, server in (("source", source or self.source), ("target", self.target)):
            environment.update(server.store().environment(remote))
        begun = time.monotonic()
        done = subprocess.run(
            [self.engine.path, "--config=", *words], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"rclone {words[0]} failed: {done.stderr.strip()[-2000:]}")
        return time.monotonic() - begun

    def fill(self, bucket: str, count: int, size: int) -> int:
        """Make a bucket with so many objects of up to so many bytes; return the bytes of all."""
        self.source.bucket(bucket)
        dice, total = random.Random(count), 0
        files = self.folder / "files"
        for _number in range(count):
            name = f"{dice.getrandbits(256):064x}"
            path = files / name[:2] / name / "data"
            path.parent.mkdir(parents=True)
            block = dice.randbytes(min(size, 1 << 20) if size > 1 << 20 else dice.randrange(size))
            with path.open("wb") as file:
                for _repeat in range(max(1, size >> 20)):
                    file.write(block)
                total += file.tell()
        self.by_hand("copy", str(files), f"source:{bucket}", "--transfers=16")
        shutil.rmtree(files)
        return total


def move(desk: Desk, name: str, count: int, size: int, rounds: int) -> list[Figure]:
    """Move a bucket into an empty one, ours and by hand in turn."""
    source = f"{name}-source"
    total = desk.fill(source, count, size)
    desk.say(f"  {count} objects, {total / 2**20:.0f} MiB")
    times: dict[str, list[float]] = {"ours": [], "by hand": []}
    peaks = []
    for number in range(rounds):
        for way in ("ours", "by hand")[:: -1 if number % 2 else 1]:
            bucket = f"{name}-{secrets.token_hex(4)}"
            desk.target.bucket(bucket)
            if way == "ours":
                said = desk.ours("move", source, bucket, desk.folder / f"work-{bucket}")
                assert said["objects"] == said["copied"] == count
                times[way].append(said["seconds"])
                peaks.append(said["peak_mib"])
            else:
                words = ("--metadata", f"--transfers={PARALLEL}", f"--checkers={PARALLEL}")
                times[way].append(
                    desk.by_hand("copy", f"source:{source}", f"target:{bucket}", *words)
                    + desk.by_hand("check", "--download", f"source:{source}", f"target:{bucket}", *words[1:])
                )
            shutil.rmtree(desk.target.data / bucket)
        desk.say("  " + ", ".join(f"{way} {seconds[-1]:.1f} s" for way, seconds in times.items()))
    what = f"{count} objects, {total / 2**20:.0f} MiB, {rounds} rounds"
    return [
        at_most(f"{name} objects: ours / rclone by hand", ratio(times["ours"], times["by hand"]), "times", _BAR, what, times),
        told(f"{name} objects: ours", statistics.median(times["ours"]), "s"),
        told(f"{name} objects: by hand", statistics.median(times["by hand"]), "s"),
        at_most(f"{name} objects: peak memory of our process", max(peaks), "MiB", _MEMORY_MIB),
    ]


def many(desk: Desk, rounds: int) -> list[Figure]:
    """Prove very many objects that are on both sides already, and list them. The files are put into the folders of the gateway, where they are objects."""
    for bucket in ("many-one", "many-two"):
        desk.target.bucket(bucket)
    for number in range(MANY):
        one, two = (desk.target.data / bucket / f"{number % 199:03}" / f"{number:06}" for bucket in ("many-one", "many-two"))
        for path in (one, two):
            path.parent.mkdir(exist_ok=True)
        one.write_bytes(b"%d" % number)
        os.link(one, two)
    work = desk.folder / "many"
    desk.say(f"  {MANY} objects")
    first = desk.ours("move", "many-one", "many-two", work, source=desk.target)
    assert (first["objects"], first["read"], first["copied"]) == (MANY, MANY, 0)
    desk.say(f"  proved in {first['seconds']:.0f} s")
    second = desk.ours("move", "many-one", "many-two", work, source=desk.target)
    assert (second["objects"], second["read"]) == (MANY, 0)
    times: dict[str, list[float]] = {"ours": [], "bare": []}
    peaks = [first["peak_mib"], second["peak_mib"]]
    for number in range(rounds):
        for way in ("ours", "bare")[:: -1 if number % 2 else 1]:
            if way == "ours":
                said = desk.ours("list", "many-one", "many-two", work, source=desk.target)
                times[way].append(said["seconds"])
                peaks.append(said["peak_mib"])
            else:
                words = ("--recursive", "--use-server-modtime", "--no-mimetype")
                times[way].append(desk.by_hand("lsjson", "source:many-one", *words, source=desk.target))
        desk.say("  " + ", ".join(f"{way} {seconds[-1]:.1f} s" for way, seconds in times.items()))
    return [
        at_most("many objects: our listing / bare listing", ratio(times["ours"], times["bare"]), "times", _LISTING_BAR, f"{MANY} objects", times),
        at_most("many objects: peak memory of our process", max(peaks), "MiB", _MEMORY_MIB, "first proof, second run, listing", {"peaks": peaks}),
        told("many objects: first proof", first["seconds"], "s"),
        told("many objects: second run", second["seconds"], "s", "two listings, and nothing is read"),
    ]


def measure(parts: Iterable[str], rounds: int, say: Callable[[str], None]) -> Iterator[Figure]:
    """Yield the figures of these parts, measured one after the other."""
    builds.ensure(["minio", "versitygw"], say)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with Minio(folder / "minio").running() as source, Gateway(folder / "gateway").running() as target:
            desk = Desk(find(), source, target, folder, say)
            for part in parts:
                say(part)
                yield from many(desk, rounds) if part == "many" else move(desk, part, *SIZES[part], rounds)


def main() -> int:
    """Run the benchmarks; return the exit status: 0 all bars kept, 1 a bar missed."""
    parser = argparse.ArgumentParser(description="Measure the move of a bucket against rclone run by hand.")
    parser.add_argument("--output", type=Path, default=ROOT / "build/bench-storage.json", help="where the figures go (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each measurement is repeated (default: %(default)s)")
    parser.add_argument("--only", action="append", choices=PARTS, help="measure this part only; may be given again")
    options = parser.parse_args()
    begun = time.monotonic()
    found = list(measure(options.only or PARTS, options.rounds, partial(print, flush=True)))
    seconds = time.monotonic() - begun
    figures.write(found, options.output, seconds)
    missed = [figure.name for figure in found if figure.passed is False]
    print(f"\n{figures.table(found)}\n\n{options.output}, after {seconds:.0f} s.")
    print(f"Missed: {'; '.join(missed)}." if missed else "All bars are kept.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
