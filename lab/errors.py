"""What can go wrong in the lab, always with the log to read or the command to run."""

from __future__ import annotations

from pathlib import Path


class LabError(Exception):
    """A step of the lab failed.

    ``log`` is the file that tells why; it becomes part of the message.
    """

    def __init__(self, message: str, log: Path | None = None) -> None:
        self.log = log
        super().__init__(f"{message}\n  read: {log}" if log else message)


class CommandFailed(LabError):
    """A command ended with a status other than 0; ``stderr`` is what it said."""

    def __init__(self, command: str, status: int, stderr: str) -> None:
        self.status = status
        self.stderr = stderr
        super().__init__(f"{command} failed ({status}): {stderr.strip()[-4000:]}")
