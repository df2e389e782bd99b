# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection to a cluster: one pool of one process, requests that are counted, repeated only when that is safe, and refused with a hint."""

from __future__ import annotations

import json
import math
import ssl
import tempfile
import time
from datetime import datetime, timezone
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Set, Tuple
from urllib.parse import unquote, urlencode, urlsplit

from ansible_collections.paas.hardening.plugins.module_utils._cluster import credentials
from ansible_collections.paas.hardening.plugins.module_utils._cluster.credentials import AUTH_ARGUMENTS, RETRY_ARGUMENTS, secret_values
from ansible_collections.paas.hardening.plugins.module_utils._cluster.failures import ListExpired, NotSent, answer_failure, network_failure
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import Kind, Target, target_of
from ansible_collections.paas.hardening.plugins.module_utils._cluster.login import Settings, basic, bypasses, log_in, missing
from ansible_collections.paas.hardening.plugins.module_utils._cluster.tls import Identity, client_context, validity
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import (
    Conflict,
    Failure,
    Forbidden,
    Invalid,
    MissingDependency,
    Unauthorized,
    Unavailable,
)
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline, repeat

# At the top, so that Ansible pays for it once in the process that forks the workers. Nothing here opens a socket, a file or a thread.
try:
    import urllib3
    from urllib3._collections import HTTPHeaderDict

    MISSING: Optional[ImportError] = credentials.MISSING
except ImportError as _error:
    MISSING = _error

__all__ = ["AUTH_ARGUMENTS", "FIELD_MANAGER", "RETRY_ARGUMENTS", "VERSION", "Answer", "Connection", "connect", "secret_values"]

VERSION = "0.1.0"
FIELD_MANAGER = "paas-hardening"
USER_AGENT = f"paas.hardening/{VERSION}"
# The pool's own method, in two parts: ansible-test takes the whole word for the function of urllib.request.
_SEND = "url" + "open"
# Creating one of these asks a question and stores nothing.
_DISCOVERY = ("/api", "/openapi", "/version", "/.well-known")
_QUESTIONS = ("/apis/authorization.k8s.io/", "/apis/authentication.k8s.io/")


# A server that has just started answers before it has read who may do what: a refusal in the first seconds is no refusal yet.
_STARTING = 30.0


class _Starting(NotSent):
    """A refusal by a server that was away a moment ago."""

    def __init__(self, refusal: Failure) -> None:
        super().__init__(refusal.message, refusal.hint, refusal.status)
        self.refusal = refusal


class Answer(NamedTuple):
    """What the server answered. ``data`` is the parsed JSON document, or the text when it is not JSON. Header names are in any case."""

    status: int
    headers: Mapping[str, str]
    data: Any


class Connection:
    """One server, one identity.

    ``reads``, ``writes`` and ``discoveries`` count the requests sent, repeats included; a question about rights is a read. ``served`` remembers what
    discovery found out: the kind as the server has it, or None when it has no such kind; ``unserved`` the groups that it has not at all.
    """

    def __init__(self, settings: Settings, identity: Identity, params: Mapping[str, Any]) -> None:
        self.host = _address(settings.host)
        self.context = client_context(identity, bool(settings.verify_ssl))
        self.retry_seconds = float(params["retry_timeout"] if params.get("retry_timeout") is not None else RETRY_ARGUMENTS["retry_timeout"]["default"])
        self.reads = 0
        self.writes = 0
        self.discoveries = 0
        self.served: Dict[Tuple[str, str], Optional[Kind]] = {}
        self.unserved: Set[str] = set()
        self.proxy = _Proxy(settings, params.get("proxy_headers") or {})
        self.server_name: Optional[str] = settings.tls_server_name or None
        self._settings = settings
        self._identity = identity
        self._extra_headers = _impersonation(params)
        self._pool = self._new_pool()
        self._away = -math.inf  # when the server was last seen to be away, on the monotonic clock

    def _new_pool(self) -> Any:
        options: Dict[str, Any] = {"maxsize": 2, "retries": False}
        if self.host.startswith("https"):
            options["ssl_context"] = self.context
            if str(vars(urllib3).get("__version__")).startswith("1."):
                # It compares the names itself, and cannot hand an address to a context that does.
                options["ssl_context"] = client_context(self._identity, bool(self._settings.verify_ssl), match_name=False)
            if self.server_name:
                options["server_hostname"] = self.server_name
                options["assert_hostname"] = False if self.context.verify_mode == ssl.CERT_NONE else self.server_name
        if not self.proxy.applies_to(self.host):
            return urllib3.PoolManager(**options)
        if urlsplit(self.proxy.url).scheme.startswith("socks"):
            try:
                from urllib3.contrib.socks import SOCKSProxyManager
            except ImportError:
                raise MissingDependency("A SOCKS proxy needs the Python package PySocks.", "Install it: pip install pysocks", "proxy") from None
            return SOCKSProxyManager(self.proxy.url, **options)
        return urllib3.ProxyManager(self.proxy.url, proxy_headers=self.proxy.headers, **options)

    def __repr__(self) -> str:
        return f"Connection({self.where})"

    @property
    def where(self) -> str:
        """The address of the server without anything secret, for messages."""
        parts = urlsplit(self.host)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    @property
    def credential(self) -> str:
        """In a few words, with what we log in."""
        if self.authorization():
            kind = "user name and password" if self.authorization().lower().startswith("basic ") else "token"
        else:
            kind = "client certificate" if self._identity.certificate else "no credentials"
        user = self._extra_headers[0][1] if self._extra_headers else ""
        return f"{kind}, as {user}" if user else kind

    def authorization(self) -> str:
        """Return the value of the Authorization header, renewed when it has run out; empty when there is none."""
        return _header_value(self._settings.authorization(), "api_key")

    def headers(self) -> List[Tuple[str, str]]:
        """Return the headers that say who we are: authorization, impersonation, user agent."""
        value = self.authorization()
        return [("User-Agent", USER_AGENT), *([("Authorization", value)] if value else []), *self._extra_headers]

    def request(
        self,
        method: str,
        path: str,
        query: Optional[Mapping[str, Any]] = None,
        body: Any = None,
        content_type: str = "application/json",
        timeout: Tuple[float, float] = (5, 30),
        accept: Optional[str] = None,
    ) -> Answer:
        """Send one request and return the answer; ``timeout`` is (seconds to connect, seconds without any byte of the answer).

        Raises the errors of _core.errors, in which no text of the server stands. Repeats, within the retry timeout of the connection, what is safe to repeat:
        reads, writes that carry a resourceVersion (a second one answers with a conflict), and what the server never began to work on.
        """
        target = target_of(method, path)
        question = path.startswith(_QUESTIONS)
        safe = method == "GET" or question or _carries_version(body)
        parameters = dict(query or {})
        if method in ("POST", "PUT", "PATCH") and not question:
            parameters["fieldManager"] = FIELD_MANAGER
        url = self.host + path + (f"?{urlencode(parameters)}" if parameters else "")
        payload = None if body is None else _encoded(body, target)
        attempts = 0

        def attempt() -> Answer:
            nonlocal attempts
            attempts += 1
            if target.resource.startswith(_DISCOVERY):
                self.discoveries += 1
            elif method == "GET" or question:
                self.reads += 1
            else:
                self.writes += 1
            try:
                return self._send(method, url, target, payload, content_type, timeout, accept)
            except Unavailable:
                self._away = time.monotonic()
                raise
            except (Forbidden, Unauthorized) as error:
                if time.monotonic() - self._away < _STARTING:
                    raise _Starting(error) from None
                raise

        def again(error: Unavailable) -> bool:
            if isinstance(error, NotSent):
                return error.again
            return safe and not isinstance(error, ListExpired)

        try:
            return repeat(attempt, Deadline(self.retry_seconds), should_repeat=again)
        except _Starting as error:
            raise error.refusal from None
        except Unavailable as error:
            if not safe and not isinstance(error, NotSent):
                error.hint = f"It is not known whether the write arrived; run again. {error.hint}".strip()
            raise
        except Conflict as error:
            error.hint = f"An earlier attempt of ours may have arrived. {error.hint}" if attempts > 1 else error.hint
            raise

    def refused(self, status: int, headers: Mapping[str, str], body: bytes, target: Target) -> Failure:
        """Return the error for an answer that is no success."""
        return answer_failure(target, status, headers, body, self.credential, self._unauthorized_hint())

    def broken(self, error: BaseException, target: Target, seconds: float, connecting: bool) -> Failure:
        """Return the error for a fault of the network."""
        failure = network_failure(error, self.where, target, seconds, connecting)
        trouble = self._certificate_trouble()
        if trouble and not isinstance(failure, NotSent):
            # The server's alert about the certificate is easily lost: often only the cut connection is seen.
            return Unauthorized(f"{self.where} does not accept our client certificate.", trouble, target.subject)
        return failure

    def _send(
        self, method: str, url: str, target: Target, payload: Optional[bytes], content_type: str, timeout: Tuple[float, float], accept: Optional[str]
    ) -> Answer:
        headers = HTTPHeaderDict()
        for name, value in self.headers():
            headers.add(name, value)
        headers.add("Accept", accept or "application/json")
        headers.add("Accept-Encoding", "gzip")
        if payload is not None:
            headers.add("Content-Type", content_type)
        wait = urllib3.Timeout(connect=timeout[0], read=timeout[1])
        try:
            # Not its request(): that one joins several groups to impersonate into one in urllib3 1.26.
            response = getattr(self._pool, _SEND)(method, url, body=payload, headers=headers, timeout=wait, retries=False, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            connecting = isinstance(error, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError, urllib3.exceptions.ProxyError))
            raise self.broken(error, target, timeout[0] if connecting else timeout[1], connecting) from None
        if not 200 <= response.status < 300:
            raise self.refused(response.status, response.headers, response.data, target)
        if "json" not in (response.headers.get("Content-Type") or ""):
            return Answer(response.status, response.headers, response.data.decode("utf-8", "replace"))
        try:
            return Answer(response.status, response.headers, json.loads(response.data))
        except ValueError:
            raise Unavailable(f"{self.where} cut its answer to {target} short.", "Look at the log of the API server.", target.subject) from None

    def _certificate_trouble(self) -> str:
        """Say what the dates of our client certificate explain; empty when they explain nothing."""
        dates = validity(self._identity.certificate) if self._identity.certificate else None
        now = datetime.now(timezone.utc)
        if dates and now > dates[1]:
            return f"The client certificate expired on {dates[1]:%Y-%m-%d %H:%M} UTC: renew it."
        if dates and now < dates[0]:
            return f"The client certificate is not valid before {dates[0]:%Y-%m-%d %H:%M} UTC: compare the clocks."
        return ""

    def _unauthorized_hint(self) -> str:
        if self.credential.startswith("client certificate"):
            other = "The certificate has not expired: its CA is not one that this server accepts for clients. Is it the right cluster?"
            return self._certificate_trouble() or other
        if self.credential.startswith("no credentials"):
            return "Give a kubeconfig, api_key, or client_cert and client_key."
        if self.credential.startswith("user name"):
            return "Check username and password; most servers take none, and want a token or a certificate."
        return "The token has expired, was revoked, or belongs to another cluster: get a new one."


class _Proxy:
    """The proxy, if there is one. Credentials in its address become a header, because nobody reads them there."""

    def __init__(self, settings: Settings, options: Mapping[str, Any]) -> None:
        address, self.no_proxy = settings.resolve_proxy()
        parts = urlsplit(address)
        self.url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        self.headers: Dict[str, str] = {}
        self.login: Optional[Tuple[str, str]] = None
        if parts.username is not None:
            self.login = (unquote(parts.username), unquote(parts.password or ""))
        if options.get("proxy_basic_auth"):
            user, _colon, password = str(options["proxy_basic_auth"]).partition(":")
            self.login = (user, password)
        if self.login:
            self.headers["proxy-authorization"] = basic(*self.login)
        if options.get("basic_auth"):
            user, _colon, password = str(options["basic_auth"]).partition(":")
            self.headers["authorization"] = basic(user, password)
        if options.get("user_agent"):
            self.headers["user-agent"] = _header_value(str(options["user_agent"]), "proxy_headers")

    def applies_to(self, host: str) -> bool:
        return bool(self.url) and not bypasses(host, self.no_proxy)


def _header_value(value: str, option: str) -> str:
    """Refuse here what cannot stand in a header: the HTTP library would quote it, secret or not, in its error."""
    value = value.strip()
    if not value.isascii() or not value.isprintable():
        raise Invalid(f"The value of {option} has a line break or another character that cannot stand in a header.", subject=option)
    return value


def _impersonation(params: Mapping[str, Any]) -> List[Tuple[str, str]]:
    user, groups = params.get("impersonate_user"), params.get("impersonate_groups") or []
    if groups and not user:
        raise Invalid("impersonate_groups needs impersonate_user.", subject="impersonate_groups")
    headers = [("Impersonate-User", _header_value(str(user), "impersonate_user"))] if user else []
    return headers + [("Impersonate-Group", _header_value(str(group), "impersonate_groups")) for group in groups]


def _address(host: str) -> str:
    parts = urlsplit(host or "")
    try:
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise Invalid("The address of the server is not a URL.", "Write it as https://name:6443.", "host")
    return host.rstrip("/")


def _carries_version(body: Any) -> bool:
    if not isinstance(body, Mapping):
        return False
    return bool((body.get("metadata") or {}).get("resourceVersion") or (body.get("preconditions") or {}).get("resourceVersion"))


def _encoded(body: Any, target: Target) -> bytes:
    try:
        return json.dumps(body, separators=(",", ":")).encode()
    except (TypeError, ValueError):
        raise Invalid(f"The body of the request to {target} holds something that is not plain data.", subject=target.subject) from None


def connect(params: Mapping[str, Any]) -> Connection:
    """Return the connection that the options (see AUTH_ARGUMENTS) describe; no request is sent yet, except for an OpenShift log-in.

    An address with credentials stands for itself. Otherwise the kubeconfig is read (the given one, KUBECONFIG, the one in the home folder) and the options
    override it; without any kubeconfig the service account of the pod is used. Raises MissingDependency, Invalid or Unauthorized.
    """
    if MISSING is not None:
        raise missing(MISSING)
    settings, identity = log_in(params)
    if not settings.verify_ssl:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    connection = Connection(settings, identity, params)
    if params.get("username") and params.get("password") and not connection.authorization():
        _log_in_with_password(connection, settings, identity, params)
    return connection


def _log_in_with_password(connection: Connection, settings: Settings, identity: Identity, params: Mapping[str, Any]) -> None:
    """Log in to OpenShift's OAuth server for a token; where there is none, the name and password go into every request (HTTP basic)."""
    user, password = str(params["username"]), str(params["password"])
    try:
        connection.request("GET", "/.well-known/oauth-authorization-server")
    except Unavailable:
        raise
    except Failure:
        settings.always(basic(user, password))
        return
    try:
        from openshift.helper.userpassauth import OCPLoginConfiguration, OCPLoginException
    except ImportError:
        raise MissingDependency("The log-in to OpenShift needs the Python package openshift.", "Install it: pip install openshift", "username") from None

    class Login:
        """What OpenShift's log-in reads and calls, without its constructor: that one passes an argument which newer client libraries do not take."""

        host, ocp_username, ocp_password, verify_ssl, ssl_ca_cert = connection.host, user, password, settings.verify_ssl, None
        discover, login, get_token = OCPLoginConfiguration.discover, OCPLoginConfiguration.login, OCPLoginConfiguration.get_token

    attempt: Any = Login()
    with tempfile.NamedTemporaryFile() as authority:
        authority.write(identity.ca or b"")
        authority.flush()
        attempt.ssl_ca_cert = authority.name if identity.ca else None
        try:
            attempt.get_token()
        except (OCPLoginException, KeyError, ValueError):
            raise Unauthorized("OpenShift's OAuth server did not give a token.", "Check username and password.", "username", 401) from None
        except OSError:
            hint = "It has an address and perhaps a CA of its own: ca_cert has to hold both CAs."
            raise Unavailable("OpenShift's OAuth server cannot be reached or is not trusted.", hint, "username") from None
    settings.always(attempt.api_key["authorization"])
