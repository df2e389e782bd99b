# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the guard in the cluster runs: it waits until a run is no longer heard of, and takes back what that run has noted down.

Before that it tries the way to the new server: it is a pod like those that will need it.
Its text runs in an image of the platform, the oldest of which has Python 3.5: nothing here may be newer, or be from outside of the standard library.
"""

from __future__ import annotations

import base64
import functools
import http.client
import json
import os
import socket
import ssl
import sys
import time
from typing import Any, Callable, Dict, Optional, Sequence, Tuple

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
# The Secret in which the run and the guard speak to each other: who holds the move, how far it is, the sign of life, and whether somebody watches.
HOLDER, PHASE, BEAT, WATCH = "holder", "phase", "beat", "watch"
ARMED, COMMITTED, DONE = "armed", "committed", "done"
GUARD = "guard"
# What stands for a guard on watch; anything else in its place says why it is none.
WATCHING = "yes"
UNDO, STATEMENTS = "undo", "statements"
MERGE = "application/merge-patch+json"
STATEMENTS_FILE = "/guard/statements.sql"
LOOK, TIMEOUT = 2.0, 10
# Seconds that a way has to be open in; the network of a pod may need a moment.
WAY = 15.0


class Server:
    """The API server as a pod sees it."""

    def __init__(self) -> None:
        self.context = ssl.create_default_context(cafile=os.path.join(ACCOUNT, "ca.crt"))
        self.address = os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"])

    def ask(self, method: str, path: str, body: object = None, kind: str = MERGE) -> Tuple[int, Any]:
        """Status and document of one answer. Raises OSError, HTTPException or ValueError when there is none."""
        with open(os.path.join(ACCOUNT, "token")) as file:
            headers = {"Authorization": "Bearer " + file.read().strip(), "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = kind
        connection = http.client.HTTPSConnection(*self.address, context=self.context, timeout=TIMEOUT)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read().decode())
        finally:
            connection.close()


class Move:
    """The Secret of a move that somebody has begun."""

    def __init__(self, server: Server, path: str, uid: str) -> None:
        self.server = server
        self.path = path
        self.uid = uid
        self.fields = {}  # type: Dict[str, str]
        self.version = ""

    def look(self) -> bool:
        """Read it; False when it is gone, which means that there is nothing to guard. Raises OSError while the server does not answer."""
        status, document = self.server.ask("GET", self.path)
        if status == 404 or (status == 200 and document["metadata"]["uid"] != self.uid):
            return False
        if status != 200:
            raise OSError(status)
        self.fields = {key: base64.b64decode(text).decode() for key, text in (document.get("data") or {}).items()}
        self.version = document["metadata"]["resourceVersion"]
        return True

    def write(self, **fields: str) -> bool:
        """Write fields, unless somebody else has written since we looked."""
        data = {key: base64.b64encode(text.encode()).decode() for key, text in fields.items()}
        status, _document = self.server.ask("PATCH", self.path, {"metadata": {"resourceVersion": self.version}, "data": data})
        return bool(status == 200)


def obstacle(addresses: Sequence[str], seconds: float = WAY, pause: float = LOOK) -> str:
    """Say what keeps a pod from one of these addresses (host:port), nothing when it can connect to each."""
    for address in addresses:
        host, _colon, port = address.rpartition(":")
        until = time.monotonic() + seconds
        while True:
            try:
                socket.create_connection((host.strip("[]"), int(port)), max(1.0, until - time.monotonic())).close()
                break
            except OSError as error:
                if time.monotonic() + pause > until:
                    return " ".join([address + ":", str(error)])
            time.sleep(pause)
    return ""


def wait(move: Move, seconds: float, pause: float = LOOK, trouble: Callable[[], str] = str) -> bool:
    """Wait until the move is ours: its holder gave no sign of life for so long, while the server could be asked. False when there is nothing to do.

    ``trouble`` says what speaks against the move before anything stands still.
    """
    beat, said, since = "", "", time.monotonic()
    while True:
        try:
            if not move.look() or move.fields[PHASE] == DONE:
                return False
            if move.fields[HOLDER] == GUARD:
                return True
            now = time.monotonic()
            if WATCH not in move.fields and not said:
                said = trouble() or WATCHING
                # What was read before that is old, and nothing can be written on top of it.
                continue
            if WATCH not in move.fields:
                move.write(**{WATCH: said})
            elif move.fields[BEAT] != beat:
                beat, since = move.fields[BEAT], now
            elif now - since > seconds and move.write(**{HOLDER: GUARD}):
                say("nothing was heard of the run for", seconds, "s")
                return True
        except (OSError, ValueError, http.client.HTTPException) as error:
            # Whoever cannot be heard is not silent: the time begins anew.
            beat = ""
            say("the API server does not answer:", repr(error))
        time.sleep(pause)


def take_back(move: Move, pause: float = LOOK) -> None:
    """Let the platform go on: from where it was, or, once the move was through, from where it is now."""
    if not persistently(move.look, pause) or move.fields[HOLDER] != GUARD or move.fields[PHASE] == DONE:
        return
    phase = move.fields[PHASE]
    # The settings first, the newest before the others; what stands still was noted first, and goes on last.
    for entry in reversed(json.loads(move.fields.get(UNDO, "[]"))):
        if entry["note"] or phase == ARMED:
            persistently(functools.partial(undo, move.server, entry), pause)
            say("done:", entry["path"])
    persistently(lambda: finish(move), pause)
    say("the platform is where it was" if phase == ARMED else "the platform goes on from where it is")


def undo(server: Server, entry: Dict[str, Any]) -> Optional[bool]:
    """Send one request that was noted down. What stood still goes on only if the note on it says that it still does. None: try again."""
    if entry["note"]:
        status, document = server.ask("GET", entry["path"])
        if status == 404:
            return True
        if status != 200:
            return None
        if entry["note"] not in (document["metadata"].get("annotations") or {}):
            return True
    status, _document = server.ask("PATCH", entry["path"], entry["body"], entry["type"])
    return True if status in (200, 404) else None


def finish(move: Move) -> Optional[bool]:
    """Say in the Secret that it is over. None: try again."""
    return True if not move.look() or move.write(**{PHASE: DONE}) else None


def persistently(act: Callable[[], Optional[bool]], pause: float) -> bool:
    """Call until there is an answer. The server may be away for long; nobody else takes care of the platform."""
    while True:
        try:
            result = act()
            if result is not None:
                return result
            say("not yet")
        except (OSError, ValueError, http.client.HTTPException) as error:
            say("the API server does not answer:", repr(error))
        time.sleep(pause)


def say(*words: object) -> None:
    """Write a line into the pod's log."""
    sys.stdout.write(" ".join([time.strftime("%H:%M:%S", time.gmtime())] + [str(word) for word in words]) + "\n")
    sys.stdout.flush()


def main(stage: str, path: str, uid: str, seconds: str, *ways: str) -> None:
    """Do one stage: each is a container of the pod, one after the other."""
    move = Move(Server(), path, uid)
    if stage == "wait":
        if wait(move, float(seconds), trouble=functools.partial(obstacle, ways)) and move.fields[PHASE] == ARMED and STATEMENTS in move.fields:
            with open(STATEMENTS_FILE, "w") as file:
                file.write(move.fields[STATEMENTS])
    else:
        take_back(move)


if __name__ == "__main__":
    main(*sys.argv[1:])
