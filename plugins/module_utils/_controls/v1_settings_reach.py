# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a platform whose settings are keys of etcd shows to the host that we are on: its door for new accounts, its routers, and ports that have to be shut."""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._controls.v1_settings_plan import effective
from ansible_collections.paas.hardening.plugins.module_utils._controls.v1_settings_wish import Outside
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, UNKNOWN, Check, Proof
from ansible_collections.paas.hardening.plugins.module_utils._host import old_tls
from ansible_collections.paas.hardening.plugins.module_utils._host.balancer.probe import ANSWERED, Door, knock
from ansible_collections.paas.hardening.plugins.module_utils._host.balancer.wishes import HTTP, WEB
from ansible_collections.paas.hardening.plugins.module_utils._host.etcd.keys import Tree
from ansible_collections.paas.hardening.plugins.module_utils._host.firewall.knock import Target, knock_at_all, reached
from ansible_collections.paas.hardening.plugins.module_utils._host.metrics.server import Server
from ansible_collections.paas.hardening.plugins.module_utils._platforms import deis_v1 as facts

# Seconds that one answer from outside may take.
_SECONDS = 5.0
_VERSIONS: Dict[str, int] = {"TLSv1": old_tls.TLS_1_0, "TLSv1.1": old_tls.TLS_1_1, "TLSv1.2": old_tls.TLS_1_2}
_TAKEN = {True: "accepted", False: "refused", None: "no answer"}


def _controller(outside: Outside) -> Server:
    return Server(outside.controller_url, ca_file=outside.controller_ca_file, timeout=_SECONDS)


def registration(outside: Outside, tree: Tree) -> Proof:
    """Knock at the door for new accounts without giving a name: no account is made, whatever it answers."""
    if not outside.controller_url:
        return Proof()
    expected = "closed" if effective(facts.BY_OPTION["registration_mode"], tree) in facts.CLOSING else "open"
    what = f"POST {facts.REGISTER} at {outside.controller_url}"
    try:
        status = _controller(outside).ask("POST", facts.REGISTER, body=b"{}", headers={"Content-Type": "application/json"}).status
    except Failure as failure:
        return Proof((Check(what, expected, f"no answer ({failure.message})", UNKNOWN),))
    if status in (301, 302, 307, 308):
        return Proof((Check(what, expected, f"HTTP {status}: it sends us elsewhere, so give controller_url with https", UNKNOWN),))
    means = facts.REGISTER_MEANS.get(status, "unknown")
    verdict = UNKNOWN if means == "unknown" else PASS if means == expected else FAIL
    return Proof((Check(what, expected, f"{means}: HTTP {status}", verdict),))


def administrators(outside: Outside) -> Tuple[Optional[int], str]:
    """Return how many administrators the controller tells to one of them, or None with the reason."""
    if not outside.token:
        return None, ""
    server = _controller(outside)
    try:
        answer = server.ask("GET", facts.ADMINISTRATORS, headers={"Authorization": f"token {outside.token}"})
    except Failure as failure:
        return None, failure.message.rstrip(".")
    if answer.status != 200:
        return None, f"{server.url} answers {answer.status} to the token: it is not that of an administrator"
    results = answer.document.get("results")
    # Whoever may see the list is one, whatever else stands in it.
    return (max(1, len(results)) if isinstance(results, list) else 1), ""


def routers(outside: Outside, tree: Tree) -> Proof:
    """See which releases of TLS the routers take, and whether they send those to HTTPS who come without."""
    if not outside.router_address:
        return Proof()
    name = f"{tree.value(facts.SUBDOMAIN) or facts.DEFAULT_SUBDOMAIN}.{tree.value(facts.DOMAIN) or 'invalid'}"
    ended_here = bool(effective(facts.BY_OPTION["tls_certificate"], tree))
    wanted = effective(facts.BY_OPTION["tls_protocols"], tree).split() if ended_here else None
    checks = [_version(outside, name, version, wanted) for version in _VERSIONS]
    if effective(facts.BY_OPTION["enforce_https"], tree) == "true":
        checks.append(_redirect(outside, name))
    if ended_here and effective(facts.BY_OPTION["hsts_enabled"], tree) == "true":
        checks.append(_strict(outside, name))
    return Proof(tuple(checks))


def _version(outside: Outside, name: str, version: str, wanted: Optional[List[str]]) -> Check:
    """Without a certificate of the routers' own, what stands before them is only held to the recommendation."""
    taken = old_tls.takes(outside.router_address, outside.https_port, _VERSIONS[version], name, _SECONDS)
    expected = version in (wanted if wanted is not None else ("TLSv1.2",))
    verdict = UNKNOWN if taken is None else PASS if taken == expected else FAIL
    return Check(f"{version} at {outside.router_address}:{outside.https_port}", _TAKEN[expected], _TAKEN[taken], verdict)


def _redirect(outside: Outside, name: str) -> Check:
    door = Door("", outside.router_address, outside.http_port, HTTP, WEB, False, True, name, _SECONDS)
    answer = knock(door)
    verdict = PASS if answer.kind == ANSWERED else FAIL if answer.detail.startswith("HTTP") else UNKNOWN
    return Check(f"HTTP at {outside.router_address}:{outside.http_port} for {name}", "HTTP 301 to HTTPS", answer.detail or answer.kind, verdict)


def _strict(outside: Outside, name: str) -> Check:
    door = Door("", outside.router_address, outside.https_port, HTTP, WEB, True, False, name, _SECONDS)
    answer = knock(door)
    seen = "told" if answer.strict else "not told" if answer.kind == ANSWERED else "no answer"
    verdict = PASS if answer.strict else FAIL if answer.kind == ANSWERED else UNKNOWN
    return Check(f"HTTPS at {outside.router_address}:{outside.https_port} for {name}: to come by HTTPS only", "told", seen, verdict)


def ports(outside: Outside) -> Proof:
    """Knock at what has to be shut for everybody but the members."""
    because = "whoever reaches it owns the platform"
    targets = [Target(host, host, port, False, because) for host in outside.hosts for port in outside.ports]
    return Proof(tuple(_port(target, answer) for target, answer in knock_at_all(targets, _SECONDS / 2)) if targets else ())


def _port(target: Target, answer: str) -> Check:
    # A port that nobody listens on harms nobody today, but nothing keeps us out tomorrow.
    verdict = FAIL if reached(answer) else PASS
    return Check(f"TCP {target.port} of {target.host}", f"not reached, since {target.because}", answer, verdict)
