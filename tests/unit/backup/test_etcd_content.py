"""What is in an etcd, read in pages that come in pieces."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.content import Content, Reader, read_content
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotProven

Stored = dict[bytes, bytes]


def varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def page(stored: Stored, begin: bytes, limit: int) -> bytes:
    """A RangeResponse: a header, entries of key, three numbers and value, whether there are more, and their count."""
    keys = sorted(key for key in stored if key >= begin)
    entries = [field(2, field(1, key) + field(2, 7) + field(3, 300) + field(4, 1) + field(5, stored[key])) for key in keys[:limit]]
    more = field(3, 1) if len(keys) > limit else b""
    return field(1, field(1, 99)) + b"".join(entries) + more + field(4, len(keys))


def reader(stored: Stored, size: int, asked: list[tuple[bytes, int]]) -> Reader:
    """Pages in pieces of so many bytes."""

    def read(begin: bytes, limit: int) -> Generator[bytes, None, None]:
        asked.append((begin, limit))
        answer = page(stored, begin, limit)
        yield from (answer[place : place + size] for place in range(0, len(answer), size))

    return read


def content(stored: Stored, size: int = 1 << 20) -> Content:
    return read_content(reader(stored, size, []))


SMALL = {f"/registry/pods/{number:04}".encode(): b"x" * (number % 40) for number in range(300)}


def test_it_is_the_same_in_whatever_pieces_it_comes() -> None:
    whole = content(SMALL)
    assert whole.keys == 300
    assert {content(SMALL, size) for size in (1, 2, 3, 7, 64, 1000)} == {whole}


def test_every_key_and_value_counts() -> None:
    seen = {content(SMALL).digest, content({}).digest}
    for key in list(SMALL)[::50]:
        seen |= {content({**SMALL, key: b"another"}).digest, content({name: value for name, value in SMALL.items() if name != key}).digest}
    assert len(seen) == 2 + 2 * 6


def test_pages_grow_to_some_megabytes_and_no_further() -> None:
    asked: list[tuple[bytes, int]] = []
    read_content(reader({b"%06d" % number: b"" for number in range(20_000)}, 1 << 20, asked))
    limits = [limit for _begin, limit in asked]
    assert limits[:4] == [16, 128, 1024, 4000]
    assert max(limits) == 4000
    asked.clear()
    large = {b"%06d" % number: b"x" * (1 << 20) for number in range(60)}
    read_content(reader(large, 1 << 20, asked))
    assert max(limit for _begin, limit in asked[1:]) < 16


def test_keys_that_differ_behind_a_nul_only_are_read_all() -> None:
    stored = {b"a\0%03d" % number: b"" for number in range(100)} | {b"b": b""}
    assert content(stored).keys == 101


def test_who_encrypts_is_seen_in_each_entry_by_itself() -> None:
    stored = {b"a": b"k8s:enc:aescbc:v1:key1:rest", b"b": b"k8s:enc:secretbox:v1:key2:rest", b"c": b"k8s:enc:", b"d": b"aescbc:v1:key3:"}
    assert content(stored, 5).encrypted_by == ("aescbc/key1", "secretbox/key2")


@pytest.mark.parametrize("harm", ["cut", "longer", "text", "order", "entry", "form"])
def test_what_is_no_page_is_refused(harm: str) -> None:
    answer = page(SMALL, b"", 1000)
    first = page({b"b": b""}, b"", 1)
    broken = {
        "cut": answer[:-30],
        "longer": answer + b"\x12",
        "text": b"Error: no",
        "order": first + page({b"a": b""}, b"", 1),
        "entry": field(2, b"\x0a\x7fabc"),
        "form": field(2, b"\x0babc"),
    }[harm]

    def read(_begin: bytes, _limit: int) -> Generator[bytes, None, None]:
        yield from (broken[place : place + 100] for place in range(0, len(broken), 100))

    with pytest.raises(NotProven):
        read_content(read)
