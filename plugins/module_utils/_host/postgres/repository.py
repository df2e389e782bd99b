# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository of packages that the PostgreSQL project keeps (PGDG), or one like it: its source, its key, and that nothing else comes from it."""

from __future__ import annotations

import os
import re
import tempfile
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Invalid, Refused, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._host import files
from ansible_collections.paas.hardening.plugins.module_utils._host.command import ask
from ansible_collections.paas.hardening.plugins.module_utils._host.openpgp import fingerprints
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.layout import Layout

DISTRIBUTION, PGDG = "distribution", "pgdg"
SOURCE_FILE = "/etc/apt/sources.list.d/paas-hardening-pgdg.sources"
KEY_FILE = "/etc/apt/keyrings/paas-hardening-pgdg.asc"
PIN_FILE = "/etc/apt/preferences.d/paas-hardening-pgdg.pref"
# The distribution's own package brings the key of the project, which so is trusted as far as the distribution is.
KEY_PACKAGE = "postgresql-common"
_PROJECT = "https://apt.postgresql.org/pub/repos/apt"
_PROJECT_KEY = "/usr/share/postgresql-common/pgdg/apt.postgresql.org.asc"
_PROJECT_FINGERPRINT = "B97B0AFCAA1A47F044F244A07FCC7D46ACCC4CF8"
OPTIONS: Dict[str, Any] = {
    "url": {"type": "str", "default": _PROJECT},
    "suite": {"type": "str", "default": ""},
    "key": {"type": "str", "default": "", "no_log": False},
    "key_file": {"type": "str", "default": _PROJECT_KEY, "no_log": False},
    "fingerprint": {"type": "str", "default": _PROJECT_FINGERPRINT},
}
_HEADER = "# Managed by paas.hardening.postgres_server.\n"
_URL = re.compile(r"https?://[A-Za-z0-9.\-:\[\]]+(/[\w.~%+/-]*)?")
_SUITE = re.compile(r"[A-Za-z0-9][\w.-]*")
_MODE = 0o644
# What is wanted of it comes before the distribution's of the same name, and all else never.
_WANTED, _NEVER = 600, -1
# Seconds, on a slow line.
_PATIENCE = 600.0


class Repository(NamedTuple):
    """Where it is, and whose key signs it. ``key`` is armored text; without it ``key_file`` of the host has it. An empty suite is that of the release."""

    url: str
    suite: str
    key: str
    key_file: str
    fingerprint: str


class Seen(NamedTuple):
    """What the host has of it.

    ``key`` is the one to be trusted, None when its file is not on the host yet. ``trusted``, ``source`` and ``pins`` are what apt reads. ``foreign`` is the
    version of the server when it is installed and comes from elsewhere.
    """

    suite: str
    key: Optional[str]
    trusted: files.Kept
    source: files.Kept
    pins: files.Kept
    foreign: str


def repository_of(source: str, given: Mapping[str, Any], version: Optional[int]) -> Optional[Repository]:
    """Return the repository of an inventory, or None for the distribution's own packages. Raises Invalid."""
    if source != PGDG:
        return None
    if version is None:
        hint = "It has all majors side by side: give the one that is to stay (postgres_server_version)."
        raise Invalid("source is pgdg, and version is not given.", hint, "version")
    found = Repository(given["url"].rstrip("/"), given["suite"], given["key"].strip(), given["key_file"], "".join(given["fingerprint"].split()).upper())
    if not _URL.fullmatch(found.url):
        raise Invalid(f"repository.url is {found.url!r}.", "Give it as https://HOST/PATH.", "repository.url")
    if found.suite and not _SUITE.fullmatch(found.suite):
        raise Invalid(f"repository.suite is {found.suite!r}.", "Give a name such as bookworm-pgdg.", "repository.suite")
    if not re.fullmatch(r"[0-9A-F]{40}", found.fingerprint):
        raise Invalid(f"repository.fingerprint is {found.fingerprint!r}.", "Give the 40 digits that gpg --show-keys prints.", "repository.fingerprint")
    if found.key:
        _require_key(found, found.key)
    return found


def _require_key(repository: Repository, text: str) -> str:
    """Return the key when it is the one, and the only one, that was named. Raises Refused and Invalid."""
    there = fingerprints(text)
    if there != [repository.fingerprint]:
        told = ", ".join(there) or "of no key at all"
        raise Refused(f"The fingerprint of the repository's key is {told}, not {repository.fingerprint}.", "Get the key anew.", "repository.fingerprint")
    return text.strip() + "\n"


def look(repository: Repository, release: Mapping[str, str], layout: Layout) -> Seen:
    """Look at what the host has of it. Raises Refused for another key."""
    text = repository.key or files.look(repository.key_file).text
    if text is None and repository.key_file != _PROJECT_KEY:
        raise Invalid(f"repository.key_file is {repository.key_file}, and there is no such file.", "Give the key itself.", "repository.key_file")
    suite = repository.suite or f"{release.get('VERSION_CODENAME', '')}-pgdg"
    key = _require_key(repository, text) if text is not None else None
    source = files.look(SOURCE_FILE)
    version = _version(layout, repository.url) if source.text is not None and os.path.exists(layout.program("postgres")) else ""
    return Seen(suite, key, files.look(KEY_FILE), source, files.look(PIN_FILE), version)


def _version(layout: Layout, url: str) -> str:
    """Return the version of the server that is installed, when the repository does not have that one."""
    installed, own = "", False
    for line in ask(["apt-cache", "policy", layout.package]).output.splitlines():
        words = line.split()
        if words[:1] == ["***"]:
            installed = words[1]
        elif installed and len(words) == 2 and words[1].lstrip("-").isdigit():
            break
        elif installed and len(words) > 1 and words[1].rstrip("/") == url:
            own = True
    return "" if own else installed


def source_text(repository: Repository, suite: str) -> str:
    """Return apt's source, which trusts its own key and no other."""
    return f"{_HEADER}Types: deb\nURIs: {repository.url}\nSuites: {suite}\nComponents: main\nSigned-By: {KEY_FILE}\n"


def pins_text(suite: str, layout: Layout) -> str:
    """Return apt's preferences: the server, its extensions, and what these need of the project's, and nothing else."""
    names = [layout.package, f"{layout.package}-*", f"postgresql-client-{layout.major}", KEY_PACKAGE, "postgresql-client-common", "libpq5"]
    wanted = f"Package: {' '.join(names)}\nPin: release n={suite}\nPin-Priority: {_WANTED}\n"
    return f"{_HEADER}{wanted}\nPackage: *\nPin: release n={suite}\nPin-Priority: {_NEVER}\n"


def differences(repository: Repository, seen: Seen, layout: Layout) -> List[Tuple[str, str, str]]:
    """Return (file, what it is to hold, why) for each that is not as it should be, in the order in which they are written. Pure."""
    source, pins = source_text(repository, seen.suite), pins_text(seen.suite, layout)
    found = []
    if seen.key is None or seen.trusted.text != seen.key or seen.trusted.mode & 0o022:
        found.append((KEY_FILE, f"the key {repository.fingerprint}", "it signs the packages"))
    if seen.pins.text != pins or seen.pins.mode & 0o022:
        found.append((PIN_FILE, "the server, and what it needs; nothing else", "the repository has more than PostgreSQL"))
    if seen.source.text != source or seen.source.mode & 0o022:
        found.append((SOURCE_FILE, f"{repository.url} {seen.suite}", "the server comes from there"))
    return found


def write(repository: Repository, path: str, release: Mapping[str, str], layout: Layout) -> None:
    """Write one of the files; with the source, ask the repository for its packages. Raises Refused, and Failure, with the former source back in its place."""
    now = look(repository, release, layout)
    if path == KEY_FILE:
        if now.key is None:
            raise Refused(f"There is no {repository.key_file}.", "Give the key itself as repository.key.", "repository.key_file")
        os.makedirs(os.path.dirname(KEY_FILE), mode=0o755, exist_ok=True)
        files.replace(KEY_FILE, now.key, _MODE)
        return
    if path == PIN_FILE:
        files.replace(PIN_FILE, pins_text(now.suite, layout), _MODE)
        return
    files.replace(SOURCE_FILE, source_text(repository, now.suite), _MODE)
    try:
        _ask_it(repository, now.suite)
    except Failure:
        if now.source.text is None:
            os.unlink(SOURCE_FILE)
        else:
            files.replace(SOURCE_FILE, now.source.text, _MODE)
        raise


def _ask_it(repository: Repository, suite: str) -> None:
    """Fetch the lists of this repository alone, once it is seen that its pins are in force. Raises Unavailable and Refused."""
    # First beside those that are in use: apt would hold what a refused repository calls itself against what it is called once it is mended.
    with tempfile.TemporaryDirectory(prefix="paas-hardening-pgdg.") as lists:
        # apt fetches under an account of its own.
        os.chmod(lists, 0o755)
        beside = ["-o", f"Dir::State::Lists={lists}", "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache="]
        _fetch(beside)
        lines = (line.split() for line in ask(["apt-cache", *beside, "policy"]).output.splitlines())
        priorities = {words[0] for words in lines if len(words) > 2 and words[1].rstrip("/") == repository.url and words[2].partition("/")[0] == suite}
    if priorities != {str(_NEVER)}:
        hint = "It calls its suite otherwise than repository.suite: look into its Release file."
        raise Refused(f"What the repository {repository.url} has besides PostgreSQL cannot be kept out.", hint, "repository.suite")
    _fetch([])


def _fetch(more: List[str]) -> None:
    words = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", "-o", "APT::Update::Error-Mode=any", "-o", f"Dir::Etc::SourceList={SOURCE_FILE}"]
    ended = ask([*words, "-o", "Dir::Etc::SourceParts=-", "-o", "APT::Get::List-Cleanup=0", *more, "update"], seconds=_PATIENCE)
    if ended.status:
        said = ended.complaint.strip()[-500:]
        raise Unavailable(f"apt does not take the repository: {said}", "Can this host reach it, and is it signed by that key?", subject="repository.url")
