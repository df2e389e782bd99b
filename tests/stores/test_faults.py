"""Servers that die, lie or are full, and processes that are killed: no wrong byte is accepted, and the next run goes on."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotProven, Refused, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import Engine
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.transfer import COPYING, PROVING, Step, transfer
from lab import processes
from tests.stores.liar import Liar, sometimes
from tests.stores.servers import Gateway, Minio, children, rclones
from tests.stores.test_engine import ROOT
from tests.stores.test_transfer import Move, fill, some

# Moves a bucket in a process of its own that can be killed; credentials come in by its standard input.
MOVER = """
import sys, json
sys.path.insert(0, sys.argv[1])
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import find
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.store import Store
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.transfer import transfer
given = json.load(sys.stdin)
source, target = (Store("s3", *given[side]) for side in ("source", "target"))
transfer(find(given["rclone"]), source, given["bucket"], target, given["bucket"], given["work"], lambda step: print(step.name, step.objects, flush=True))
"""


@pytest.fixture
def own_target(tmp_path: Path, source: Minio) -> Iterator[Gateway]:
    """A target that may be killed."""
    with Gateway(tmp_path / "own").running() as server:
        yield server


@pytest.fixture
def move(engine: Engine, source: Minio, own_target: Gateway, bucket: str, work: str) -> Move:
    own_target.bucket(bucket)
    return Move(engine, source, own_target, bucket, work)


def at(step: str, objects: int, act: Callable[[], None]) -> Callable[[Step], None]:
    """Act once, when a step has come so far."""
    waiting = [act]

    def watch(told: Step) -> None:
        if waiting and told.name == step and told.objects >= objects:
            waiting.pop()()

    return watch


def test_the_target_dies_and_comes_back(move: Move) -> None:
    fill(move.source, move.bucket, some(900, size=20_000))
    with pytest.raises(Unavailable, match="does not answer"):
        move(progress=at(COPYING, 1, lambda: move.target.end(signal.SIGKILL)))
    move.target.start()
    kept = len(move.target.keys(move.bucket))
    assert 0 < kept < 900
    done = move()
    assert done.copied_objects == 900 - kept
    assert move.is_done()
    assert move.left_behind() == []


def test_the_target_dies_during_the_proof(move: Move) -> None:
    fill(move.source, move.bucket, some(600))
    with pytest.raises(Unavailable):
        move(progress=at(PROVING, 1, lambda: move.target.end(signal.SIGKILL)))
    move.target.start()
    done = move()
    assert (done.copied_objects, done.proved_objects) == (0, 600)
    assert move.is_done()


@pytest.mark.parametrize("verb", ["lsjson", "copy", "hashsum"])
def test_rclone_is_killed(move: Move, verb: str) -> None:
    fill(move.source, move.bucket, some(800, size=20_000))

    def kill() -> None:
        found = processes.wait_until(lambda: rclones(verb), 60, 0.01)
        time.sleep(0.3 if verb == "copy" else 0)
        processes.kill(found[0])

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(Unavailable, match="ended by SIGKILL"):
        move()
    killer.join()
    kept = len(move.target.keys(move.bucket))
    done = move()
    assert done.copied_objects == 800 - kept
    assert move.is_done()


def test_we_are_killed(move: Move) -> None:
    fill(move.source, move.bucket, some(900, size=20_000))
    sides = {side: [server.endpoint, "", server.access_key, server.secret_key] for side, server in (("source", move.source), ("target", move.target))}
    given = {**sides, "bucket": move.bucket, "work": move.work, "rclone": move.engine.path}
    run = subprocess.Popen([sys.executable, "-c", MOVER, str(ROOT / ".cache")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert run.stdin
    assert run.stdout
    run.stdin.write(json.dumps(given))
    run.stdin.close()
    for line in run.stdout:
        name, objects = line.split()
        if name == COPYING and int(objects):
            break
    found = children(run.pid)
    assert found
    run.kill()
    run.wait()
    run.stdout.close()
    assert processes.wait_until(lambda: not any(processes.start_time(pid) for pid in found), 3), "rclone lives on"
    kept = len(move.target.keys(move.bucket))
    assert 0 < kept < 900
    assert move.left_behind()
    done = move()
    assert done.copied_objects == 900 - kept
    assert move.is_done()
    assert move.left_behind() == []


def test_the_target_is_full(engine: Engine, source: Minio, tmp_path: Path, bucket: str, work: str) -> None:
    fill(source, bucket, {f"key-{number}": os.urandom(1 << 20) for number in range(24)})
    with Gateway(tmp_path / "small", capacity=16 << 20).running() as small:
        small.bucket(bucket)
        move = Move(engine, source, small, bucket, work)
        with pytest.raises(Refused, match="The store is full") as caught:
            move()
        assert "Make room" in caught.value.hint
        for number in range(12):
            source.delete(bucket, f"key-{number}")
            if f"key-{number}" in small.keys(bucket):
                small.delete(bucket, f"key-{number}")
        assert move().proved_objects == 12
        # What was on its way when the store was full may have come in later, and stays.
        assert source.contents(bucket).items() <= small.contents(bucket).items()


# Lies about the content of objects, on either side. A lie that is told half of the time is the hardest: the next answer is true.
@pytest.mark.parametrize(
    ("lie", "chance"),
    [("cut", 0.4), ("short", 1.0), ("short", 0.4), ("flipped", 1.0), ("flipped", 0.4), ("500", 0.3), ("503", 0.3), ("429", 0.3), ("error body", 1.0)],
)
@pytest.mark.parametrize("side", ["source", "target"])
def test_no_wrong_byte_is_accepted(move: Move, side: str, lie: str, chance: float) -> None:
    objects = some(8, seed=7)
    fill(move.source, move.bucket, objects)
    server: Minio | Gateway = getattr(move, side)
    liar = Liar(server.port, sometimes(lie, chance, seed=11, about="/docker/"))
    with liar.listening() as url:
        done = None
        with contextlib.suppress(NotProven, Unavailable):
            done = move(**{side: server.store(endpoint=url, title=server.endpoint), "passes": 2})
        if done is not None:
            assert done.proved_objects == len(objects)
            assert move.target.contents(move.bucket) == objects
    assert liar.told.get(lie)
    assert move().proved_objects == len(objects)
    assert move.is_done()


@pytest.mark.parametrize("lie", ["error body", "short"])
def test_both_sides_behind_one_lying_proxy(move: Move, lie: str) -> None:
    # The objects differ, and what is read of both is the same: only the number of bytes gives it away.
    mine, theirs = os.urandom(8000), os.urandom(8000)
    theirs = mine[:4000] + theirs[4000:]
    move.source.bucket(move.bucket, {"docker/key": mine})
    move.target.put(move.bucket, "docker/key", theirs)
    rule = sometimes(lie, 1.0, seed=1, about="/docker/")
    with Liar(move.source.port, rule).listening() as one, Liar(move.target.port, rule).listening() as other, pytest.raises((NotProven, Unavailable)):
        move(source=move.source.store(endpoint=one), target=move.target.store(endpoint=other), passes=2)


@pytest.mark.parametrize("side", ["source", "target"])
def test_stale_listings(move: Move, side: str) -> None:
    # The proxy goes on telling its first listing: the source seems unchanged, the target empty.
    objects = some(20)
    fill(move.source, move.bucket, objects)
    server: Minio | Gateway = getattr(move, side)
    listing = sometimes("stale", 1.0, seed=1, about=f"/{move.bucket}?")
    with Liar(server.port, listing).listening() as url:
        behind = {side: server.store(endpoint=url, title=server.endpoint)}
        if side == "target":
            with pytest.raises(NotProven, match="missing in the target"):
                move(**behind, passes=2)
        else:
            key = sorted(objects)[3]
            move(**behind)
            objects[key] = bytes(len(objects[key]))
            move.source.put(move.bucket, key, objects[key])
            move(**behind)
    done = move()
    assert done.proved_objects == 20
    assert move.is_done()


def test_a_network_that_fails_now_and_then(move: Move) -> None:
    fill(move.source, move.bucket, some(200))
    dice = random.Random(5)
    lock = threading.Lock()

    def rule(_method: str, _path: str) -> str | None:
        with lock:
            return dice.choice(["500", "503", "429", "cut"]) if dice.random() < 0.03 else None

    with Liar(move.source.port, rule).listening() as one, Liar(move.target.port, rule).listening() as other:
        sides = {"source": move.source.store(endpoint=one, title="one"), "target": move.target.store(endpoint=other, title="other")}
        for _attempt in range(5):
            try:
                done = move(**sides)
            except Unavailable:
                continue
            break
        else:
            pytest.fail("five runs did not complete the move")
    assert done.proved_objects == 200
    assert move.is_done()


def test_an_interrupt_leaves_no_process(move: Move) -> None:
    fill(move.source, move.bucket, some(600))

    def interrupt() -> None:
        raise KeyboardInterrupt

    for step in (COPYING, PROVING):
        with pytest.raises(KeyboardInterrupt):
            move(progress=at(step, 1, interrupt))
        assert not rclones()
    assert move().proved_objects == 600


def test_the_inventory_of_another_folder(move: Move, tmp_path: Path) -> None:
    fill(move.source, move.bucket, some(10))
    first = move()
    other = transfer(
        move.engine, move.source.store(), move.bucket, move.target.store(), move.bucket, str(tmp_path / "other"), since=first.inventory, settled_seconds=0.0
    )
    assert other.read_objects == 0
