# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How to reach a cluster and as whom: the options, the environment variables and the kubeconfig, read but not yet used."""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._cluster.tls import Identity
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._core.redact import secret_name

try:
    import yaml

    MISSING: Optional[ImportError] = None
except ImportError as _error:
    MISSING = _error


def _environment(*names: str) -> Any:
    """Return what the environment says, as Ansible asks for it. Only here Ansible is needed: a scheduled backup does without."""
    from ansible.module_utils.common.parameters import env_fallback

    return env_fallback(*names)


def _from(*variables: str) -> Tuple[Any, List[str]]:
    return _environment, [f"K8S_AUTH_{variable}" for variable in variables]


# Names, aliases and environment variables as kubernetes.core has them, so that its users need to learn nothing.
# A kubeconfig is not marked no_log: of a dictionary Ansible would then hide every word ("v1", "admin") wherever it occurs; see secret_values().
AUTH_ARGUMENTS: Dict[str, Dict[str, Any]] = {
    "kubeconfig": {"type": "raw", "no_log": False, "fallback": _from("KUBECONFIG")},
    "context": {"type": "str", "no_log": False, "fallback": _from("CONTEXT")},
    "host": {"type": "str", "no_log": False, "fallback": _from("HOST")},
    "api_key": {"type": "str", "no_log": True, "fallback": _from("API_KEY")},
    "username": {"type": "str", "no_log": False, "fallback": _from("USERNAME")},
    "password": {"type": "str", "no_log": True, "fallback": _from("PASSWORD")},
    "client_cert": {"type": "path", "aliases": ["cert_file"], "no_log": False, "fallback": _from("CLIENT_CERT", "CERT_FILE")},
    "client_key": {"type": "path", "aliases": ["key_file"], "no_log": False, "fallback": _from("CLIENT_KEY", "KEY_FILE")},
    "ca_cert": {"type": "path", "aliases": ["ssl_ca_cert"], "no_log": False, "fallback": _from("CA_CERT", "SSL_CA_CERT")},
    "validate_certs": {"type": "bool", "aliases": ["verify_ssl"], "no_log": False, "fallback": _from("VALIDATE_CERTS", "VERIFY_SSL")},
    "proxy": {"type": "str", "no_log": False, "fallback": _from("PROXY")},
    "no_proxy": {"type": "str", "no_log": False, "fallback": _from("NO_PROXY")},
    "proxy_headers": {
        "type": "dict",
        "no_log": False,
        "apply_defaults": True,
        "options": {
            "proxy_basic_auth": {"type": "str", "no_log": True, "fallback": _from("PROXY_HEADERS_PROXY_BASIC_AUTH")},
            "basic_auth": {"type": "str", "no_log": True, "fallback": _from("PROXY_HEADERS_BASIC_AUTH")},
            "user_agent": {"type": "str", "no_log": False, "fallback": _from("PROXY_HEADERS_USER_AGENT")},
        },
    },
    "impersonate_user": {"type": "str", "no_log": False, "fallback": _from("IMPERSONATE_USER")},
    "impersonate_groups": {"type": "list", "elements": "str", "no_log": False, "fallback": _from("IMPERSONATE_GROUPS")},
}

# How long a request that is safe to repeat is repeated, for all modules alike. In seconds.
RETRY_ARGUMENTS: Dict[str, Dict[str, Any]] = {"retry_timeout": {"type": "int", "default": 20, "no_log": False}}


_PUBLIC = ("certificate-authority", "certificate-authority-data", "idp-certificate-authority", "idp-certificate-authority-data", "tokenFile")


def secret_values(params: Mapping[str, Any]) -> List[str]:
    """Return the secrets that stand in a kubeconfig given as a dictionary, for Ansible's list of values that it never shows."""
    found: List[str] = []

    def walk(name: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                # An exec plugin's variable is {name: AWS_SECRET_ACCESS_KEY, value: ...}.
                walk(str(value.get("name")) if key == "value" and "name" in value else str(key), inner)
        elif isinstance(value, list):
            for inner in value:
                walk(name, inner)
        elif isinstance(value, str) and value and name not in _PUBLIC and (secret_name(name) or name == "client-key-data"):
            found.append(value)

    if isinstance(params.get("kubeconfig"), Mapping):
        walk("kubeconfig", params["kubeconfig"])
    return found


@dataclass(frozen=True)
class Selected:
    """The one cluster and the one user that a kubeconfig's context names. The certificates are apart, so that they need not become files."""

    cluster: Mapping[str, Any] = field(repr=False)
    user: Mapping[str, Any] = field(repr=False)
    identity: Identity
    source: str

    def as_kubeconfig(self) -> Dict[str, Any]:
        """Return a kubeconfig with nothing but this one context, for the client library to log in with."""
        name = "selected"
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "clusters": [{"name": name, "cluster": dict(self.cluster)}],
            "users": [{"name": name, "user": dict(self.user)}],
        }


def _parsed(text: str, source: str) -> Mapping[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        document = yaml.load(text, Loader=loader)
    except yaml.YAMLError as error:
        # The parser's own text quotes the line, and with it perhaps a token.
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark is not None else ""
        raise Invalid(f"The kubeconfig {source} is not valid YAML{line}.", "Check it with: kubectl config view", "kubeconfig") from None
    if not isinstance(document, Mapping):
        raise Invalid(f"The kubeconfig {source} is empty or not a mapping.", "Check it with: kubectl config view", "kubeconfig")
    return document


def _merged(files: List[str]) -> Tuple[Dict[str, Dict[str, Tuple[Mapping[str, Any], str]]], str]:
    """Merge kubeconfig files as kubectl does: the first file that names something wins. Returns the entries with their folders, and the context."""
    entries: Dict[str, Dict[str, Tuple[Mapping[str, Any], str]]] = {"clusters": {}, "contexts": {}, "users": {}}
    current = ""
    for file in files:
        try:
            with open(file, encoding="utf-8") as stream:
                document = _parsed(stream.read(), file)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not text"
            raise Invalid(f"The kubeconfig {file} cannot be read: {reason}.", "Check the path and its permissions.", "kubeconfig") from None
        _add(entries, document, os.path.dirname(os.path.abspath(file)))
        current = current or str(document.get("current-context") or "")
    return entries, current


def _add(entries: Dict[str, Dict[str, Tuple[Mapping[str, Any], str]]], document: Mapping[str, Any], folder: str) -> None:
    for section, known in entries.items():
        for entry in document.get(section) or []:
            if isinstance(entry, Mapping) and isinstance(entry.get("name"), str):
                content = entry.get(section[:-1])
                known.setdefault(entry["name"], (content if isinstance(content, Mapping) else {}, folder))


def _decoded(section: Dict[str, Any], option: str, folder: str) -> Optional[bytes]:
    """Take a certificate or key out of a section: its data, or the content of its file. Neither stays in the section."""
    data, file = section.pop(f"{option}-data", None), section.pop(option, None)
    if data:
        try:
            return base64.b64decode("".join(str(data).split()), validate=True)
        except (binascii.Error, ValueError, TypeError):
            raise Invalid(f"{option}-data in the kubeconfig is not base64.", "Check it with: kubectl config view --raw", "kubeconfig") from None
    return read_pem(os.path.join(folder, file), option) if file else None


def read_pem(path: str, option: str) -> bytes:
    """Return the content of a certificate or key file. Raises Invalid when it cannot be read."""
    try:
        with open(os.path.expanduser(path), "rb") as file:
            return file.read()
    except OSError as error:
        raise Invalid(f"{option}: {path} cannot be read: {error.strerror}.", "Check the path and its permissions.", option) from None


def _absolute(section: Dict[str, Any], key: str, folder: str) -> None:
    if isinstance(section.get(key), str) and not os.path.isabs(section[key]):
        section[key] = os.path.join(folder, section[key])


def kubeconfig_files(given: Any) -> List[str]:
    """Return the paths at which a kubeconfig is looked for: the given one or several, else KUBECONFIG, else the one in the home folder."""
    paths = str(given) if given else os.environ.get("KUBECONFIG") or "~/.kube/config"
    return [os.path.expanduser(path) for path in paths.split(os.pathsep) if path]


def selected(kubeconfig: Any, context: Optional[str]) -> Optional[Selected]:
    """Return what the context of a kubeconfig says: of the given one (a path, several paths, a dictionary), or of the usual places.

    None when nothing was given and no kubeconfig is there. Raises Invalid when one cannot be used.
    """
    if isinstance(kubeconfig, Mapping):
        source = "(given as data)"
        entries: Dict[str, Dict[str, Tuple[Mapping[str, Any], str]]] = {"clusters": {}, "contexts": {}, "users": {}}
        _add(entries, kubeconfig, os.getcwd())
        current = str(kubeconfig.get("current-context") or "")
    else:
        wanted = kubeconfig_files(kubeconfig)
        files = [path for path in wanted if os.path.exists(path)]
        if not files and (kubeconfig or context or os.environ.get("KUBECONFIG")):
            raise Invalid(f"There is no kubeconfig at {', '.join(wanted)}.", "Check the option kubeconfig and the variable KUBECONFIG.", "kubeconfig")
        if not files:
            return None
        source = ", ".join(files)
        entries, current = _merged(files)
    return _choose(entries, context or current, source)


def _choose(entries: Dict[str, Dict[str, Tuple[Mapping[str, Any], str]]], context: str, source: str) -> Selected:
    def entry(section: str, name: str) -> Tuple[Dict[str, Any], str]:
        if name not in entries[section]:
            there = ", ".join(sorted(entries[section])) or "none"
            raise Invalid(f"The kubeconfig {source} has no {section[:-1]} named {name!r}.", f"It has: {there}.", "context")
        content, folder = entries[section][name]
        return dict(content), folder

    if not context:
        there = ", ".join(sorted(entries["contexts"])) or "none"
        raise Invalid(f"The kubeconfig {source} has no current context.", f"Give the option context. It has: {there}.", "context")
    chosen, _folder = entry("contexts", context)
    cluster, cluster_folder = entry("clusters", str(chosen.get("cluster") or ""))
    user, user_folder = entry("users", str(chosen["user"])) if chosen.get("user") else ({}, "")
    if not isinstance(cluster.get("server"), str):
        raise Invalid(f"The cluster of the context {context!r} in the kubeconfig {source} has no server.", "Add it, or give the option host.", "kubeconfig")
    identity = Identity(
        _decoded(cluster, "certificate-authority", cluster_folder),
        _decoded(user, "client-certificate", user_folder),
        _decoded(user, "client-key", user_folder),
    )
    _absolute(user, "tokenFile", user_folder)
    if isinstance(user.get("exec"), Mapping):
        plugin = dict(user["exec"])
        if os.sep in str(plugin.get("command") or ""):
            _absolute(plugin, "command", user_folder)
        user["exec"] = plugin
    return Selected(cluster, user, identity, source)
