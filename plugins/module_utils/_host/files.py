# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the host that we are on: read, and replaced whole, so that a crash leaves the old one or the new one."""

from __future__ import annotations

import os
import pwd
import stat
import tempfile
from typing import NamedTuple, Optional, Union


class Kept(NamedTuple):
    """What a file is like: its text (None when there is no such file), its mode, and its owner's name."""

    text: Optional[str]
    mode: int
    owner: str


def look(path: str) -> Kept:
    """Read a file; one that is not there has no text."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text, about = file.read(), os.fstat(file.fileno())
    except (FileNotFoundError, NotADirectoryError):
        return Kept(None, 0, "")
    return Kept(text, stat.S_IMODE(about.st_mode), owner_name(about.st_uid))


class Folder(NamedTuple):
    """A folder: whether it is there, its mode and its owner's name."""

    exists: bool
    mode: int
    owner: str


def look_at_folder(path: str) -> Folder:
    """Look at a folder."""
    try:
        about = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return Folder(False, 0, "")
    return Folder(True, stat.S_IMODE(about.st_mode), owner_name(about.st_uid))


def make_folder(path: str, mode: int, owner: str) -> None:
    """Make a folder if there is none, and give it, not what is in it, to an account."""
    os.makedirs(path, exist_ok=True)
    guard(path, mode, owner)


def make_way(path: str) -> None:
    """Make a folder, and what is missing above it, so that every account gets there, whatever the mask of this process."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        os.mkdir(folder)
        os.chmod(folder, 0o755)


def owner_name(number: int) -> str:
    """Return the name of an account, or its number when nobody has it."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def replace(path: str, text: str, mode: int, owner: str = "") -> None:
    """Put a whole new file in the old one's place, and on the disk. ``owner`` is the account whose file it becomes, with its group; root's when empty."""
    replace_bytes(path, text.encode("utf-8", "surrogateescape"), mode, owner)


def replace_bytes(path: str, content: bytes, mode: int, owner: str = "") -> None:
    """Do the same with bytes."""
    handle, fresh = tempfile.mkstemp(dir=os.path.dirname(path))
    try:
        with os.fdopen(handle, "wb") as file:
            own(file.fileno(), owner)
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except BaseException as error:
        if os.path.exists(fresh):
            os.unlink(fresh)
        if isinstance(error, OSError):
            # Whoever is told knows this name, and not that of the new file.
            raise OSError(error.errno, error.strerror, path) from None
        raise


def guard(path: str, mode: int, owner: str) -> None:
    """Give a file to an account, with this mode, and leave what is in it."""
    own(path, owner)
    os.chmod(path, mode)


def own(file: Union[int, str], owner: str) -> None:
    """Give a file to an account and its group; with an empty name it stays as it is."""
    if owner:
        account = pwd.getpwnam(owner)
        os.chown(file, account.pw_uid, account.pw_gid)
