# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""age: encrypts to public keys whose counterparts are not on this machine, and what of an encrypted file can be seen without them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import Dict, List, Sequence

from ansible_collections.paas.hardening.plugins.module_utils._backup.durable import told
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, MissingDependency, NotProven, TimedOut
from ansible_collections.paas.hardening.plugins.module_utils._core.redact import scrub
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.lifeline import tied

# One is lost with a house, and forgotten with a person.
FEWEST = 2
_INSTALL = "Install it (Debian: age), or give its path with secrets.age."
_RECIPIENT = re.compile(r"age1[0-9a-z]{20,2000}|ssh-(?:ed25519|rsa) [0-9A-Za-z+/=]{40,2000}(?: .{0,200})?")
_IDENTITY = re.compile(r"AGE-SECRET-KEY-|AGE-PLUGIN-|PRIVATE KEY")
_OLDEST = (1, 0)
_WRONG_KEY = "Is it the key of one of the recipients, and is the file whole?"
# The format: its first line, a line for each recipient, one with a sum, then a nonce and pieces with a sum of their own.
_FIRST, _STANZA, _SUM = b"age-encryption.org/v1", b"-> ", b"--- "
# A line for nobody, by which some programs keep others from relying on what they know.
_FILLING = b"-grease"
_NONCE, _PIECE, _TAG = 16, 64 << 10, 16
_LONGEST_HEADER = 1 << 20
_LONGEST_COMPLAINT = 300


@dataclass(frozen=True)
class Engine:
    """An age that is new enough. ``version`` is what it says of itself."""

    path: str
    version: str

    def encrypt(self, content: bytes, recipients: Sequence[str], target: str, deadline: Deadline) -> None:
        """Encrypt to all recipients, into a new file. The content goes through a pipe, and nowhere else. Raises Invalid for a recipient that is none."""
        _into([self.path, *_to(recipients)], target, content, deadline, "Look at secrets.recipients.")

    def encrypt_file(self, source: str, recipients: Sequence[str], target: str, deadline: Deadline) -> None:
        """Encrypt a file of any size to all recipients, into a new file. Raises Invalid for a recipient that is none."""
        _into([self.path, *_to(recipients), os.path.abspath(source)], target, b"", deadline, "Look at recipients.")

    def decrypt_file(self, source: str, identity: str, target: str, deadline: Deadline) -> None:
        """Decrypt a file of any size into a new file. Raises Invalid when the key opens it not; what is in the target then is worth nothing."""
        command = [self.path, "--decrypt", "--identity", os.path.abspath(identity), os.path.abspath(source)]
        _into(command, target, b"", deadline, _WRONG_KEY)

    def digest_inside(self, path: str, identity: str, deadline: Deadline) -> str:
        """Return the SHA-256 of what an encrypted file holds, which is in memory for a moment and nowhere else. Raises Invalid when the key opens it not."""
        return hashlib.sha256(self.content_inside(path, identity, deadline)).hexdigest()

    def content_inside(self, path: str, identity: str, deadline: Deadline) -> bytes:
        """Return what an encrypted file holds. Nothing of it may be shown. Raises Invalid when the key opens it not."""
        command = [self.path, "--decrypt", "--identity", os.path.abspath(identity), os.path.abspath(path)]
        return _finished(_start(command, subprocess.PIPE), b"", deadline, _WRONG_KEY)


def _to(recipients: Sequence[str]) -> List[str]:
    return [word for recipient in recipients for word in ("--recipient", recipient)]


def _into(command: List[str], target: str, content: bytes, deadline: Deadline, hint: str) -> None:
    """Run age with its output in a new file."""
    with told("written", target):
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        # Its output is a file of ours: what it is given as a path it would write with modes of its own.
        process = _start(command, descriptor)
    finally:
        os.close(descriptor)
    _finished(process, content, deadline, hint)


def _start(command: List[str], output: int) -> subprocess.Popen[bytes]:
    environment: Dict[str, str] = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "HOME": "/nonexistent"}
    try:
        return subprocess.Popen(tied(command), stdin=subprocess.PIPE, stdout=output, stderr=subprocess.PIPE, env=environment, cwd="/", start_new_session=True)
    except OSError as error:
        raise MissingDependency(f"{command[0]} cannot be started: {error.strerror}.", _INSTALL, "age") from None


def _finished(process: subprocess.Popen[bytes], content: bytes, deadline: Deadline, hint: str) -> bytes:
    """Give a program its input and return what it printed, if that was not sent elsewhere. Raises Invalid when it complains, TimedOut."""
    try:
        output, complaint = process.communicate(content, timeout=max(deadline.left, 0.1))
    except subprocess.TimeoutExpired:
        raise TimedOut(f"age did not end within {deadline.seconds:.0f} s.", "Give it more time.", "age") from None
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
    if process.returncode:
        said = scrub(complaint.decode("utf-8", "replace").strip().partition("\n")[0])[:_LONGEST_COMPLAINT]
        raise Invalid(f"age ended with status {process.returncode}: {said.rstrip('.')}.", hint, "age")
    return output or b""


def find(given: str = "") -> Engine:
    """Return the age to use: the given path, or the one in PATH. Raises MissingDependency, Invalid."""
    path = given or shutil.which("age")
    if not path:
        raise MissingDependency("age is not installed.", _INSTALL, "age")
    if not os.access(path, os.X_OK):
        raise Invalid(f"{path} is not a program.", _INSTALL, "secrets.age")
    try:
        said = subprocess.run([path, "--version"], capture_output=True, timeout=30, check=False, env={"LC_ALL": "C"}).stdout.decode("utf-8", "replace").strip()
    except (OSError, subprocess.TimeoutExpired):
        said = ""
    found = re.match(r"(?:age )?v?(\d+)\.(\d+)\S*", said)
    if not found or tuple(map(int, found.groups())) < _OLDEST:
        raise Invalid(f"{path} does not say that it is age {_OLDEST[0]}.{_OLDEST[1]} or newer.", _INSTALL, "secrets.age")
    return Engine(os.path.abspath(path), found.group(0))


def check_recipients(recipients: Sequence[str], option: str = "secrets.recipients") -> None:
    """Refuse recipients that are none, too few, or given twice. Raises Invalid, which never shows what may be a private key."""
    for number, recipient in enumerate(recipients, 1):
        if _IDENTITY.search(recipient):
            raise Invalid(f"Number {number} of {option} is secret.", "Give the public key: this one must not be on this machine.", option)
        if not _RECIPIENT.fullmatch(recipient):
            raise Invalid(f"Number {number} of {option} is no recipient of age.", "Give public keys: age1..., or ssh-ed25519 ...", option)
    different = {" ".join(recipient.split(" ")[:2]) for recipient in recipients}
    if len(different) < len(recipients):
        raise Invalid(f"{option} has one key twice.", "Give keys that are kept in different places.", option)
    if len(different) < FEWEST:
        raise Invalid(
            f"{option} has {len(different)}, fewer than {FEWEST}.",
            "Give one for those who run the platform, and one that is kept on paper: who loses the only key loses every point.",
            option,
        )


@dataclass(frozen=True)
class Seen:
    """What an encrypted file shows to who cannot read it: for how many it is, and how many bytes of content it holds."""

    recipients: int
    content: int


def look_at(path: str) -> Seen:
    """Read the header of a file and reckon what stands behind it. Raises NotProven for what is no whole file of age."""
    with told("read", path):
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            head = file.read(_LONGEST_HEADER)
    try:
        lines, at, stanzas = head.split(b"\n"), 0, 0
        if lines[0] != _FIRST:
            raise ValueError
        for line in lines:
            at += len(line) + 1
            stanzas += line.startswith(_STANZA) and _FILLING not in line
            if line.startswith(_SUM):
                break
        else:
            raise ValueError
        content = _content_of(size - at)
    except ValueError:
        raise NotProven(f"{path} is no whole file of age.", "age is not what it says, or the disk is full.", path) from None
    return Seen(stanzas, content)


def _content_of(payload: int) -> int:
    """Return how many bytes of content lie in so many of the encrypted part. Raises ValueError for a number that cannot be."""
    left = payload - _NONCE
    pieces = -(-left // (_PIECE + _TAG))
    content = left - pieces * _TAG
    if left < _TAG or content < 0 or (pieces > 1 and content <= (pieces - 1) * _PIECE):
        raise ValueError
    return content


def readable(path: str, values: Sequence[bytes]) -> int:
    """Return how many of these values can be read in an encrypted file, where none may."""
    with told("read", path), open(path, "rb") as file:
        content = file.read()
    return sum(value in content for value in values)
