# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turns the API server's refusals and the network's faults into our errors, without ever passing on a text of the server."""

from __future__ import annotations

import json
import re
import socket
import ssl
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Dict, Iterator, List, Mapping, Optional

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import Target
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import (
    Conflict,
    Failure,
    Forbidden,
    Invalid,
    NotFound,
    Refused,
    Unauthorized,
    Unavailable,
)


class KindNotServed(NotFound):
    """The server does not serve this kind in this version at all."""


class ListExpired(Unavailable):
    """The snapshot that a paged list stands on is gone. ``token`` continues after the last page on a newer one, when the server gave it."""

    def __init__(self, message: str, token: str = "") -> None:
        super().__init__(message, status=410)
        self.token = token


class NotSent(Unavailable):
    """The server never began to work on the request, so that any request may be repeated. ``again`` tells whether that can help."""

    def __init__(self, message: str, hint: str = "", status: Optional[int] = None, retry_after: Optional[float] = None, again: bool = True) -> None:
        super().__init__(message, hint, status=status, retry_after=retry_after)
        self.again = again


# Only names are taken out of the server's texts, by expressions that cannot match a value.
_NAME = r"([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)"
_QUOTA = re.compile(r"exceeded quota: " + _NAME + r"(?=[,\s]|$)")
_QUOTA_MISSING = re.compile(r"failed quota: " + _NAME + r":")
_WEBHOOK_DENIED = re.compile(r'admission webhook "' + _NAME + r'" denied')
_WEBHOOK_BROKEN = re.compile(r'failed calling webhook "' + _NAME + r'"')
_POLICY_DENIED = re.compile(r"ValidatingAdmissionPolicy '" + _NAME + r"'")
_POD_SECURITY = re.compile(r'violates PodSecurity "(privileged|baseline|restricted):')
# The last form is that of commands in pods, of which newer servers ask for a second right and give no reason.
_NO_RIGHT = re.compile(r"\bcannot [a-z]+ (?:resource|path)\b|is forbidden:\s*$")
# Since Kubernetes 1.36 a server first asks for the right to impersonate for one action (impersonate-on:user-info:get).
_NO_LIMITED_IMPERSONATION = re.compile(r"\bcannot impersonate-on:(user-info|serviceaccount|arbitrary-node|associated-node):")
_NO_IMPERSONATION = re.compile(r'\bcannot impersonate resource "(users|groups|serviceaccounts|uids|userextras(?:/[a-z0-9.-]+)?)"')
_REASON = re.compile(r"^[A-Z][A-Za-z]{1,40}$")
_FIELD = re.compile(r"^(?:metadata|spec|status|data|stringData|rules|subjects|roleRef|webhooks|patch)(?:[.\[].*)?$", re.DOTALL)
_FIELD_NAME = re.compile(r"^[a-z][A-Za-z0-9]{0,40}$")


def _status_of(body: bytes) -> Dict[str, Any]:
    """Return the Status object of an answer, or an empty one when the answer is something else."""
    try:
        status = json.loads(body)
    except ValueError:
        return {}
    return status if isinstance(status, dict) and status.get("kind") == "Status" else {}


def field_of(text: Any) -> str:
    """Return the path of a field that a server names, with everything hidden that is not the name of a field; empty when it is no such path."""
    if not isinstance(text, str) or not _FIELD.match(text):
        return ""
    shown = []
    for part in re.sub(r"\[[^\]]*(\]|$)", lambda found: found.group() if re.fullmatch(r"\[\d{1,4}\]", found.group()) else "[*]", text).split("."):
        name, bracket, index = part.partition("[")
        shown.append((name if _FIELD_NAME.match(name) else "*") + bracket + index)
        if not shown[-1].startswith("*") and len(shown) > 1 and shown[0] in ("data", "stringData"):
            shown[-1] = "*"
    return ".".join(shown[:12])


def _fields(status: Mapping[str, Any]) -> str:
    causes = (status.get("details") or {}).get("causes") or []
    names: List[str] = []
    for cause in causes:
        name = field_of(cause.get("field")) if isinstance(cause, dict) else ""
        if name and name not in names:
            names.append(name)
    return f" The server names {', '.join(names[:5])}." if names else ""


def policy_in(text: Any) -> str:
    """Return which quota, webhook or policy a text of the server names as the one that refused; empty when it names none."""
    if not isinstance(text, str):
        return ""
    for pattern, words in (
        (_QUOTA, "the ResourceQuota {}"),
        (_QUOTA_MISSING, "the ResourceQuota {} (it wants requests or limits that are not set)"),
        (_WEBHOOK_DENIED, "the admission webhook {}"),
        (_POLICY_DENIED, "the ValidatingAdmissionPolicy {}"),
        (_POD_SECURITY, "the Pod Security level {}"),
    ):
        found = pattern.search(text)
        if found:
            return words.format(found.group(1))
    return ""


def _retry_after(headers: Mapping[str, str], status: Mapping[str, Any]) -> Optional[float]:
    value = headers.get("Retry-After") or (status.get("details") or {}).get("retryAfterSeconds")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except (TypeError, ValueError):
        pass
    try:
        moment = parsedate_to_datetime(str(value))
    except (TypeError, ValueError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())


def _rule(target: Target) -> str:
    place = f"a Role in namespace {target.namespace}" if target.namespace else "a ClusterRole"
    # A web socket is opened with GET, but newer servers want the right to create as well.
    verbs = '"create", "get"' if target.resource in ("pods/exec", "pods/portforward") else f'"{target.verb}"'
    return f'Grant it with the rule apiGroups: ["{target.group}"], resources: ["{target.resource}"], verbs: [{verbs}] in {place}.'


def _forbidden(target: Target, status: Mapping[str, Any], credential: str) -> Failure:
    text = status.get("message")
    text = text if isinstance(text, str) else ""
    impersonation, limited = _NO_IMPERSONATION.search(text), _NO_LIMITED_IMPERSONATION.search(text)
    if impersonation or limited:
        what = impersonation.group(1) if impersonation else "serviceaccounts" if limited and limited.group(1) == "serviceaccount" else "users"
        group = "" if what in ("users", "groups", "serviceaccounts") else "authentication.k8s.io"
        return Forbidden(
            f"The identity ({credential}) may not impersonate {what}.",
            f'Grant it with the rule apiGroups: ["{group}"], resources: ["{what}"], verbs: ["impersonate"] in a ClusterRole.',
            target.subject,
            403,
        )
    policy = policy_in(text)
    if policy:
        return Refused(f"The cluster refused to {target}: {policy} says no.", "Change the policy or what is asked for, then run again.", target.subject, 403)
    if not status:
        return Forbidden(
            f"Something that is not a Kubernetes API server refused to {target}.",
            "A proxy or gateway in between may have answered: check the address and the proxy options.",
            target.subject,
            403,
        )
    causes = [cause.get("reason") for cause in (status.get("details") or {}).get("causes") or [] if isinstance(cause, dict)]
    if "NamespaceTerminating" in causes:
        return Refused(f"The cluster refused to {target}: the namespace is being deleted.", "Wait until it is gone.", target.subject, 403)
    if _NO_RIGHT.search(text) or not text:
        return Forbidden(f"The identity ({credential}) may not {target}.", _rule(target), target.subject, 403)
    return Refused(
        f"The cluster refused to {target}, although the identity has the right: an admission rule says no.{_fields(status)}",
        "Ask the cluster's administrator which admission plugin or policy applies to this object.",
        target.subject,
        403,
    )


def _not_found(target: Target, status: Mapping[str, Any]) -> Failure:
    details = status.get("details") or {}
    if not details.get("name"):
        api = f" of the group {target.group}" if target.group else ""
        return KindNotServed(f"The server does not serve {target.resource}{api} in this version.", "Is the API (a CRD?) installed?", target.subject, 404)
    if details.get("kind") == "namespaces" and target.resource != "namespaces":
        return NotFound(f"The namespace {target.namespace} does not exist.", "Check the name and the cluster.", target.namespace, 404)
    return NotFound(f"{target.subject} does not exist.", "Check the name, the namespace and the cluster.", target.subject, 404)


def _conflict(target: Target, status: Mapping[str, Any]) -> Failure:
    if status.get("reason") == "AlreadyExists":
        return Conflict(f"{target.subject} exists already: somebody else created it.", "Run again: it is looked at anew.", target.subject, 409)
    causes = [cause.get("reason") for cause in (status.get("details") or {}).get("causes") or [] if isinstance(cause, dict)]
    if "FieldManagerConflict" in causes:
        return Conflict(f"Another field manager owns fields of {target.subject}.{_fields(status)}", "Change them where they are managed.", target.subject, 409)
    return Conflict(f"{target.subject} was changed by somebody else after we had looked at it.", "Run again: it is looked at anew.", target.subject, 409)


def answer_failure(target: Target, code: int, headers: Mapping[str, str], body: bytes, credential: str, unauthorized_hint: str) -> Failure:
    """Translate an answer that is no success.

    ``credential`` says in a few words with what we logged in, ``unauthorized_hint`` what to do if that was not accepted. Of the body only the reason, the
    names of fields, and the names of quotas, webhooks and policies are used.
    """
    status = _status_of(body)
    message = status.get("message")
    text = message if isinstance(message, str) else ""
    if code == 401:
        return Unauthorized(f"The server does not accept the credentials ({credential}).", unauthorized_hint, target.subject, 401)
    if code == 403:
        return _forbidden(target, status, credential)
    if code == 404:
        return _not_found(target, status)
    if code == 409:
        return _conflict(target, status)
    if code == 410:
        token = (status.get("metadata") or {}).get("continue")
        return ListExpired(f"The server forgot the state on which the list of {target.resource} stood.", token if isinstance(token, str) else "")
    if code == 413:
        return Invalid(f"The request to {target} is too large for the server.", "Make the object smaller.", target.subject, 413)
    if code == 429:
        return NotSent(f"The server is too busy to {target}.", "Try again later.", 429, _retry_after(headers, status))
    if code >= 500:
        broken = _WEBHOOK_BROKEN.search(text)
        if broken:
            return Unavailable(
                f"The cluster could not {target}: the admission webhook {broken.group(1)} does not answer.",
                "Repair the webhook's service, or remove its configuration.",
                target.subject,
                code,
                _retry_after(headers, status),
            )
        hint = "Look at the health and the log of the API server."
        return Unavailable(f"The server could not {target} (HTTP {code}).", hint, target.subject, code, _retry_after(headers, status))
    if 300 <= code < 400:
        return Unauthorized(
            f"The server redirects the request to {target} elsewhere, usually to a log-in page.", "Give the address of the API itself.", target.subject, code
        )
    if code == 400 and b"HTTP request to an HTTPS server" in body[:200]:
        hint = "Write https:// in the option host or in the kubeconfig."
        return NotSent("The server speaks TLS, but the address begins with http://.", hint, 400, again=False)
    policy = policy_in(text)
    if policy:
        return Refused(f"The cluster refused to {target}: {policy} says no.", "Change the policy or what is asked for, then run again.", target.subject, code)
    reason = status.get("reason")
    reason = f", reason {reason}" if isinstance(reason, str) and _REASON.match(reason) else ""
    return Invalid(
        f"The server does not accept the request to {target} (HTTP {code}{reason}).{_fields(status)}",
        "Its own explanation is not shown, because it can contain the whole object; the API server's audit log has it.",
        target.subject,
        code,
    )


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and everything that it was made from, whichever way the libraries chained it."""
    waiting: List[Any] = [error]
    seen: List[BaseException] = []
    while waiting:
        here = waiting.pop(0)
        if not isinstance(here, BaseException) or here in seen:
            continue
        seen.append(here)
        yield here
        waiting += [here.__cause__, here.__context__, getattr(here, "reason", None), getattr(here, "original_error", None), *here.args]


_UNTRUSTED = "Give the cluster's CA (ca_cert, or certificate-authority in the kubeconfig); do not switch validate_certs off."
_VERIFY = {
    9: ("is not valid yet", "Compare the clocks of this machine and of the server."),
    10: ("has expired", "Renew the API server's certificate, or correct this machine's clock."),
    18: ("is self-signed and not trusted", _UNTRUSTED),
    19: ("is signed by a CA that is not trusted", _UNTRUSTED),
    20: ("is signed by a CA that is not trusted", _UNTRUSTED),
    21: ("is signed by a CA that is not trusted", _UNTRUSTED),
    62: ("is for another name", "Use a name that is in the certificate, or tls-server-name in the kubeconfig."),
    64: ("is for another name", "Use a name that is in the certificate, or tls-server-name in the kubeconfig."),
}
_CERTIFICATE_ALERT = re.compile(r"ALERT_(CERTIFICATE|BAD_CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)")


def network_failure(error: BaseException, where: str, target: Target, seconds: float, connecting: bool) -> Failure:
    """Translate what the network did. ``where`` is the address without credentials, ``seconds`` the time limit that passed, if one did.

    ``connecting`` tells that the connection was not there yet, so that the request cannot have been sent.
    """
    causes = list(causes_of(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            what, hint = _VERIFY.get(getattr(cause, "verify_code", 0), ("cannot be verified", _UNTRUSTED))
            return NotSent(f"The certificate of {where} {what}.", hint, again=False)
        if type(cause).__name__ == "CertificateError":
            what, hint = _VERIFY[62]
            return NotSent(f"The certificate of {where} {what}.", hint, again=False)
        if isinstance(cause, ssl.SSLError) and _CERTIFICATE_ALERT.search(cause.reason or ""):
            return Unauthorized(f"{where} does not accept our client certificate.", "Renew the client certificate, or use the right one.", target.subject)
        if isinstance(cause, ssl.SSLError) and (cause.reason or "") in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
            return NotSent(f"{where} does not speak TLS.", "Check the port, or write http:// if the server really is without TLS.", again=False)
        if isinstance(cause, socket.gaierror):
            again = cause.errno == socket.EAI_AGAIN
            return NotSent(f"The host name of {where} is not known.", "Check the name, DNS and the proxy options.", again=again)
        if isinstance(cause, ConnectionRefusedError):
            return NotSent(f"{where} refuses the connection: nothing listens there.", "Check the address and the port, and whether the API server runs.")
    if any(type(cause).__name__ in ("ProxyError", "WebSocketProxyException") for cause in causes):
        return NotSent(f"The proxy does not let us through to {where}.", "Check the options proxy, no_proxy and proxy_headers.", again=False)
    if any(isinstance(cause, (TimeoutError, socket.timeout)) or type(cause).__name__ in ("ReadTimeoutError", "ConnectTimeoutError") for cause in causes):
        if connecting:
            return NotSent(f"{where} did not take the connection within {seconds:g} s.", "Check the address, routes and firewalls.")
        return Unavailable(f"{where} did not answer the request to {target} within {seconds:g} s.", "Look at the load of the API server.", target.subject)
    if connecting:
        return NotSent(f"There is no connection to {where}.", "Check the address, routes and firewalls.")
    return Unavailable(f"{where} cut the connection during the request to {target}.", "Look at the log of the API server.", target.subject)
