# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server's program that the user names by its SHA-256: put in its place, and found again in the process that runs."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from typing import Mapping, NamedTuple, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Invalid, Refused
from ansible_collections.paas.hardening.plugins.module_utils._host import units

FOLDER = "/usr/local/lib/paas-hardening"
MODE = 0o755


class Wanted(NamedTuple):
    """A program: where it belongs, its SHA-256, where a copy of it is on this host (empty: nowhere), what it is of, and what the role calls its options.

    ``option`` is the option that names the copy, ``digest_option`` that with the checksum.
    """

    path: str
    digest: str
    given: str
    title: str
    role: str
    option: str = "binary"
    digest_option: str = "binary_sha256"

    @property
    def former(self) -> str:
        return f"{self.path}.former"


class Seen(NamedTuple):
    """What is there: its SHA-256 (empty: none) and its mode."""

    digest: str
    mode: int


class Process(NamedTuple):
    """The process that runs: its number, its command line, its environment, whether its program is the file that is there now, and since when it runs."""

    number: int
    words: Tuple[str, ...]
    environment: Mapping[str, str]
    current: bool
    since: float

    def __repr__(self) -> str:
        return f"Process({self.number})"


class ProgramNeeded(Failure):
    """The program has to be brought to the host first. Nothing was written."""

    reason = "ProgramNeeded"


def digest_given(value: str, option: str = "binary_sha256") -> str:
    """Return the SHA-256 as it is compared. Raises Invalid."""
    digest = value.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise Invalid(f"{option} is no SHA-256.", "Give the 64 hexadecimal digits that sha256sum shows of the program you trust.", option)
    return digest


def look(path: str) -> Seen:
    """Look at a program."""
    if not os.path.isfile(path):
        return Seen("", 0)
    return Seen(digest_of(path), stat.S_IMODE(os.stat(path).st_mode))


def process_of(unit: str, number: int, program: str) -> Optional[Process]:
    """Return the process of this number, which is a unit's; None when there is none, or none any more."""
    if not number:
        return None
    try:
        with open(f"/proc/{number}/cmdline", "rb") as file:
            words = file.read().decode(errors="replace").rstrip("\0").split("\0")
        with open(f"/proc/{number}/environ", "rb") as file:
            pairs = [pair.partition("=") for pair in file.read().decode(errors="replace").split("\0") if pair]
        current = os.path.exists(program) and os.path.samefile(f"/proc/{number}/exe", program)
    except OSError:
        # It ended meanwhile.
        return None
    return Process(number, tuple(words), {name: value for name, _equals, value in pairs}, current, units.begun(unit))


def digest_of(path: str) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def require(wanted: Wanted, seen: str) -> None:
    """Refuse a program that is not the one that was named, before anything is written. ``seen`` is the SHA-256 of what is there. Raises Refused."""
    if seen == wanted.digest:
        return
    if not wanted.given or not os.path.isfile(wanted.given):
        where = f"{wanted.option} is {wanted.given}, and there is no such file" if wanted.given else f"{wanted.option} is not given"
        hint = f"Give the file of the program ({wanted.role}_{wanted.option}); where to get one that you may trust is for you to say."
        raise Refused(f"The program of {wanted.title} is not on this host, and {where}.", hint, wanted.option)
    _require_digest(wanted, wanted.given)


def _require_digest(wanted: Wanted, path: str) -> None:
    found = digest_of(path)
    if found != wanted.digest:
        hint = "It is not the program that you trust: get it anew."
        raise Refused(f"The SHA-256 of {wanted.given} is {found}, not {wanted.digest}.", hint, wanted.digest_option)


def put(wanted: Wanted) -> None:
    """Put the given program in its place, and keep the former one beside it until the server is well. Raises Refused when it is not the one that was named."""
    if os.path.isfile(wanted.path) and digest_of(wanted.path) == wanted.digest:
        os.chmod(wanted.path, MODE)
        os.chown(wanted.path, 0, 0)
        return
    if not wanted.given:
        hint = f"Give its file as {wanted.option} ({wanted.role}_{wanted.option})."
        raise ProgramNeeded(f"The program of {wanted.title} is not on this host.", hint, wanted.option)
    if not os.path.isfile(wanted.given):
        raise Refused(f"{wanted.option} is {wanted.given}, and there is no such file.", "Give the file of the program, and its SHA-256.", wanted.option)
    os.makedirs(os.path.dirname(wanted.path), mode=0o755, exist_ok=True)
    fresh = f"{wanted.path}.new"
    try:
        shutil.copyfile(wanted.given, fresh)
        _require_digest(wanted, fresh)
        os.chmod(fresh, MODE)
        if os.path.isfile(wanted.path):
            shutil.copy2(wanted.path, wanted.former)
        os.replace(fresh, wanted.path)
    finally:
        if os.path.exists(fresh):
            os.unlink(fresh)


def forget_former(folder: str = FOLDER) -> None:
    """Remove the programs that were kept until the server was well."""
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        if name.endswith(".former"):
            os.unlink(f"{folder}/{name}")


def put_back(path: str) -> None:
    """Let a program be what it was before, if that was kept."""
    if os.path.exists(f"{path}.former"):
        os.replace(f"{path}.former", path)
