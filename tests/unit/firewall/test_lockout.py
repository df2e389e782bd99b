"""What the plan of a firewall says before anything is touched: who would be locked out, and what a host without nft gets."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls import host_firewall
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Refused
from ansible_collections.paas.hardening.plugins.module_utils._host.firewall import safety, service

NOTHING = service.Kept(None, 0, None, False, False)
HERE = "192.0.2.9"


def rule(name: str = "ssh", port: str = "22", *sources: str) -> dict[str, Any]:
    return {"name": name, "protocol": "tcp", "ports": [port], "from": list(sources or [HERE]), "to": []}


def planned(*rules: dict[str, Any], client: safety.Client | None = None, **options: Any) -> list[str]:
    """What changes on a host that has no nft yet."""
    params = {"rules": list(rules), "other_ports": "closed", "rollback_after": 60, "allow_lockout": False, "on_refusal": "fail", "step": "whole", **options}
    plan = host_firewall.begin(params).plan(host_firewall.Observed(None, None, NOTHING, client))
    return [str(change.ref) for change in plan.changes]


def test_a_host_without_nft_gets_it_before_its_rules() -> None:
    assert planned(rule(), client=safety.Client(HERE, 22))[:2] == ["Packages nftables", "Firewall inet paas_hardening"]


@pytest.mark.parametrize(
    ("rules", "client"),
    [
        ([rule("ssh", "22", "192.0.2.1")], safety.Client(HERE, 22)),
        ([rule("web", "443", "anywhere")], safety.Client(HERE, 22)),
        ([rule("web", "443", "anywhere")], None),
        ([], None),
        ([{**rule("ssh", "2222"), "from": []}], None),
        ([{**rule("tunnel", "22"), "protocol": "udp"}], None),
    ],
)
def test_rules_by_which_nobody_could_come_back_are_refused_with_the_remedy(rules: list[dict[str, Any]], client: safety.Client | None) -> None:
    with pytest.raises(Refused, match=r"you would be locked out|No rule lets anybody log in over SSH") as refused:
        planned(*rules, client=client)
    assert "firewall_administrators" in refused.value.hint
    assert planned(*rules, client=client, on_refusal="report") == []
    assert planned(*rules, client=client, allow_lockout=True)[0] == "Packages nftables"


@pytest.mark.parametrize("rules", [[rule("ssh", "2222")], [rule("administration", "20-25")]])
def test_who_came_another_way_needs_a_rule_for_ssh_and_no_more(rules: list[dict[str, Any]]) -> None:
    assert planned(*rules)[0] == "Packages nftables"


def test_where_other_ports_stay_open_nobody_is_locked_out() -> None:
    assert planned(rule("registry", "5555"), other_ports="open")[0] == "Packages nftables"
