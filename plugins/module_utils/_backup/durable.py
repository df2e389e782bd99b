# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are still there after a power cut: written whole, flushed, renamed, and their folders flushed, too."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from contextlib import contextmanager
from typing import Callable, Iterator, List, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import NotProven, of_system

# Only we may read what is in a backup: it holds every Secret of a cluster.
FILE_MODE, FOLDER_MODE = 0o600, 0o700
_CHUNK = 1 << 20


@contextmanager
def told(what: str, path: str) -> Iterator[None]:
    """Turn an error of the system into a failure that names what was done, the path, and the cause. Raises Forbidden or Unavailable."""
    try:
        yield
    except OSError as error:
        raise of_system(error, what, path) from None


def make_folder(path: str) -> None:
    """Make a folder that only we may enter; one that is there already is left as it is."""
    with told("made", path):
        try:
            os.mkdir(path, FOLDER_MODE)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                raise
            return
        flush_folder(os.path.dirname(path))


def flush_folder(path: str) -> None:
    """Make the names in a folder survive a power cut."""
    _flush(path, os.O_RDONLY | os.O_DIRECTORY)


def _flush(path: str, flags: int) -> None:
    with told("flushed to disk", path):
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_file(path: str, content: bytes) -> None:
    """Write a new file, and flush it. Its name survives a power cut once its folder is flushed."""
    with write_pieces(path) as write:
        write(content)


@contextmanager
def write_pieces(path: str) -> Iterator[Callable[[bytes], None]]:
    """Do the same with content that comes in pieces: each is given to what is yielded. What was begun stays when that fails."""
    with told("written", path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)

    def write(content: bytes) -> None:
        with told("written", path):
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(descriptor, rest) :]

    try:
        yield write
        with told("written", path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def move(source: str, target: str) -> None:
    """Give a file or folder another name in one step that a power cut leaves done or undone."""
    with told("moved", source):
        os.rename(source, target)
    flush_folder(os.path.dirname(target))
    if os.path.dirname(source) != os.path.dirname(target):
        flush_folder(os.path.dirname(source))


def files_below(folder: str) -> List[Tuple[str, int]]:
    """Return the path, relative to the folder, and the size of every file below it, sorted. Raises NotProven for anything that is neither file nor folder."""
    found: List[Tuple[str, int]] = []
    with told("listed", folder):
        left = [""]
        while left:
            here = left.pop()
            with os.scandir(os.path.join(folder, here)) as entries:
                for entry in entries:
                    path = os.path.join(here, entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        left.append(path)
                    elif entry.is_file(follow_symlinks=False):
                        found.append((path, entry.stat(follow_symlinks=False).st_size))
                    else:
                        raise NotProven(f"{os.path.join(folder, path)} is neither a file nor a folder.", "Nothing but files belongs there.", path)
    return sorted(found)


def flush_tree(folder: str) -> None:
    """Make everything below a folder survive a power cut: files first, then the folders that name them."""
    for path, _size in files_below(folder):
        _flush(os.path.join(folder, path), os.O_RDONLY)
    with told("flushed to disk", folder):
        for here, _folders, _files in os.walk(folder, topdown=False):
            flush_folder(here)


def digest_of(path: str) -> str:
    """Return the SHA-256 of a file, in hexadecimal, in constant memory. A link is not followed."""
    summed = hashlib.sha256()
    with told("read", path):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            while True:
                data = os.read(descriptor, _CHUNK)
                if not data:
                    return summed.hexdigest()
                summed.update(data)
        finally:
            os.close(descriptor)


def remove_tree(folder: str) -> None:
    """Remove a folder and everything below it. Links are removed, never followed; a folder that is not there is no error."""
    with told("removed", folder):
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            return


def free_bytes(folder: str) -> int:
    """Return the bytes free where a folder is, or will be."""
    place = os.path.abspath(folder)
    tried: List[str] = []
    while not os.path.isdir(place) and place not in tried:
        tried.append(place)
        place = os.path.dirname(place)
    with told("looked at", place):
        about = os.statvfs(place)
    return about.f_bavail * about.f_frsize
