# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the server is and as whom we go there: the options over the kubeconfig, and the client library for the log-ins that need it.

The library takes as long to import as many requests last. A token, a certificate, a name with a password do not need it.
"""

from __future__ import annotations

import base64
import logging
import os
import re
import ssl
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._cluster.credentials import Selected, kubeconfig_files, read_pem, selected
from ansible_collections.paas.hardening.plugins.module_utils._cluster.tls import Identity
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, MissingDependency, Unauthorized

# What the library does with a user of a kubeconfig: run its command, or renew its token.
_BY_LIBRARY = ("exec", "auth-provider")
_NAMES_LIBRARY = re.compile(rb"\b(?:exec|auth-provider)\b['\"]?\s*:")
_PROXIES = ("https_proxy", "http_proxy", "all_proxy")


@dataclass
class Settings:
    """The server and how a request shows who we are. The attributes are those that the client library sets when it logs in.

    ``proxy`` and ``no_proxy`` are None when the environment decides. ``refresh_api_key_hook`` renews ``api_key``, in place, before a request.
    """

    host: str = ""
    verify_ssl: bool = True
    tls_server_name: Optional[str] = None
    proxy: Optional[str] = None
    no_proxy: Optional[str] = None
    api_key: Dict[str, str] = field(default_factory=dict, repr=False)
    refresh_api_key_hook: Optional[Callable[[Any], None]] = field(default=None, repr=False)
    ssl_ca_cert: Optional[str] = None
    cert_file: Optional[str] = None
    key_file: Optional[str] = None

    def authorization(self) -> str:
        """Return the value of the Authorization header, renewed when it has run out; empty when there is none."""
        if self.refresh_api_key_hook is not None:
            with _quiet():
                self.refresh_api_key_hook(self)
        return self.api_key.get("authorization") or self.api_key.get("BearerToken") or ""

    def always(self, authorization: str) -> None:
        """Send this Authorization header from now on."""
        self.api_key = {"authorization": authorization}
        self.refresh_api_key_hook = None

    def resolve_proxy(self) -> Tuple[str, str]:
        """Return the address of the proxy and the servers that are reached without it, from the settings or the environment."""
        proxy = self.proxy
        if proxy is None:
            proxy = environment(f"{self.host.partition(':')[0].lower()}_proxy") or environment("all_proxy")
        return proxy, environment("no_proxy") if self.no_proxy is None else self.no_proxy


def environment(variable: str) -> str:
    """Return a variable that is written in small or in capital letters, as programs for the web read it: small ones first, even when it is empty there."""
    return os.environ.get(variable, os.environ.get(variable.upper(), ""))


def missing(error: ImportError) -> MissingDependency:
    """Return the one sentence about a package that is not there."""
    package = (error.name or "kubernetes").partition(".")[0]
    return MissingDependency(f"The Python package {package} is not installed.", "Install what is needed: pip install kubernetes openshift pyyaml")


def basic(user: str, password: str) -> str:
    """Return the header value of HTTP basic authentication."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def bypasses(host: str, no_proxy: str) -> bool:
    """Tell whether a server is reached without the proxy. Raises MissingDependency."""
    try:
        from kubernetes.client.rest import should_bypass_proxies
    except ImportError as error:
        raise missing(error) from None
    return bool(should_bypass_proxies(host, no_proxy=no_proxy))


def foresee() -> None:
    """Do now what every worker would else do again for itself; for a process that forks workers.

    That is the start of OpenSSL, and the import of the client library when the environment lets expect that a log-in will need it. What cannot be read here
    is reported by who really needs it.
    """
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    files = [path for path in kubeconfig_files(os.environ.get("K8S_AUTH_KUBECONFIG")) if os.path.exists(path)]
    expected = any(environment(name) for name in _PROXIES) or (not files and "KUBERNETES_SERVICE_HOST" in os.environ)
    for file in files:
        try:
            with open(file, "rb") as stream:
                expected = expected or bool(_NAMES_LIBRARY.search(stream.read()))
        except OSError:
            continue
    if expected:
        try:
            _library()
        except MissingDependency:
            return


def log_in(params: Mapping[str, Any]) -> Tuple[Settings, Identity]:
    """Return what the options (see AUTH_ARGUMENTS) and the kubeconfig say. Raises MissingDependency, Invalid or Unauthorized."""
    settings = Settings()
    chosen = None if _explicit(params) else selected(params.get("kubeconfig"), params.get("context"))
    identity = Identity()
    if chosen is not None:
        identity = _as_selected(chosen, settings)
    elif not _explicit(params):
        identity = _as_pod(settings)
    return settings, _override(settings, identity, params)


def _explicit(params: Mapping[str, Any]) -> bool:
    """Whether the options alone say where and as whom, so that no kubeconfig is needed."""
    if not params.get("host") or params.get("kubeconfig") or params.get("context"):
        return False
    return bool(params.get("api_key") or (params.get("username") and params.get("password")) or (params.get("client_cert") and params.get("client_key")))


def _as_selected(chosen: Selected, settings: Settings) -> Identity:
    cluster, user = chosen.cluster, chosen.user
    if any(user.get(way) for way in _BY_LIBRARY):
        return _through_library(chosen, settings)
    settings.host = cluster["server"]
    settings.verify_ssl = cluster.get("insecure-skip-tls-verify") is not True
    settings.tls_server_name = cluster.get("tls-server-name")
    settings.proxy = cluster.get("proxy-url")
    token = user.get("token") or (_token_in(user["tokenFile"]) if user.get("tokenFile") else "")
    if token:
        settings.always(f"Bearer {token}")
    elif user.get("username") and user.get("password"):
        settings.always(basic(str(user["username"]), str(user["password"])))
    return chosen.identity


def _token_in(path: Any) -> str:
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as file:
            return file.read()
    except (OSError, TypeError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise Invalid(f"The token file of the kubeconfig cannot be read: {reason}.", "Check tokenFile and its permissions.", "kubeconfig") from None


def _library() -> Any:
    try:
        from kubernetes import config
    except ImportError as error:
        raise missing(error) from None
    return config


def _through_library(chosen: Selected, settings: Settings) -> Identity:
    """Let the client library run the log-in plugin, or renew the token, that the kubeconfig names."""
    library = _library()
    with tempfile.TemporaryDirectory() as folder, _quiet():
        # The folder stays empty but for a certificate that an exec plugin hands out, and is removed with it.
        try:
            library.load_kube_config_from_dict(
                chosen.as_kubeconfig(), client_configuration=settings, persist_config=False, temp_file_path=os.path.join(folder, "issued")
            )
        except (library.ConfigException, OSError, KeyError, TypeError, ValueError):
            raise Invalid(f"The user of the kubeconfig {chosen.source} cannot log in.", "Try: kubectl auth whoami", "kubeconfig") from None
        issued = bool(settings.cert_file and settings.key_file)
        certificate = read_pem(str(settings.cert_file), "client_cert") if issued else chosen.identity.certificate
        key = read_pem(str(settings.key_file), "client_key") if issued else chosen.identity.key
    if "exec" in chosen.user and not issued and not settings.api_key and not certificate:
        raise Unauthorized(
            "The log-in command of the kubeconfig gave no credentials.",
            f"Run it by hand to see why: {chosen.user['exec'].get('command')}",
            "kubeconfig",
        )
    return Identity(chosen.identity.ca, certificate, key)


def _as_pod(settings: Settings) -> Identity:
    """Take the service account of the pod that we are in."""
    library = _library()
    try:
        library.load_incluster_config(settings)
    except library.ConfigException:
        raise Invalid(
            "There is no way to a cluster: no connection option, no kubeconfig, and this is not a pod.",
            "Give kubeconfig, or host with api_key, or set KUBECONFIG.",
            "kubeconfig",
        ) from None
    return Identity(ca=read_pem(str(settings.ssl_ca_cert), "ca_cert"))


def _override(settings: Settings, identity: Identity, params: Mapping[str, Any]) -> Identity:
    """Put the options over what the kubeconfig said."""
    for option in ("host", "proxy", "no_proxy"):
        if params.get(option):
            setattr(settings, option, params[option])
    if params.get("validate_certs") is not None:
        settings.verify_ssl = params["validate_certs"]
    if params.get("api_key"):
        settings.always(f"Bearer {params['api_key']}")
    files = {option: read_pem(params[option], option) for option in ("ca_cert", "client_cert", "client_key") if params.get(option)}
    if "client_cert" in files and "client_key" not in files and b"PRIVATE KEY" in files["client_cert"]:
        files["client_key"] = files["client_cert"]
    own = "client_cert" in files or "client_key" in files
    return Identity(
        files.get("ca_cert", identity.ca),
        files.get("client_cert") if own else identity.certificate,
        files.get("client_key") if own else identity.key,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the client library from logging: it logs what a log-in plugin printed."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
