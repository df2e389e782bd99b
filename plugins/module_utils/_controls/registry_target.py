# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image registry that a platform is to use: out of the module's options, files and Secrets, checked before anything is touched."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, Dict, Mapping, NamedTuple, Optional

from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import read_secret, text_in
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Site
from ansible_collections.paas.hardening.plugins.module_utils._controls.credentials import read_file
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host.registries.client import DOCKER_HUB, Account, Registry, check_path, check_server
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import ImageLocation, ImageRegistry

# Options that carry a credential; each has a twin that names a file with it.
CREDENTIALS = ("account_password", "access_key", "secret_key", "service_account")
_PLAIN = ("server", "organization", "account", "region")
_HUB_NAMES = (DOCKER_HUB, "index.docker.io", "registry-1.docker.io", "hub.docker.com")
# How a log-in to the hub is called in pull Secrets.
HUB_LOGIN = "https://index.docker.io/v1/"

ARGUMENTS: Dict[str, Any] = {
    "location": {"type": "str", "choices": ["off-cluster", "ecr", "gcr"], "default": "off-cluster"},
    "scheme": {"type": "str", "choices": ["https", "http"], "default": "https"},
    "ca_file": {"type": "path"},
    "credentials_secret": {"type": "str", "no_log": False},
    **{name: {"type": "str", "no_log": False} for name in _PLAIN},
    **{name: {"type": "str", "no_log": True} for name in CREDENTIALS},
    **{f"{name}_file": {"type": "path", "no_log": False} for name in CREDENTIALS},
}


class Target(NamedTuple):
    """A place for images: what the platform's code calls it, its fields by the names of ImageLocation, and how we reach it, where that can be known."""

    location: ImageLocation
    fields: Mapping[str, str]
    registry: Optional[Registry]

    @property
    def place(self) -> str:
        """Its name for people."""
        return self.fields.get("server") or self.location.name

    @property
    def login(self) -> str:
        """What its log-in is called in a pull Secret."""
        return self.fields.get("hostname") or HUB_LOGIN

    @property
    def prefix(self) -> str:
        """What the names of its images begin with, as the builder makes them; nothing when that is not known."""
        named = any(setting.field == "server" for _name, keys in self.location.secrets for setting in keys)
        parts = [self.fields.get("server" if named else "hostname", ""), self.fields.get("organization", "")]
        return "/".join([*(part for part in parts if part), ""]) if parts[1] else ""


def target_of(site: Site, facts: ImageRegistry, params: Mapping[str, Any]) -> Target:
    """Return the registry that the options describe. Raises Invalid that names the option, and NotFound for a credentials Secret that does not exist."""
    location = _location(site, facts, params["location"])
    for option, reason in location.refused.items():
        if params.get(option):
            raise Invalid(f"{option} is given, but images in {location.name} need none.", reason, option)
    given = {name: str(params[name]).rstrip("\r\n") for name in _PLAIN if params.get(name)}
    given.update(_credentials(site, location, params))
    for option in location.required:
        if not given.get(option):
            raise Invalid(f"{option} is missing: images in {location.name} need it.", _why(option), option)
    return _checked(location, given, params)


def live_target(location: ImageLocation, secrets: Mapping[str, Mapping[str, Any]], params: Mapping[str, Any]) -> Target:
    """Return the registry that the platform's Secrets name now. Where they lack anything it is one without fields, which nobody can reach.

    ``secrets`` are the Secrets of the platform by their names.
    """
    found = {}
    for name, keys in location.secrets:
        for setting in keys:
            text = text_in(secrets[name], setting.secret_key) if name in secrets else None
            if text is not None:
                found[setting.field] = text
    found.setdefault("server", found.get("hostname") or DOCKER_HUB)
    if any(not found.get(option) for option in location.required):
        return Target(location, {setting.field: "" for _name, keys in location.secrets for setting in keys}, None)
    return _checked(location, found, params)


def _checked(location: ImageLocation, given: Mapping[str, str], params: Mapping[str, Any]) -> Target:
    fields = {"nothing": "", **given}
    if "server" in location.required:
        if fields["server"] in _HUB_NAMES:
            fields["server"] = DOCKER_HUB
        check_server(fields["server"])
        # The code takes an empty host for the hub.
        fields["hostname"] = "" if fields["server"] == DOCKER_HUB else fields["server"]
        check_path(fields["organization"], "organization")
        if ":" in fields["account"]:
            raise Invalid("account has a colon in it, which parts it from the password.", "Give another account.", "account")
        who = Account(fields["account"], fields["account_password"])
        return Target(location, fields, Registry(fields["server"], who, params["scheme"], params.get("ca_file") or ""))
    if bool(fields.get("access_key")) != bool(fields.get("secret_key")):
        raise Invalid("access_key and secret_key go together.", "Give both, or none of them where the machines have the right themselves.", "access_key")
    if "service_account" in location.required:
        fields["service_account"] = _service_account(fields["service_account"])
    else:
        fields.setdefault("access_key", "")
        fields.setdefault("secret_key", "")
    return Target(location, fields, None)


def _location(site: Site, facts: ImageRegistry, name: str) -> ImageLocation:
    if name in facts.inert:
        raise Invalid(f"location is {name}, which {site.platform.title} cannot use.", facts.inert[name], subject="location")
    return next(location for location in facts.locations if location.name == name)


def _why(option: str) -> str:
    return {
        "server": "Give the host that names of images begin with, for example registry.example.com.",
        "organization": "Give the organization, project or path under which the account may push: images are called SERVER/ORGANIZATION/APP.",
        "region": "Give the region of the registry, for example eu-central-1.",
    }.get(option, f"Give {option}, {option}_file, or a Secret with it." if option in CREDENTIALS else f"Give {option}, or a Secret with it.")


def _credentials(site: Site, location: ImageLocation, params: Mapping[str, Any]) -> Dict[str, str]:
    """Return the credentials that are given: as an option, in a file, or in a Secret. Never with the end of a line, which components would take verbatim."""
    secret = read_secret(site, params, "account and account_password")
    keys = {setting.field: setting.secret_key for _name, settings in reversed(location.secrets) for setting in settings}
    found = {}
    for name in (*CREDENTIALS, "account"):
        text = read_file(params, name) if name in CREDENTIALS else params.get(name) or ""
        if not text and secret is not None:
            text = text_in(secret, name) or text_in(secret, keys.get(name, "")) or ""
        if text:
            found[name] = text.rstrip("\r\n")
    return found


def _service_account(text: str) -> str:
    """Return the key as JSON text, which is what the Secret has to hold; the chart's values have it in base64 already."""
    for form in (text, _decoded(text)):
        try:
            if isinstance(json.loads(form)["project_id"], str):
                return form
        except (ValueError, KeyError, TypeError):
            continue
    raise Invalid("service_account is no key of a service account: it has no project_id.", "Give the JSON file that Google made for it.", "service_account")


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
