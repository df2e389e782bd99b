# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways in which work can fail, each with a hint that says what to do. Translated to a module failure in one place (run.py)."""

from __future__ import annotations

import errno
from typing import Any, Dict, Optional

# What the machine that we run on may say no to, and what to do about it.
_OF_SYSTEM = {
    errno.ENOSPC: "Make room there, or give another folder; what was there before is untouched.",
    errno.EDQUOT: "Raise the quota, or give another folder; what was there before is untouched.",
    errno.EROFS: "The file system is mounted read-only: look at the kernel's log for the reason.",
    errno.EIO: "The disk cannot be trusted: look at the kernel's log, and copy away what is on it.",
    errno.EMFILE: "Raise the limit of open files.",
    errno.ENFILE: "Raise the limit of open files.",
    errno.EACCES: "Run as a user who may, or correct owner and mode.",
    errno.EPERM: "Run as a user who may, or correct owner and mode.",
}


class Failure(Exception):
    """Work could not be done.

    ``message`` says what happened, ``hint`` what to do about it, ``subject`` which object or option it is about, and ``status`` the HTTP status
    where there was one. No text of an API error body may ever be put into these: it can echo a whole live object.
    """

    reason = "Failed"

    def __init__(self, message: str, hint: str = "", subject: str = "", status: Optional[int] = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.subject = subject
        self.status = status

    def as_data(self) -> Dict[str, Any]:
        return {"reason": self.reason, "code": self.status, "object": self.subject, "hint": self.hint}

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class NotFound(Failure):
    """The object, namespace or kind does not exist."""

    reason = "NotFound"


class Forbidden(Failure):
    """The identity has no right to do this."""

    reason = "Forbidden"


class Unauthorized(Failure):
    """The server does not accept the credentials."""

    reason = "Unauthorized"


class Conflict(Failure):
    """Somebody else wrote the object between our look and our write, or another field manager owns the field."""

    reason = "Conflict"


class Invalid(Failure):
    """An option, or an object sent to the server, has a value that cannot be."""

    reason = "Invalid"


class Refused(Failure):
    """A precondition that makes the change safe does not hold, or a policy of the cluster (admission webhook, quota) says no."""

    reason = "Refused"


class Unavailable(Failure):
    """The server cannot be reached or cannot answer now. ``retry_after`` is the number of seconds it asked us to wait."""

    reason = "Unavailable"

    def __init__(self, message: str, hint: str = "", subject: str = "", status: Optional[int] = None, retry_after: Optional[float] = None) -> None:
        super().__init__(message, hint, subject, status)
        self.retry_after = retry_after


class TimedOut(Failure):
    """It did not happen within the given time."""

    reason = "TimedOut"


class RolloutFailed(Failure):
    """A workload will not become ready by waiting longer."""

    reason = "RolloutFailed"


class NotProven(Failure):
    """The setting was made, but the effect was not seen, or the opposite was."""

    reason = "NotProven"


class MissingDependency(Failure):
    """A Python package is not installed."""

    reason = "MissingDependency"


def is_of_system(error: BaseException) -> bool:
    """Whether an error is a no of the machine that we run on: full, read-only, not allowed. Any other would be a defect of ours."""
    return isinstance(error, OSError) and error.errno in _OF_SYSTEM


def of_system(error: OSError, done: str, path: str) -> Failure:
    """Return the failure that an error of the system is, Forbidden or Unavailable: what cannot be ``done`` with the path, the cause and the remedy."""
    kind = Forbidden if error.errno in (errno.EACCES, errno.EPERM) else Unavailable
    hint = _OF_SYSTEM.get(error.errno or 0, "Look at the file system, and run again.")
    return kind(f"{path} cannot be {done}: {error.strerror or error}.", hint, path)
