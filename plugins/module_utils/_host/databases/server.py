# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a PostgreSQL database is and how it is entered: one value, checked when it is made."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Dict, List
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
SCHEMES = ("postgres", "postgresql")
# Sessions with this name are ours: they are not writers, and what an interrupted run left behind is known by it.
APPLICATION = "paas.hardening"
_LONGEST_NAME = 63
# No file is there: what would be read from the home folder, or is missing, is meant to be.
NOWHERE = "/nonexistent"
# libpq takes a shorter time-out for this one.
_SHORTEST_TIMEOUT = 2


@dataclass(frozen=True)
class Server:
    """One database on one server, and the role that enters it.

    ``host`` is a name, an address, or the folder of a local socket. ``ca_file`` holds the certificates (PEM) that vouch for the server; ``sslmode`` has the
    meaning that libpq gives it. ``connect_timeout`` is in seconds. The password is in no text of this value. Raises Invalid, naming the field.
    """

    host: str
    user: str
    database: str
    password: str = field(default="", repr=False)
    port: int = 5432
    sslmode: str = "prefer"
    ca_file: str = ""
    connect_timeout: int = 10

    def __post_init__(self) -> None:
        for name in ("host", "user", "database"):
            value = getattr(self, name)
            if not value:
                raise Invalid(f"{name} is empty.", f"Give the {name} of the PostgreSQL server.", name)
            if any(ord(character) < 32 for character in value):
                raise Invalid(f"{name} has a control character in it.", "It often is a line break at the end of a file or of a Secret: remove it.", name)
        for name in ("user", "database"):
            if len(getattr(self, name).encode()) > _LONGEST_NAME:
                raise Invalid(f"{name} is longer than {_LONGEST_NAME} bytes.", "PostgreSQL cuts longer names off: give the name as the server knows it.", name)
        if "," in self.host:
            raise Invalid("host names several servers.", "Give one: data is moved to one server, and proved there.", "host")
        if any(character in self.password for character in "\r\n\0"):
            raise Invalid(
                "password has a line break in it.", "It often stands at the end of a file or of a Secret: remove it, or set another password.", "password"
            )
        if not 1 <= self.port <= 65535:
            raise Invalid(f"port is {self.port}.", "Give a number from 1 to 65535; PostgreSQL's own is 5432.", "port")
        if self.sslmode not in SSL_MODES:
            raise Invalid(f"sslmode is {self.sslmode}.", f"Give one of: {', '.join(SSL_MODES)}.", "sslmode")
        if self.sslmode.startswith("verify") and not self.ca_file:
            raise Invalid(f"sslmode {self.sslmode} needs a CA.", "Give ca_file: the certificates (PEM) that vouch for the server.", "ca_file")
        if self.ca_file and not os.path.isfile(self.ca_file):
            raise Invalid(f"ca_file {self.ca_file} is no file.", "Give a file with the certificates (PEM) that vouch for the server.", "ca_file")
        if self.connect_timeout < _SHORTEST_TIMEOUT:
            raise Invalid(f"connect_timeout is {self.connect_timeout}.", f"Give {_SHORTEST_TIMEOUT} seconds or more.", "connect_timeout")

    @property
    def local(self) -> bool:
        """Whether the server is entered through a socket in the file system."""
        return self.host.startswith("/")

    @property
    def address(self) -> str:
        """Where the server is, for messages: host and port, without role and password."""
        return f"{self.host}:{self.port}" if ":" not in self.host else f"[{self.host}]:{self.port}"

    def __str__(self) -> str:
        return f"database {self.database} on {self.address}"

    def environment(self, passfile: str) -> Dict[str, str]:
        """Return the PG* variables for the client programs. ``passfile`` is the file with the password.

        Nothing of the home folder of who runs this is used: a certificate or a service file there would change what sslmode means.
        """
        return {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGDATABASE": self.database,
            "PGPASSFILE": passfile,
            "PGSSLMODE": self.sslmode,
            "PGSSLROOTCERT": self.ca_file or f"{NOWHERE}/root.crt",
            "PGSSLCRL": f"{NOWHERE}/root.crl",
            "PGSSLCERT": f"{NOWHERE}/client.crt",
            "PGSSLKEY": f"{NOWHERE}/client.key",
            "PGSERVICEFILE": f"{NOWHERE}/services",
            "PGSYSCONFDIR": NOWHERE,
            # A ticket of the user who runs this must not decide as whom we come.
            "PGGSSENCMODE": "disable",
            "PGCONNECT_TIMEOUT": str(self.connect_timeout),
            "PGAPPNAME": APPLICATION,
        }

    def passfile_line(self) -> str:
        """Return the one line of the password file, nothing without a password; it fits any address: a forwarded port has another one than the server."""
        return "" if not self.password else "*:*:*:*:" + self.password.replace("\\", "\\\\").replace(":", "\\:") + "\n"

    def url(self, scheme: str = "postgres", ca_file: str = "") -> str:
        """Return the URL with everything percent-encoded, as dj-database-url reads it. It holds the password.

        ``ca_file`` is the path of the CA where the URL is used, which is another one in a pod. Raises Invalid for a scheme that PostgreSQL does not have.
        """
        if scheme not in SCHEMES:
            raise Invalid(f"scheme is {scheme}.", f"Give one of: {', '.join(SCHEMES)}.", "scheme")
        host = quote(self.host, safe="") if self.local else f"[{self.host}]" if ":" in self.host else quote(self.host, safe="")
        login = quote(self.user, safe="") + (f":{quote(self.password, safe='')}" if self.password else "")
        query = {"sslmode": self.sslmode} if self.sslmode != "prefer" else {}
        if ca_file:
            query["sslrootcert"] = ca_file
        text = f"{scheme}://{login}@{host}:{self.port}/{quote(self.database, safe='')}"
        return f"{text}?{urlencode(query, quote_via=quote)}" if query else text

    @classmethod
    def from_url(cls, url: str) -> Server:
        """Read a URL as libpq and dj-database-url do. Raises Invalid, which shows nothing of the URL; options that we do not honour are refused by name."""
        hint = "Give postgres://USER:PASSWORD@HOST:PORT/DATABASE, each part percent-encoded."
        try:
            parts = urlsplit(url)
            port = parts.port or 5432
        except ValueError:
            raise Invalid("The database URL cannot be read.", hint, "url") from None
        if parts.scheme not in SCHEMES or not parts.hostname or not parts.username:
            raise Invalid("The database URL has no scheme of PostgreSQL, no host or no user.", hint, "url")
        # .hostname is in small letters, which a folder of a socket is not.
        place = parts.netloc.rpartition("@")[2]
        host = place[1 : place.index("]")] if place.startswith("[") else unquote(place.partition(":")[0])
        options = dict(parse_qsl(parts.query))
        unknown = sorted(set(options) - {"sslmode", "sslrootcert", "connect_timeout"})
        if unknown:
            raise Invalid(
                f"The database URL has options that are not known here: {', '.join(unknown)}.", "Leave them out, or give the parts one by one.", "url"
            )
        timeout = options.get("connect_timeout", "10")
        if not timeout.isdigit():
            raise Invalid("connect_timeout in the database URL is no number.", "Give seconds.", "url")
        return cls(
            host=host,
            user=unquote(parts.username),
            database=unquote(parts.path[1:]),
            password=unquote(parts.password or ""),
            port=port,
            sslmode=options.get("sslmode", "prefer"),
            ca_file=options.get("sslrootcert", ""),
            connect_timeout=int(timeout),
        )


def version_name(version: int) -> str:
    """Return the major version as people write it: 15 for 150018, 9.6 for 90624."""
    return ".".join(map(str, version_major(version)))


def version_major(version: int) -> List[int]:
    """Return the major version as numbers that compare; before 10 it had two parts."""
    return [version // 10000] if version >= 100000 else [version // 10000, version // 100 % 100]
