# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The object store that a platform is to use: out of the module's options, files and Secrets, checked before anything is touched."""

from __future__ import annotations

from typing import Any, Dict, Mapping, NamedTuple, Tuple
from urllib.parse import urlsplit

from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import read_secret, text_in
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Site
from ansible_collections.paas.hardening.plugins.module_utils._controls.credentials import authority_file, read_file
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.store import Store
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import ObjectStorage, Way

# Options that carry a credential; each has a twin that names a file with it.
CREDENTIALS = ("access_key", "secret_key", "service_account", "account_key", "connection_string", "user_key")
_PLAIN = ("endpoint", "region", "account", "user", "auth_url", "tenant")
# Fields of the settings for which the store itself has none.
_NOT_OF_THE_STORE = ("connection_string",)

ARGUMENTS: Dict[str, Any] = {
    "provider": {"type": "str", "choices": ["s3", "gcs", "azure", "swift"], "default": "s3"},
    "buckets": {"type": "dict"},
    "credentials_secret": {"type": "str", "no_log": False},
    "ca_file": {"type": "path"},
    "ca_certificates": {"type": "str"},
    "auth_version": {"type": "int", "no_log": False},
    **{name: {"type": "str", "no_log": False} for name in _PLAIN},
    **{name: {"type": "str", "no_log": True} for name in CREDENTIALS},
    **{f"{name}_file": {"type": "path", "no_log": False} for name in CREDENTIALS},
}
ARGUMENTS["region"]["default"] = "us-east-1"


class Target(NamedTuple):
    """The store that the platform is to use: how its code reaches it, its fields by the names of Way, its buckets by role, and how we reach it."""

    way: Way
    fields: Mapping[str, str]
    buckets: Mapping[str, str]
    store: Store

    @property
    def addresses(self) -> Tuple[str, ...]:
        """Where the platform will have to connect to (host:port), as far as that is stated: a provider's own addresses are its code's business."""
        return (f"{self.fields['host']}:{self.fields['port']}",) if self.way.addressed else ()


def target_of(site: Site, params: Mapping[str, Any]) -> Target:
    """Return the store that the options describe. Raises Invalid that names the option, and NotFound for a credentials Secret that does not exist."""
    facts = site.platform.object_storage
    way = _way(site, facts, params)
    fields = {name: str(params[name]) for name in (*_PLAIN, "auth_version") if params.get(name)}
    if way.provider not in ("s3", "swift"):
        fields.pop("region", None)
    fields.update(_credentials(site, way, params))
    given: Dict[str, Any] = {name: value for name, value in fields.items() if name not in _NOT_OF_THE_STORE}
    if "user_key" in given:
        given["key"] = given.pop("user_key")
    given["auth_version"] = params.get("auth_version") or 0
    store = Store(way.provider, path_style=way.addressed, ca_file=authority_file(params), **given)
    buckets = _buckets(facts, way, params, store)
    fields.update({f"bucket.{role}": name for role, name in buckets.items()})
    fields.update(way.fixed)
    if way.addressed:
        fields.update(_address(way, fields))
    else:
        fields.pop("endpoint", None)
    return Target(way, fields, buckets, store)


def _way(site: Site, facts: ObjectStorage, params: Mapping[str, Any]) -> Way:
    provider, title = params["provider"], site.platform.title
    if provider in facts.inert:
        raise Invalid(f"provider is {provider}, which {title} cannot use.", facts.inert[provider], subject="provider")
    endpoint = params.get("endpoint")
    ways = [way for way in facts.ways if way.provider == provider]
    if provider != "s3" and endpoint:
        raise Invalid(f"endpoint is given, but a store of the provider {provider} has no address of its own.", "Leave endpoint out.", subject="endpoint")
    fitting = [way for way in ways if way.addressed == bool(endpoint)] or ([way for way in ways if way.addressed] if not endpoint else [])
    way = fitting[0]
    if way.addressed and not endpoint:
        raise Invalid(
            f"endpoint is missing: {title} has to be told the address of the store.", "Give its URL, for example https://s3.example.com.", subject="endpoint"
        )
    return way


def _credentials(site: Site, way: Way, params: Mapping[str, Any]) -> Dict[str, str]:
    """Return the credentials that are given: as an option, in a file, or in a Secret."""
    secret = read_secret(site, params, "access_key and secret_key")
    keys = {setting.field: setting.secret_key for setting in way.settings if setting.secret_key}
    given: Dict[str, str] = {}
    for name in CREDENTIALS:
        found = read_file(params, name)
        if not found and secret is not None:
            found = text_in(secret, name) or text_in(secret, keys.get(name, "")) or ""
        if found:
            given[name] = found
    return given


def _buckets(facts: ObjectStorage, way: Way, params: Mapping[str, Any], store: Store) -> Dict[str, str]:
    """Return the name of the bucket of each role. Raises Invalid for a role that is missing or unknown, two roles with one bucket, and a bad name."""
    bundled = {user.role: user.bucket for user in facts.users if user.role}
    given = {str(role): str(name) for role, name in (params.get("buckets") or {}).items()}
    unknown = sorted(set(given) - set(bundled))
    if unknown:
        raise Invalid(f"buckets names {', '.join(unknown)}.", f"The platform has buckets for {', '.join(sorted(bundled))}.", subject="buckets")
    if way.fixed_buckets:
        other = sorted(role for role, name in given.items() if name != bundled[role])
        if other:
            role = other[0]
            message = f"buckets.{role} is {given[role]}, but the platform calls that bucket {bundled[role]} and knows no other name."
            raise Invalid(message, "Leave it out.", subject=f"buckets.{role}")
        return bundled
    missing = sorted(set(bundled) - set(given))
    if missing:
        example = ", ".join(f"{role}: paas-{role}" for role in missing)
        raise Invalid(f"buckets has no name for {' and '.join(missing)}.", f"Name them, for example {{{example}}}.", subject="buckets")
    for role, name in sorted(given.items()):
        twins = [other for other, same in sorted(given.items()) if same == name and other != role]
        if twins:
            raise Invalid(f"buckets.{role} and buckets.{twins[0]} are both {name}.", "Each component needs a bucket of its own.", subject=f"buckets.{role}")
        store.check_bucket(name, f"buckets.{role}")
    return given


def _address(way: Way, fields: Mapping[str, str]) -> Dict[str, str]:
    """Return host and port of the endpoint, which the platform may want apart."""
    endpoint = fields["endpoint"]
    parts = urlsplit(endpoint)
    if parts.scheme not in way.schemes:
        raise Invalid(
            f"endpoint is {endpoint}, but the platform's components speak {' or '.join(way.schemes)} to such a store.",
            "Give the store an address of that kind inside the private network.",
            subject="endpoint",
        )
    return {"host": str(parts.hostname), "port": str(parts.port or (443 if parts.scheme == "https" else 80))}
