# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which databases the components of a platform use, and which they are to use: out of the options and their own settings. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple
from urllib.parse import unquote, urlsplit

from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import (
    Settings,
    configured,
    containers_of,
    present,
    settings_of,
    text_in,
)
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Site, Wanted
from ansible_collections.paas.hardening.plugins.module_utils._controls.credentials import read_file
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, NotFound, Refused
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import Component, Database

# The field of Way's vocabulary that holds a whole URL.
_URL = "url"


class Relocation(NamedTuple):
    """One database that leaves the cluster: the component it belongs to, its name inside, and where it goes."""

    role: str
    source: str
    target: Server

    @property
    def place(self) -> str:
        return f"{self.target.address.lower()}/{self.target.database}"


def relocations(site: Site, params: Mapping[str, Any], facts: Database, settings: Settings, secret: Optional[Mapping[str, Any]]) -> Tuple[Relocation, ...]:
    """Return the databases and the servers that the options describe; what they do not say of role and names is as it is now. Raises Invalid, NotFound."""
    user, password = _login(facts, settings, secret)
    given = read_file(params, "role_password")
    role = params.get("role") or user
    if role != user and not given:
        raise Invalid(f"role is {role}, but no password is given.", "Give role_password or role_password_file.", subject="role_password")
    _check_ssl_mode(site, params, facts)

    def server(name: str) -> Server:
        return Server(params["server"], role, name, given or password, params["port"], params["sslmode"], params.get("ca_file") or "")

    names = {str(component): str(name) for component, name in (params.get("names") or {}).items()}
    if not facts.of_its_own:
        if names:
            raise Invalid(f"names is given, but {site.platform.title} has one database for all components.", "Give name.", subject="names")
        # The bundled database is called like its role; of one outside the Secret tells the name.
        known = text_in(secret or {}, facts.name_key) or user
        return (Relocation(facts.users[0].role, user, server(params.get("name") or known)),)
    if params.get("name"):
        raise Invalid(f"name is given, but {site.platform.title} has a database for each component.", "Give names.", subject="name")
    roles = [component.role for component in facts.users]
    unknown = sorted(set(names) - set(roles))
    if unknown:
        raise Invalid(f"names has {', '.join(unknown)}.", f"The platform has databases for {', '.join(roles)}.", subject="names")
    # A component that the platform does without needs no database.
    chosen = {user.role: names.get(user.role, user.role) for user in present(facts, settings)}
    if len(set(chosen.values())) < len(chosen):
        raise Invalid("names gives one database to two components.", "Each needs one of its own.", subject="names")
    return tuple(Relocation(component, component, server(name)) for component, name in chosen.items())


def _check_ssl_mode(site: Site, params: Mapping[str, Any], facts: Database) -> None:
    mode = for_pods(params["sslmode"])
    if mode not in facts.ssl_modes:
        raise Invalid(
            f"sslmode is {mode}, which not every component of {site.platform.title} knows.", f"Give one of {', '.join(facts.ssl_modes)}.", subject="sslmode"
        )


def for_pods(sslmode: str) -> str:
    """Return the mode for the platform's own drivers, whose pods have no certificate to verify with."""
    return "require" if sslmode.startswith("verify") else sslmode


def _login(facts: Database, settings: Settings, secret: Optional[Mapping[str, Any]]) -> Tuple[str, str]:
    """Return role and password as the platform has them now: those of the bundled database, or, where that is gone, of the one in use."""
    if secret is not None:
        user, password = (text_in(secret, key) or "" for key in facts.user_keys)
        return user, password
    for component in present(facts, settings):
        for text in _urls(facts, component, settings):
            if not _is_inside(facts, text):
                found = Server.from_url(text)
                return found.user, found.password
    raise NotFound(f"Secret {facts.bundled_secret} does not exist.", "Is the platform complete? Run workflow_info.", subject=facts.bundled_secret)


def fields_of(params: Mapping[str, Any], facts: Database, moved: Sequence[Relocation]) -> Dict[str, str]:
    """Return the settings that lead there, by the names of Way."""
    if not facts.of_its_own:
        target = moved[0].target
        fields = {"host": target.host, "port": str(target.port), "name": target.database, "user": target.user, "password": target.password}
        return fields if target.sslmode == "prefer" else {**fields, "sslmode": for_pods(target.sslmode)}
    fields = {}
    for entry in moved:
        inside = replace(entry.target, sslmode=for_pods(entry.target.sslmode), ca_file="")
        fields[f"{_URL}.{entry.role}"] = inside.url()
        fields[f"replica_url.{entry.role}"] = replace(inside, host=params.get("replica_server") or inside.host).url()
    return fields


def arrived(facts: Database, settings: Settings, wanted: Sequence[Wanted], moved: Sequence[Relocation]) -> Dict[str, bool]:
    """Tell of each component whether all of it uses the wanted database; other credentials for it are mended, and nothing has to be moved for them.

    Raises Refused when a component uses neither that nor the bundled one: what it has written there would be left behind.
    """
    if not facts.of_its_own:
        there = configured(facts, settings, wanted)
        return {facts.users[0].role: all(there.values())}
    found = {}
    for entry in moved:
        component = component_of(facts, entry.role)
        urls = _urls(facts, component, settings)
        places = {text: _place(text) for text in urls}
        elsewhere = [place for text, place in places.items() if not _is_inside(facts, text) and place != entry.place]
        if elsewhere:
            raise Refused(
                f"{component.workloads[0].name} uses a database that is neither the bundled one nor the wanted one: {elsewhere[0]}.",
                "Moves from one server outside to another are not made yet: move that database by hand, then set the options to its new place.",
                subject=component.workloads[0].name,
            )
        found[component.role] = bool(places) and all(place == entry.place for place in places.values())
    return found


def begun(facts: Database, settings: Settings, entry: Relocation) -> bool:
    """Tell whether a part of a component uses the wanted database already, although not all of it does."""
    return facts.of_its_own and any(_place(text) == entry.place for text in _urls(facts, component_of(facts, entry.role), settings))


def component_of(facts: Database, role: str) -> Component:
    """Return the component of a role."""
    return next(user for user in facts.users if user.role == role)


def remembers(facts: Database, job: Mapping[str, Any]) -> bool:
    """Tell whether a Job still names the bundled database."""
    return any(facts.bundled.name in str(entry.get("value", "")) for _path, container in containers_of(job) for entry in container.get("env") or ())


def _urls(facts: Database, component: Component, settings: Settings) -> Set[str]:
    """Return the URLs that a component's workloads have, as far as they can be read."""
    variable, key = next((entry.variable, entry.secret_key) for entry in settings_of(component, facts.way) if entry.field.partition(".")[0] == _URL)
    found: List[Optional[str]] = []
    for workload in component.workloads:
        for _path, container in containers_of(settings.workloads.get((workload.kind, workload.name)) or {"kind": workload.kind}):
            for entry in container.get("env") or ():
                if entry["name"] == variable:
                    reference = (entry.get("valueFrom") or {}).get("secretKeyRef")
                    found.append(text_in(settings.secrets.get(component.secret) or {}, key) if reference else entry.get("value"))
    return {text for text in found if text}


def _is_inside(facts: Database, url: str) -> bool:
    try:
        return (urlsplit(url).hostname or "").partition(".")[0] == facts.bundled.name
    except ValueError:
        return False


def _place(url: str) -> str:
    """Return server and database of a URL, without its credentials and options."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 5432
    except ValueError:
        return "a URL that cannot be read"
    return f"{f'[{host}]' if ':' in host else host}:{port}/{unquote(parts.path[1:])}"
