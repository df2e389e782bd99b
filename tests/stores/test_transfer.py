"""A bucket moved between two real servers of different makers: everything arrives, is proved, and is not done twice."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Forbidden, Invalid, NotFound, NotProven, Refused, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import Engine
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.transfer import COPYING, PROVING, Step, Transfer, transfer
from tests.stores.liar import Liar
from tests.stores.servers import Gateway, Minio, children
from tests.stores.test_listing import ODD

SEED = 4


class Move:
    """A move from a bucket to one of the same name."""

    def __init__(self, engine: Engine, source: Minio, target: Gateway, bucket: str, work: str) -> None:
        self.engine, self.source, self.target, self.bucket, self.work = engine, source, target, bucket, work
        self.steps: list[Step] = []

    def __call__(self, **changes: Any) -> Transfer:
        given = {"source": self.source.store(), "target": self.target.store(), "settled_seconds": 0.0, "progress": self.steps.append, **changes}
        return transfer(self.engine, given.pop("source"), self.bucket, given.pop("target"), self.bucket, self.work, **given)

    def is_done(self, **extra: bytes) -> bool:
        """Whether both servers hold the same, as another client reads it."""
        return self.target.contents(self.bucket) == {**self.source.contents(self.bucket), **extra}

    def left_behind(self) -> list[str]:
        return [name for name in os.listdir(self.work) if not name.endswith((".lock", ".proved"))]


@pytest.fixture
def move(engine: Engine, source: Minio, target: Gateway, bucket: str, work: str) -> Move:
    target.bucket(bucket)
    return Move(engine, source, target, bucket, work)


def some(count: int, seed: int = SEED, size: int = 4000) -> dict[str, bytes]:
    """Objects like those of a registry: many small ones in deep folders."""
    dice = random.Random(seed)
    found = {}
    for number in range(count):
        name = hashlib.sha256(b"%d %d" % (seed, number)).hexdigest()
        found[f"docker/registry/v2/blobs/sha256/{name[:2]}/{name}/data"] = dice.randbytes(dice.randrange(size))
    return found


def fill(source: Minio, bucket: str, objects: dict[str, bytes]) -> None:
    source.bucket(bucket)
    waiting = list(objects.items())

    def write() -> None:
        while waiting:
            try:
                key, content = waiting.pop()
            except IndexError:
                return
            source.put(bucket, key, content)

    writers = [threading.Thread(target=write) for _number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()


def test_two_thousand_objects_of_every_kind(move: Move) -> None:
    objects = {**some(1970), **ODD}
    fill(move.source, move.bucket, objects)
    large = random.Random(SEED).randbytes(21 << 20)
    for number in range(3):
        move.source.put_in_parts(move.bucket, f"large/{number}", large[number:])
    done = move()
    assert done.objects == done.copied_objects == done.proved_objects == done.read_objects == len(objects) + 3
    assert (done.passes, done.pending, done.extra) == (1, 0, 0)
    assert done.bytes == done.copied_bytes == sum(map(len, objects.values())) + 3 * len(large) - 3
    assert move.is_done()
    assert move.left_behind() == []
    names = [step.name for step in move.steps]
    assert names.index(COPYING) < names.index(PROVING)
    last = [step for step in move.steps if step.name == PROVING][-1]
    assert (last.objects, last.bytes) == (last.all_objects, last.all_bytes) == (2 * done.objects, 2 * done.bytes)
    # The second run lists both sides and reads nothing.
    counted = Liar(move.target.port, lambda _method, _path: None)
    with counted.listening() as url:
        again = move(target=move.target.store(endpoint=url, title=move.target.endpoint))
    assert (again.copied_objects, again.read_objects, again.passes, again.proved_objects) == (0, 0, 0, done.objects)
    assert counted.requests <= 2 + done.objects // 1000


def test_what_an_object_says_of_itself_is_carried(move: Move) -> None:
    move.source.bucket(move.bucket)
    words = ("rcat", f"s:{move.bucket}/slug.tgz", "--header-upload=Content-Type: application/x-tar", "--header-upload=Content-Encoding: gzip")
    move.engine.run((*words, "--metadata", "--metadata-set=owner=builder"), {"s": move.source.store()}, content=b"\x1f\x8bnot really compressed")
    move()
    headers = {name.lower(): value for name, value in move.target.client().send("HEAD", f"/{move.bucket}/slug.tgz").headers.items()}
    assert headers["content-type"] == "application/x-tar"
    assert headers["content-encoding"] == "gzip"
    assert headers["x-amz-meta-owner"] == "builder"
    assert move.is_done()


def test_only_what_changed_is_done_again(move: Move) -> None:
    fill(move.source, move.bucket, some(60))
    move()
    keys = move.source.keys(move.bucket)
    move.source.put(move.bucket, keys[0], b"x" * len(move.source.get(move.bucket, keys[0])))
    move.source.put(move.bucket, "new", b"new")
    move.target.delete(move.bucket, keys[1])
    done = move()
    assert (done.copied_objects, done.read_objects, done.proved_objects) == (3, 3, 61)
    assert move.is_done()


def test_what_the_target_lost_or_changed_is_found(move: Move) -> None:
    fill(move.source, move.bucket, some(40))
    move()
    keys = move.source.keys(move.bucket)
    time.sleep(1.1)  # a listing tells seconds: in the same one nothing shows that it was written again
    move.target.put(move.bucket, keys[0], b"y" * len(move.source.get(move.bucket, keys[0])))
    done = move()
    assert (done.copied_objects, done.read_objects, done.passes) == (1, 2, 2)
    assert move.is_done()


def test_a_copy_made_by_hand_is_read_and_not_copied(move: Move) -> None:
    objects = some(30)
    fill(move.source, move.bucket, objects)
    for key, content in objects.items():
        move.target.put(move.bucket, key, content)
    done = move()
    assert (done.copied_objects, done.read_objects, done.proved_objects) == (0, 30, 30)


def test_what_only_the_target_holds_stays_and_is_reported(move: Move) -> None:
    fill(move.source, move.bucket, some(10))
    move.target.put(move.bucket, "extra", b"of somebody else")
    done = move()
    assert (done.extra, done.extra_keys) == (1, ("extra",))
    with pytest.raises(NotProven, match="holds 1 objects that the source does not: extra"):
        move(exact=True)
    assert move.is_done(extra=b"of somebody else")


class Writer:
    """Writes an object again with as many other bytes, when a step is reached."""

    def __init__(self, move: Move, step: str, key: str, times: int = 1) -> None:
        self.move, self.step, self.key, self.left = move, step, key, times
        self.content = b""

    def watch(self, step: Step) -> None:
        if step.name == self.step and self.left:
            self.left -= 1
            self.content = os.urandom(len(self.move.source.get(self.move.bucket, self.key)))
            self.move.source.put(self.move.bucket, self.key, self.content)


@pytest.mark.parametrize("step", [COPYING, PROVING])
def test_an_overwrite_of_equal_size_meanwhile_is_noticed(move: Move, step: str) -> None:
    fill(move.source, move.bucket, some(300))
    key = move.source.keys(move.bucket)[150]
    writer = Writer(move, step, key)
    done = move(progress=writer.watch)
    assert writer.left == 0
    assert move.target.get(move.bucket, key) == writer.content
    assert done.pending == 0
    assert move.is_done()


def test_a_source_that_never_rests(move: Move) -> None:
    fill(move.source, move.bucket, some(20))
    key = move.source.keys(move.bucket)[0]
    writer = Writer(move, PROVING, key, times=1000)
    with pytest.raises(NotProven, match="After 3 passes 1 of 20 objects are not proved") as caught:
        move(progress=writer.watch, passes=3)
    assert key in caught.value.message
    writer = Writer(move, PROVING, key, times=1000)
    live = move(progress=writer.watch, live=True)
    assert (live.pending, live.passes, live.proved_objects) == (1, 1, 19)
    assert move().pending == 0
    assert move.is_done()


def test_what_was_written_just_now_is_read_again_by_the_next_run(move: Move) -> None:
    fill(move.source, move.bucket, some(10))
    assert move(settled_seconds=900.0).read_objects == 10
    again = move(settled_seconds=900.0)
    assert (again.read_objects, again.copied_objects) == (10, 0)


def test_deleted_meanwhile(move: Move) -> None:
    fill(move.source, move.bucket, some(50))
    key = move.source.keys(move.bucket)[10]
    done: list[Step] = []

    def watch(step: Step) -> None:
        if step.name == COPYING and not done:
            done.append(step)
            move.source.delete(move.bucket, key)

    found = move(progress=watch)
    assert found.objects == found.proved_objects == 49


def test_keys_that_cannot_be_carried_stop_the_move_before_it_begins(move: Move) -> None:
    move.source.bucket(move.bucket, {"good": b"1", "marker/": b""})
    with pytest.raises(Refused, match="cannot be carried: marker/"):
        move()
    assert move.target.keys(move.bucket) == []


def test_an_empty_bucket(move: Move) -> None:
    move.source.bucket(move.bucket)
    done = move()
    assert (done.objects, done.copied_objects, done.passes) == (0, 0, 0)


def test_a_bucket_that_is_not_there(move: Move) -> None:
    with pytest.raises(NotFound, match="bucket does not exist"):
        move()
    move.source.bucket(move.bucket, {"key": b"1"})
    elsewhere = f"{move.bucket}-none"
    with pytest.raises(NotFound, match="bucket does not exist"):
        transfer(move.engine, move.source.store(), move.bucket, move.target.store(), elsewhere, move.work)
    assert move.target.client().send("HEAD", f"/{elsewhere}").status == 404
    assert move.left_behind() == []


def test_onto_itself(move: Move) -> None:
    with pytest.raises(Refused, match="the same bucket"):
        move(target=move.source.store())


def test_two_at_once(move: Move) -> None:
    fill(move.source, move.bucket, some(20))
    refused: list[Exception] = []

    def watch(_step: Step) -> None:
        try:
            move()
        except Refused as error:
            refused.append(error)

    move(progress=watch)
    assert refused
    assert "Another run moves this bucket" in str(refused[0])


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_wrong_secret(move: Move, side: str) -> None:
    move.source.bucket(move.bucket, {"key": b"1"})
    canary = "canary-of-a-wrong-secret-0123"
    server: Minio | Gateway = getattr(move, side)
    with pytest.raises(Invalid, match="does not accept the credentials") as caught:
        move(**{side: server.store(secret_key=canary)})
    assert canary not in str(caught.value)
    assert server.endpoint in str(caught.value)


def test_no_right_to_write(move: Move) -> None:
    fill(move.source, move.bucket, some(50))
    access_key, secret_key = move.target.add_user()
    move.target.allow(move.bucket, access_key, "s3:ListBucket", "s3:GetObject")
    with pytest.raises(Forbidden, match="identity may not do this"):
        move(target=move.target.store(access_key=access_key, secret_key=secret_key))
    assert move.target.keys(move.bucket) == []


def test_the_source_is_gone(move: Move, tmp_path: Path) -> None:
    with Minio(tmp_path / "own").running() as own:
        own.bucket(move.bucket, {"key": b"1"})
        store = own.store()
    with pytest.raises(Unavailable, match="does not answer") as caught:
        move(source=store)
    assert store.endpoint in str(caught.value)


def test_no_secret_on_any_command_line(move: Move) -> None:
    fill(move.source, move.bucket, some(100))
    seen: set[bytes] = set()

    def watch(_step: Step) -> None:
        for pid in children(os.getpid()):
            with contextlib.suppress(OSError):
                seen.add(Path(f"/proc/{pid}/cmdline").read_bytes())

    done = move(progress=watch)
    assert any(b"files-from-raw" in command for command in seen)
    hidden = [move.source.secret_key.encode(), move.target.secret_key.encode()]
    kept = [path.read_bytes() for path in Path(move.work).rglob("*") if path.is_file()]
    for text in (*seen, repr(done).encode(), repr(move.steps).encode(), *kept):
        assert not any(secret in text for secret in hidden)
