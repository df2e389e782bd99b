# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An object store: where it is, as whom we go there, and what names its buckets may have. Whatever cannot be is refused before anything is sent."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Tuple
from urllib.parse import urlsplit

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid

PROVIDERS = ("s3", "gcs", "azure", "swift")

# What a provider cannot do without. The keys of S3 are not among them: without both, the role of the machine is taken.
_NEEDED = {"s3": (), "gcs": ("service_account",), "azure": ("account", "account_key"), "swift": ("user", "key", "auth_url", "tenant")}
_OF_PROVIDER = {
    "s3": ("endpoint", "region", "access_key", "secret_key", "ca_file"),
    "gcs": ("service_account", "endpoint", "ca_file"),
    "azure": ("account", "account_key", "endpoint", "ca_file"),
    "swift": ("user", "key", "auth_url", "tenant", "auth_version", "region", "ca_file"),
}
_CREDENTIALS = ("access_key", "secret_key", "service_account", "account", "account_key", "user", "key")
_SECRET = ("secret_key", "service_account", "account_key", "key")
# Random bytes are printable that long in one case of five million; an S3 secret of forty letters decodes to thirty bytes.
_SURELY_TEXT = 16
_PLAIN_TEXT = re.compile(rb"[\x20-\x7e\r\n]+")
# Shorter values than these are words of ordinary texts, and hiding them would only spoil a message.
_WORTH_HIDING = 4

_DOTS = "Take a name without dots: a wildcard certificate covers one label only, and the bucket's name becomes part of the host's name."
_BUCKET_HINT = {
    "s3": "A bucket of S3 has 3 to 63 lower-case letters, digits and hyphens, and begins and ends with a letter or a digit.",
    "gcs": "A bucket of GCS has 3 to 63 lower-case letters, digits and, within, hyphens and underscores, and does not name Google.",
    "azure": "A container of Azure has 3 to 63 lower-case letters, digits and single hyphens, and begins and ends with a letter or a digit.",
    "swift": "A container of Swift has 1 to 256 bytes and no slash.",
}
_BUCKET_FORM = {
    "s3": re.compile(r"(?!xn--|sthree-|amzn-s3-demo-)[a-z0-9][a-z0-9-]{1,61}[a-z0-9](?<!-s3alias)(?<!--ol-s3)(?<!--x-s3)"),
    "gcs": re.compile(r"(?!goog)(?!.*google)[a-z0-9][a-z0-9_-]{1,61}[a-z0-9]"),
    "azure": re.compile(r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]"),
    "swift": re.compile(r"[^/\x00-\x1f]{1,256}"),
}


@dataclass(frozen=True)
class Store:
    """An object store and the credentials for it. A Store that exists is valid; no secret is in its repr.

    ``provider`` is one of s3, gcs, azure, swift. S3: ``endpoint`` is a URL (empty: AWS), ``access_key`` and ``secret_key`` are both empty where the machine
    has a role of its own. GCS: ``service_account`` is the text of the key file (JSON, not base64). Azure: ``endpoint`` is for emulators and private clouds.
    ``ca_file`` is the path of a PEM file with the authority that the store's certificate comes from. ``title`` is what the store is called, and by what it
    is known again where its address is another one each time (behind a port-forward).

    Raises Invalid, which names the field and the remedy but never shows a secret.
    """

    provider: str
    endpoint: str = ""
    region: str = ""
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    path_style: bool = True
    ca_file: str = ""
    service_account: str = field(default="", repr=False)
    account: str = ""
    account_key: str = field(default="", repr=False)
    user: str = ""
    key: str = field(default="", repr=False)
    auth_url: str = ""
    tenant: str = ""
    auth_version: int = 0
    title: str = ""

    def __post_init__(self) -> None:
        if self.provider not in PROVIDERS:
            raise Invalid(f"There is no provider {self.provider!r}.", f"Take one of {', '.join(PROVIDERS)}.", "provider")
        self._check_fields()
        for name in _CREDENTIALS:
            _check_credential(name, getattr(self, name))
        for name in ("endpoint", "auth_url"):
            if getattr(self, name):
                _check_url(name, getattr(self, name), with_path=name == "auth_url" or self.provider != "s3")
        if self.provider == "gcs":
            _check_service_account(self.service_account)
        if self.provider == "azure" and _decoded(self.account_key) is None:
            raise Invalid("account_key is not base64.", "Give the key as the portal of Azure shows it.", "account_key")
        if self.ca_file and not os.path.isfile(self.ca_file):
            raise Invalid(f"There is no file {self.ca_file}.", "Give the path of a PEM file on the host that moves the data.", "ca_file")

    def _check_fields(self) -> None:
        for name in _NEEDED[self.provider]:
            if not getattr(self, name):
                raise Invalid(f"{name} is empty, and {self.provider} needs it.", f"Set {name}.", name)
        foreign = sorted({name for names in _OF_PROVIDER.values() for name in names} - set(_OF_PROVIDER[self.provider]))
        for name in foreign:
            if getattr(self, name):
                raise Invalid(f"{name} means nothing to {self.provider}.", f"Leave {name} out, or take another provider.", name)
        if bool(self.access_key) != bool(self.secret_key):
            empty = "secret_key" if self.access_key else "access_key"
            raise Invalid(f"{empty} is empty, but its counterpart is not.", "Give both, or neither where the machine has a role of its own.", empty)

    @property
    def has_role(self) -> bool:
        """Whether the machine's own role is taken instead of keys."""
        return self.provider == "s3" and not self.access_key

    @property
    def lists_digests(self) -> bool:
        """Whether a listing carries the MD5 of every object for nothing. S3 gives an ETag, for which rclone asks object by object where it is no MD5."""
        return self.provider in ("gcs", "azure")

    @property
    def encrypted(self) -> bool:
        """Whether we speak TLS with it."""
        return not (self.endpoint or self.auth_url).startswith("http://")

    @property
    def name(self) -> str:
        """The store in a sentence, and in what is remembered of it."""
        return self.title or self.endpoint or self.auth_url or {"s3": "AWS S3", "gcs": "GCS"}.get(self.provider, f"{self.provider} account {self.account}")

    def secrets(self) -> Tuple[str, ...]:
        """Every text that must not be shown: the credentials, and what is inside of them. The longest first, since one may be a part of another."""
        found = [getattr(self, name) for name in (*_SECRET, "access_key")]
        if self.service_account:
            document = json.loads(self.service_account)
            found += [value for name, value in document.items() if "private_key" in name and isinstance(value, str)]
            found += [json.dumps(value)[1:-1] for value in found]
        return tuple(sorted({value for value in found if len(value) >= _WORTH_HIDING}, key=len, reverse=True))

    def check_bucket(self, bucket: str, subject: str = "bucket") -> None:
        """Refuse a name that the provider does not allow for a bucket or container. Raises Invalid about ``subject``."""
        if self.provider in ("s3", "gcs") and "." in bucket:
            raise Invalid(f"The bucket {bucket!r} has a dot in its name.", _DOTS, subject)
        if not _BUCKET_FORM[self.provider].fullmatch(bucket) or len(bucket.encode()) > 256:
            raise Invalid(f"{bucket!r} cannot be the name of a bucket.", _BUCKET_HINT[self.provider], subject)

    def environment(self, remote: str) -> Dict[str, str]:
        """Return the variables that define a remote of this name for rclone. They are the only place where a secret goes."""
        settings: Dict[str, Any] = getattr(self, f"_as_{self.provider}")()
        prefix = f"RCLONE_CONFIG_{remote.upper()}_"
        return {prefix + name: _text(value) for name, value in settings.items() if value != ""}

    def _as_s3(self) -> Dict[str, Any]:
        amazon = not self.endpoint or (urlsplit(self.endpoint).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))
        settings = {
            "TYPE": "s3",
            "PROVIDER": "AWS" if amazon else "Other",
            "ENV_AUTH": self.has_role,
            "ACCESS_KEY_ID": self.access_key,
            "SECRET_ACCESS_KEY": self.secret_key,
            "REGION": self.region or "us-east-1",
            "ENDPOINT": self.endpoint,
            "FORCE_PATH_STYLE": self.path_style and bool(self.endpoint),
            # A bucket is made when somebody asks for it, never by a copy that has lost its way.
            "NO_CHECK_BUCKET": True,
            # An object that somebody stored in gzip is moved as it is.
            "MIGHT_GZIP": False,
            "DECOMPRESS": False,
            # Otherwise rclone asks for the class that an object has where it comes from: HOT of Azure is none here, and what is archived does not
            # answer at once.
            "STORAGE_CLASS": "STANDARD",
        }
        if amazon and self.region not in ("", "us-east-1"):
            settings["LOCATION_CONSTRAINT"] = self.region
        return settings

    def _as_gcs(self) -> Dict[str, Any]:
        document = json.loads(self.service_account)
        return {
            "TYPE": "google cloud storage",
            "SERVICE_ACCOUNT_CREDENTIALS": json.dumps(document),
            "PROJECT_NUMBER": document.get("project_id", ""),
            "ENDPOINT": self.endpoint,
            "BUCKET_POLICY_ONLY": True,
            "NO_CHECK_BUCKET": True,
        }

    def _as_azure(self) -> Dict[str, Any]:
        return {"TYPE": "azureblob", "ACCOUNT": self.account, "KEY": self.account_key, "ENDPOINT": self.endpoint, "NO_CHECK_CONTAINER": True}

    def _as_swift(self) -> Dict[str, Any]:
        return {
            "TYPE": "swift",
            "USER": self.user,
            "KEY": self.key,
            "AUTH": self.auth_url,
            "TENANT": self.tenant,
            "AUTH_VERSION": self.auth_version or "",
            "REGION": self.region,
        }


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _decoded(text: str) -> Optional[bytes]:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _check_credential(name: str, value: str) -> None:
    if not isinstance(value, str):
        raise Invalid(f"{name} is not text.", "Quote the value.", name)
    if not value:
        return
    remedy = (
        "A key file made by an editor or by echo ends in a newline: write it with printf." if value.endswith("\n") else "Remove what stands around the value."
    )
    if value != value.strip() and name != "service_account":
        raise Invalid(f"{name} has a blank or a newline before or after the value.", remedy, name)
    if name != "service_account" and re.search(r"[\x00-\x1f\x7f]", value):
        raise Invalid(f"{name} has a control character in it.", "Give the value as the provider shows it.", name)
    inner = _decoded(value) if name in ("secret_key", "account_key", "key") else None
    if inner and _PLAIN_TEXT.fullmatch(inner) and (inner.endswith(b"\n") or len(inner) >= _SURELY_TEXT):
        raise Invalid(f"{name} is in base64 once too often.", "Give the value itself; what has to be encoded is encoded for you.", name)


def _check_url(name: str, value: str, with_path: bool) -> None:
    hint = "Give a scheme and a host, and a port where it needs one, like https://s3.example.com:9000"
    if "@" in value:
        raise Invalid(f"{name} has a user or a password in it.", "Credentials have fields of their own.", name)
    try:
        parts = urlsplit(value)
        port_is_good = parts.port is None or parts.port > 0
    except ValueError:
        raise Invalid(f"{name} is not a URL.", hint, name) from None
    if parts.scheme not in ("http", "https"):
        raise Invalid(f"{name} {value!r} has no scheme http or https.", hint, name)
    if not parts.hostname or not port_is_good or re.search(r"\s", value):
        raise Invalid(f"{name} {value!r} names no host.", hint, name)
    if (parts.path not in ("", "/") and not with_path) or parts.query or parts.fragment:
        raise Invalid(f"{name} {value!r} has a path or a query.", f"{hint}; the bucket is a field of its own.", name)


def _check_service_account(text: str) -> None:
    name = "service_account"
    try:
        document = json.loads(text)
    except ValueError:
        inner = _decoded("".join(text.split()))
        if inner is not None and inner.lstrip().startswith(b"{"):
            raise Invalid(f"{name} is in base64.", "Give the JSON text itself; what has to be encoded is encoded for you.", name) from None
        raise Invalid(f"{name} is not JSON.", "Give the content of the key file that Google made.", name) from None
    if not isinstance(document, dict) or document.get("type") != "service_account":
        raise Invalid(f"{name} is not the key of a service account.", 'Its "type" must be "service_account".', name)
    missing = [part for part in ("client_email", "private_key") if not isinstance(document.get(part), str) or not document[part]]
    if missing:
        raise Invalid(f"{name} lacks {' and '.join(missing)}.", "Give the content of the key file that Google made.", name)
