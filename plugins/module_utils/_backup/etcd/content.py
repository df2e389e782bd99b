# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in an etcd, as one number: every key with its value and its revisions, read page by page in constant memory."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Callable, Iterator, List, Set, Tuple, Union

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotProven

# Bytes that a page should have, and the number of keys that the first one asks for. Never more than the API server asks for at once: what comes behind
# small keys may be large.
_PAGE = 4 << 20
_FIRST_LIMIT = 16
_MOST = 500
# How Kubernetes marks what it encrypts: the provider, its version, and the name of the key.
_ENCRYPTED = re.compile(rb"k8s:enc:([a-z]{1,20}):v\d{1,2}:([\w.-]{1,100}):")
# Field numbers of etcd's RangeResponse and KeyValue.
_KEYS_AND_VALUES, _MORE, _KEY = 2, 3, 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# Returns a RangeResponse in protobuf: of keys from the given one on, at most so many.
Reader = Callable[[bytes, int], bytes]


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
        # A key cannot be given to a program behind a NUL: then the page begins before it.
        answer = read(last.split(b"\0", 1)[0], limit)
        entries, more = _page(answer)
        fresh = [(key, entry) for key, entry in entries if key > last]
        for key, entry in fresh:
            summed.update(len(entry).to_bytes(8, "big"))
            summed.update(entry)
            if key <= last:
                raise NotProven("etcd answered with keys out of order.", "It cannot be compared.", "etcd")
            last = key
        keys += len(fresh)
        encrypted.update(b"/".join(found.groups()) for found in _ENCRYPTED.finditer(answer))
        if not more:
            return Content(keys, summed.hexdigest(), tuple(sorted(name.decode("ascii") for name in encrypted)))
        if not fresh:
            # A whole page of what was read already: keys that differ behind a NUL only.
            limit *= 2
            continue
        average = max(1, len(answer) // len(entries))
        limit = max(2, min(_MOST, limit * 2, _PAGE // average))


def _page(answer: bytes) -> Tuple[List[Tuple[bytes, memoryview]], bool]:
    """Return (key, the whole entry) of each entry of a RangeResponse, and whether there are more."""
    entries: List[Tuple[bytes, memoryview]] = []
    more = False
    whole = memoryview(answer)
    try:
        for number, value in _fields(whole):
            if number == _KEYS_AND_VALUES and isinstance(value, memoryview):
                entries.append((_key_of(value), value))
            elif number == _MORE:
                more = bool(value)
    except (IndexError, ValueError):
        raise NotProven("etcdctl answered with something that is no page of keys.", "Its version may be another than it says.", "etcd") from None
    return entries, more


def _key_of(entry: memoryview) -> bytes:
    for number, value in _fields(entry):
        if number == _KEY and isinstance(value, memoryview):
            return bytes(value)
    return b""


def _fields(message: memoryview) -> Iterator[Tuple[int, Union[int, memoryview]]]:
    """Yield (number, value) of each field of a protobuf message: an int, or a view of bytes. Raises IndexError or ValueError when it is cut off."""
    place, end = 0, len(message)
    while place < end:
        tag, place = _varint(message, place)
        number, form = tag >> 3, tag & 7
        if form == _VARINT:
            value, place = _varint(message, place)
            yield number, value
        elif form == _BYTES:
            size, place = _varint(message, place)
            if place + size > end:
                raise ValueError
            yield number, message[place : place + size]
            place += size
        elif form in (_FIXED64, _FIXED32):
            place += 8 if form == _FIXED64 else 4
        else:
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
