# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in an etcd, as one number: every key with its value and its revisions, read page by page in constant memory."""

from __future__ import annotations

import hashlib
import re
from contextlib import closing
from dataclasses import dataclass
from typing import Callable, Generator, Iterator, Set, Tuple, Union

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotProven

# Bytes that a page should have, and the number of keys that the first one asks for. What comes behind small keys may be large, so that never many more are
# asked for than before, nor half as many as an API server takes at once to fill its cache (10,000).
_PAGE = 16 << 20
_FIRST_LIMIT, _GROWTH = 16, 8
_MOST = 4000
# How Kubernetes marks what it encrypts: the provider, its version, and the name of the key.
_ENCRYPTED = re.compile(rb"k8s:enc:([a-z]{1,20}):v\d{1,2}:([\w.-]{1,100}):")
# Field numbers of etcd's RangeResponse and KeyValue.
_KEYS_AND_VALUES, _MORE, _KEY = 2, 3, 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# Yields the pieces of a RangeResponse in protobuf: of keys from the given one on, at most so many.
Reader = Callable[[bytes, int], Generator[bytes, None, None]]


@dataclass(frozen=True)
class Content:
    """Everything that is in an etcd at one revision: the number of keys, the SHA-256 over all of them, and the keys of Kubernetes that encrypt in there."""

    keys: int
    digest: str
    encrypted_by: Tuple[str, ...] = ()


def read_content(read: Reader) -> Content:
    """Read everything, in the order of the keys. Raises NotProven for an answer that cannot be, and what ``read`` raises."""
    summed = hashlib.sha256()
    keys, last, limit = 0, b"", _FIRST_LIMIT
    encrypted: Set[bytes] = set()
    while True:
        begin, more = last, False
        there = fresh = size = 0
        # A key cannot be given to a program behind a NUL: then the page begins before it.
        with closing(read(begin.split(b"\0", 1)[0], limit)) as pieces:
            for number, value in _fields_of(pieces):
                if number == _MORE:
                    more = bool(value)
                if number != _KEYS_AND_VALUES or isinstance(value, int):
                    continue
                key = _key_of(value)
                there += 1
                size += len(value)
                if key <= begin:
                    continue
                if key <= last:
                    raise NotProven("etcd answered with keys out of order.", "It cannot be compared.", "etcd")
                summed.update(len(value).to_bytes(8, "big"))
                summed.update(value)
                encrypted.update(b"/".join(found.groups()) for found in _ENCRYPTED.finditer(value))
                last = key
                fresh += 1
        keys += fresh
        if not more:
            return Content(keys, summed.hexdigest(), tuple(sorted(name.decode("ascii") for name in encrypted)))
        if not fresh:
            # A whole page of what was read already: keys that differ behind a NUL only.
            limit *= 2
            continue
        limit = max(2, min(_MOST, limit * _GROWTH, _PAGE // max(1, size // there)))


def _fields_of(pieces: Iterator[bytes]) -> Iterator[Tuple[int, Union[int, memoryview]]]:
    """Yield the fields of a message that comes in pieces, of which no more than one is held. Raises NotProven for what is no message, or is cut off."""
    rest = b""
    try:
        for piece in pieces:
            rest += piece
            whole, place = memoryview(rest), 0
            while place < len(whole):
                try:
                    number, value, end = _field(whole, place)
                except IndexError:
                    break
                place = end
                if value is not None:
                    yield number, value
            rest = rest[place:]
        if rest:
            raise ValueError
    except ValueError:
        raise _no_page() from None


def _key_of(entry: memoryview) -> bytes:
    place = 0
    try:
        while place < len(entry):
            number, value, place = _field(entry, place)
            if number == _KEY and isinstance(value, memoryview):
                return bytes(value)
    except (IndexError, ValueError):
        raise _no_page() from None
    return b""


def _no_page() -> NotProven:
    return NotProven("etcdctl answered with something that is no page of keys.", "Its version may be another than it says.", "etcd")


def _field(message: memoryview, place: int) -> Tuple[int, Union[int, memoryview, None], int]:
    """Return (number, value, where it ends) of the field that begins at a place of a protobuf message: an int, a view of bytes, or None for forms that etcd
    does not use. Raises IndexError when the message ends before it, ValueError when that is no field.
    """
    tag, place = _varint(message, place)
    number, form = tag >> 3, tag & 7
    if form == _VARINT:
        value, place = _varint(message, place)
        return number, value, place
    if form == _BYTES:
        size, place = _varint(message, place)
        end = place + size
        if end > len(message):
            raise IndexError
        return number, message[place:end], end
    if form in (_FIXED64, _FIXED32):
        end = place + (8 if form == _FIXED64 else 4)
        if end > len(message):
            raise IndexError
        return number, None, end
    raise ValueError


def _varint(message: memoryview, place: int) -> Tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
