# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connects to ports of other hosts, many at once, and tells an open one from one that a firewall keeps shut."""

from __future__ import annotations

import errno
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import List, NamedTuple, Sequence, Tuple

ACCEPTED, REFUSED, SILENT = "accepted", "refused, so nothing keeps us out", "no answer"
_AT_ONCE = 64


class Target(NamedTuple):
    """One port of one host, and why it should be reached or not."""

    host: str
    address: str
    port: int
    expected: bool
    because: str


def knock(address: str, port: int, seconds: float) -> str:
    """Try a connection: ACCEPTED, REFUSED (the packet arrived, nobody listens), or SILENT (it was thrown away, or there is no such host)."""
    try:
        with socket.create_connection((address, port), timeout=seconds):
            return ACCEPTED
    except OSError as error:
        return REFUSED if error.errno == errno.ECONNREFUSED else SILENT


def knock_at_all(targets: Sequence[Target], seconds: float) -> List[Tuple[Target, str]]:
    """Knock at every target, and once more where the answer is not the expected one: a packet may get lost."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = list(pool.map(lambda target: _twice(target, seconds), targets))
    return list(zip(targets, answers))


def _twice(target: Target, seconds: float) -> str:
    answer = knock(target.address, target.port, seconds)
    return answer if reached(answer) == target.expected else knock(target.address, target.port, seconds * 2)


def reached(answer: str) -> bool:
    """Tell whether the packet got through, whether somebody listens or not."""
    return answer in (ACCEPTED, REFUSED)
