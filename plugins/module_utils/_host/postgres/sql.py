# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to the server that we are on, by psql, over the local socket, as the server's own account. Statements go by standard input only."""

from __future__ import annotations

import json
import re
from typing import Any, Callable, List, Sequence

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._core.redact import scrub
from ansible_collections.paas.hardening.plugins.module_utils._host.command import Ended, ask
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.layout import ACCOUNT, HOME, PORT, SOCKETS, Layout

# Nothing of what is read here may come from the folder that we were started in, which the account cannot enter.
_AS_ACCOUNT = ("env", "--chdir=/", f"HOME={HOME}", "setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--init-groups", "--")
_MESSAGE = re.compile(r"(?:ERROR|FATAL|PANIC|error):\s*(.*)")
# The server writes no statement of ours down, nor one that fails: a verifier is no password, but nobody needs it in a log.
_QUIET = (
    "SET log_statement = 'none'; SET log_min_duration_statement = -1; SET log_min_error_statement = 'panic';\n"
    "SET client_min_messages = 'warning'; SET statement_timeout = '{seconds}s'; SET lock_timeout = '20s';\n"
    # Who is to have a commit before it counts may be what these statements are about to let in.
    "SET synchronous_commit = 'local';\n"
)
# Of a statement, and what psql may take longer.
_SECONDS = 120.0
_MARGIN = 30.0


def as_account(words: Sequence[str], stdin: str = "", seconds: float = 60) -> Ended:
    """Run a program as the server's account and return how it ended."""
    return ask([*_AS_ACCOUNT, *words], stdin, seconds)


class Database:
    """One database of the server on this host."""

    def __init__(self, layout: Layout, name: str = "postgres", start: Callable[[Sequence[str], str, float], Ended] = as_account) -> None:
        """``start`` runs a program as the server's account, as ``as_account`` does."""
        self._layout = layout
        self._name = name
        self._start = start

    def run(self, text: str, seconds: float = _SECONDS) -> str:
        """Carry the statements out, and stop at the first that fails. Return what they printed. Raises Unavailable when there is no server, and Failure."""
        escaped = self._name.replace("\\", "\\\\").replace("'", "\\'")
        options = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=terse", "-h", SOCKETS, "-p", str(PORT)]
        ended = self._start(
            [self._layout.program("psql"), *options, "-d", f"dbname='{escaped}'", "-f", "-"], _QUIET.format(seconds=round(seconds)) + text, seconds + _MARGIN
        )
        if ended.status == 0:
            return ended.output
        said = "; ".join(_MESSAGE.findall(ended.complaint)) or f"psql ended with {ended.status}"
        if ended.status == 2:
            raise Unavailable(f"The server does not answer: {scrub(said)}", f"Ask: journalctl -u {self._layout.unit}", subject=self._layout.unit)
        raise Failure(f"In database {self._name}: {scrub(said)}", "Nothing of this step was kept.", subject=self._name)

    def ask(self, text: str) -> Any:
        """Return what a query with one value of JSON answers. Raises as ``run``, and Failure for what is no JSON."""
        printed = self.run(text)
        try:
            return json.loads(printed)
        except ValueError:
            raise Failure("The server's answer is not understood.", "This is a defect of the collection; please report it.", subject=self._name) from None

    def change(self, statements: Sequence[str]) -> None:
        """Carry out all statements or none. Raises as ``run``."""
        self.run("BEGIN;\n" + "".join(f"{statement};\n" for statement in statements) + "COMMIT;\n")


def identifier(name: str) -> str:
    """Quote a name."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a value."""
    return "'" + text.replace("'", "''") + "'" if "\\" not in text else " E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def array(values: Sequence[str]) -> str:
    """Quote a list of values."""
    return f"ARRAY[{', '.join(map(literal, values))}]::text[]"


def names(values: Sequence[str]) -> str:
    """Quote a list of names."""
    quoted: List[str] = [identifier(value) for value in values]
    return ", ".join(quoted)
