"""The API server's audit log: what a user really sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WRITING = ("create", "update", "patch", "delete", "deletecollection")
_QUESTIONS = ("accessreviews", "rulesreviews", "tokenreviews")


@dataclass(frozen=True)
class Request:
    """One request: who, which verb, on what, with which answer. ``resource`` carries the group and the subresource: deployments.apps, pods/exec."""

    user: str
    verb: str
    resource: str
    namespace: str
    name: str
    dry: bool
    code: int

    @property
    def writes(self) -> bool:
        """Whether it stores something: a dry run does not, nor does a question about rights."""
        return self.verb in WRITING and not self.dry and not self.resource.partition(".")[0].endswith(_QUESTIONS)

    @property
    def stored(self) -> bool:
        """Whether it wrote, and the server accepted it: one that came after somebody else's write is refused with 409 and planned anew."""
        return self.writes and self.code < 300

    def __str__(self) -> str:
        return f"{self.verb} {self.resource} {self.namespace}/{self.name} -> {self.code}"


class AuditLog:
    """A place in the log, and what was answered since."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = path.stat().st_size

    def requests(self, *users: str) -> list[Request]:
        """Every request of the users that was answered since this object was made; of everybody without a name."""
        return [request for request in self._read() if not users or request.user in users]

    def writes(self, *users: str) -> list[Request]:
        return [request for request in self.requests(*users) if request.writes]

    def _read(self) -> Iterator[Request]:
        with self._path.open("rb") as log:
            log.seek(self._start)
            for line in log:
                # The server may be in the middle of a line.
                if line.endswith(b"\n"):
                    event = json.loads(line)
                    if event["stage"] == "ResponseComplete":
                        yield _request(event)


def _request(event: dict[str, Any]) -> Request:
    target = event.get("objectRef") or {}
    resource = target.get("resource") or event["requestURI"].partition("?")[0]
    if target.get("subresource"):
        resource += f"/{target['subresource']}"
    if target.get("apiGroup"):
        resource += f".{target['apiGroup']}"
    return Request(
        # Who acts for another is not the other.
        user=event["user"]["username"],
        verb=event["verb"],
        resource=resource,
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        dry="dryRun=All" in event["requestURI"],
        code=event.get("responseStatus", {}).get("code", 0),
    )
