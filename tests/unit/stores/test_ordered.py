"""Sorted files: whatever comes, in whatever order, in little memory."""

from __future__ import annotations

import os
import random
import tracemalloc
from pathlib import Path

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._host.stores import ordered


def keys(path: str) -> list[bytes]:
    return [record[0] for record in ordered.read(path)]


@pytest.mark.parametrize("order", ["sorted", "reversed", "random"])
def test_more_than_memory_holds(tmp_path: Path, order: str) -> None:
    names = [f"folder/{number:07}/\u00e4 \u2603".encode() for number in range(200_000)]
    if order == "reversed":
        names.reverse()
    elif order == "random":
        random.Random(1).shuffle(names)
    path = str(tmp_path / "sorted")
    tracemalloc.start()
    sorter = ordered.Sorter(path)
    for name in names:
        sorter.add(name, b"1", b"2026-11-21T18:28:35.326000000Z")
    sorter.finish()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24 << 20
    assert keys(path) == sorted(names)
    assert os.listdir(tmp_path) == ["sorted"]


def test_nothing_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = str(tmp_path / "empty")
    ordered.Sorter(path).finish()
    assert keys(path) == []
    assert keys(str(tmp_path / "none")) == []


def test_discarded(tmp_path: Path) -> None:
    sorter = ordered.Sorter(str(tmp_path / "sorted"))
    for number in range(200_000):
        sorter.add(b"%d" % (number * 7919 % 200_000), b"x" * 30)
    sorter.discard()
    assert os.listdir(tmp_path) == []


def test_a_key_sorts_before_those_that_it_begins() -> None:
    names = [b"a", b"a/b", b"a b", b"a!", b"a-"]
    lines = [name + ordered.SEPARATOR + b"1" for name in names]
    assert [line.split(ordered.SEPARATOR)[0] for line in sorted(lines)] == sorted(names)


def test_aligned() -> None:
    one = [(b"a", b"1"), (b"c", b"1")]
    other = [(b"b", b"2"), (b"c", b"2"), (b"d", b"2")]
    assert list(ordered.aligned(one, other, [])) == [
        (b"a", [one[0], None, None]),
        (b"b", [None, other[0], None]),
        (b"c", [one[1], other[1], None]),
        (b"d", [None, other[2], None]),
    ]
