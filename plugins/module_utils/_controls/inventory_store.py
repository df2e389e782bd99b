# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The object store of the inventory that a platform can move to: the host that has its buckets, and the identity that may do no more than it must. Pure."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set

from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import Way

_ROLE, _RESULT = "object_store_server", "__object_store_server_result"
_WRITE, _REGION = "write", "us-east-1"


class Needs(NamedTuple):
    """What a platform needs of a store: its buckets, and how its components speak to it. ``title`` is what it is called."""

    title: str
    buckets: Set[str]
    schemes: Sequence[str]
    fixed: bool


def inventory_store(hosts: Sequence[Mapping[str, Any]], platform: str = "", buckets: Optional[Mapping[str, str]] = None) -> Dict[str, Any]:
    """Return the store among these hosts, by their variables, that a platform moves to.

    ``problems`` says what is missing on every one of them, in sentences; nothing when there is a store. ``platform`` may not be known yet: then it is judged by
    the buckets that are given. The rest is for the module: endpoint, region, ca_certificates, access_key, secret_key; ``seen`` and ``ready`` are what this run
    has found there.
    """
    needs = _needs(platform, buckets or {})
    problems: List[str] = []
    for host in hosts:
        wrong = _problems(host, needs)
        if not wrong:
            return {**_target(host, needs), "problems": []}
        problems += wrong
    return {"host": str(hosts[0]["inventory_hostname"]) if hosts else "", "seen": False, "ready": False, "problems": problems}


def _needs(name: str, buckets: Mapping[str, str]) -> Needs:
    known = [(PLATFORMS[name].title, PLATFORMS[name].object_storage)] if name else [(one.title, one.object_storage) for one in PLATFORMS.values()]
    ways = [(title, facts, next((way for way in facts.ways if way.addressed), Way("s3", "", ()))) for title, facts in known]
    # Those whose buckets have fixed names need none to be given.
    fitting = [entry for entry in ways if name or entry[2].fixed_buckets != bool(buckets)]
    title, facts, way = fitting[0]
    bundled = {user.bucket for user in facts.users if user.role}
    wanted = bundled if way.fixed_buckets else {str(one) for one in buckets.values()}
    return Needs(title if name else "the platform", wanted, way.schemes, way.fixed_buckets)


def _of(host: Mapping[str, Any], name: str, default: Any) -> Any:
    """Return a variable of the role, or its default where the inventory has none."""
    return host.get(f"{_ROLE}_{name}") or default


def _problems(host: Mapping[str, Any], needs: Needs) -> List[str]:
    """Return what is missing on one host."""
    name, found = str(host["inventory_hostname"]), []
    missing = sorted(needs.buckets - {str(bucket["name"]) for bucket in _of(host, "buckets", [])})
    if not needs.buckets:
        found.append("object_storage_buckets: missing. Name the bucket of each component of the platform.")
    elif missing:
        found.append(f"{name} has no bucket {', '.join(missing)}: add to its {_ROLE}_buckets what {needs.title} keeps there.")
    elif _identity(host, needs) is None:
        told = ", ".join(sorted(needs.buckets))
        found.append(f"{name} has no identity that may write in {told}: add one to its {_ROLE}_identities, with these buckets and rights of its own.")
    region = _of(host, "region", _REGION)
    if needs.fixed and region != _REGION:
        found.append(f"{name} has the region {region}, and {needs.title} knows {_REGION} only: leave {_ROLE}_region out.")
    if not _scheme(host, needs):
        reason = "speaks plain HTTP to such a store, and nothing else"
        remedy = f"give it {_ROLE}_plain_port, a door without TLS that the firewall opens to the nodes of the cluster alone"
        if "https" in needs.schemes:
            reason = "cannot verify the authority that the host makes for itself: its pods know those of their images"
            remedy += f", or {_ROLE}_tls_certificate, _tls_key and _tls_authority of an authority that the images know"
        found.append(f"{name} can be reached by TLS only, and {needs.title} {reason}: {remedy}.")
    return found


def _scheme(host: Mapping[str, Any], needs: Needs) -> str:
    """Return how the platform's components reach the host: https where they can verify it, else by its door without TLS; nothing where there is none."""
    if "https" in needs.schemes and _of(host, "tls_certificate", ""):
        return "https"
    return "http" if _of(host, "plain_port", 0) else ""


def _identity(host: Mapping[str, Any], needs: Needs) -> Optional[Mapping[str, Any]]:
    """Return the identity with the fewest buckets that may write in all those of the platform."""
    able = [one for one in _of(host, "identities", []) if one.get("rights", _WRITE) == _WRITE and needs.buckets <= set(one["buckets"])]
    return min(able, key=lambda one: len(set(one["buckets"]))) if able else None


def _target(host: Mapping[str, Any], needs: Needs) -> Dict[str, Any]:
    store, who = (host.get(_RESULT) or {}).get("store") or {}, _identity(host, needs) or {}
    safe = _scheme(host, needs) == "https"
    return {
        "host": str(host["inventory_hostname"]),
        "seen": bool(store),
        "ready": bool(store.get("ready")),
        "endpoint": store.get("endpoint" if safe else "plain_endpoint", ""),
        "region": store.get("region", ""),
        "ca_certificates": store.get("authority", "") if safe else "",
        "access_key": who["access_key"],
        "secret_key": who["secret_key"],
    }
