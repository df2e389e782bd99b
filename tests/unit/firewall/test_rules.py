"""Rules that name groups and hosts become openings with addresses; what cannot be meant is refused in words."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host.firewall.rules import Opening, merged, openings_of, resolved
from ansible_collections.paas.hardening.plugins.module_utils._host.firewall.ruleset import render

GROUPS = {"all": ["db1", "db2", "node1"], "postgres": ["db1", "db2"], "cluster_nodes": ["node1"], "office": []}
ADDRESSES = {"db1": ["10.0.0.1"], "db2": ["10.0.0.2", "fd00::2"], "node1": ["10.0.0.9"]}


def meant_for(host: str, *rules: dict[str, Any]) -> list[dict[str, Any]]:
    return resolved(rules, host, GROUPS, list(ADDRESSES), lambda name: ADDRESSES[name])


def opening(**options: Any) -> Opening:
    (found,) = openings_of([{"name": "one", "ports": ["22"], "from": ["anywhere"], **options}])
    return found


def test_names_become_the_addresses_of_their_hosts() -> None:
    (rule,) = meant_for("db1", {"name": "sql", "ports": ["5432"], "to": ["postgres"], "from": ["cluster_nodes", "db2", "192.0.2.0/24", "anywhere"]})
    assert rule["from"] == ["10.0.0.2", "10.0.0.9", "192.0.2.0/24", "anywhere", "fd00::2"]


def test_a_rule_for_others_is_left_out_and_one_for_nobody_in_particular_is_for_all() -> None:
    rules = [{"name": "sql", "ports": ["5432"], "to": ["postgres"], "from": ["node1"]}, {"name": "ssh", "ports": ["22"], "from": ["node1"]}]
    assert [rule["name"] for rule in meant_for("node1", *rules)] == ["ssh"]
    assert [rule["name"] for rule in meant_for("db2", *rules)] == ["sql", "ssh"]


def test_a_known_group_that_the_inventory_lacks_has_nobody_in_it() -> None:
    (rule,) = meant_for("db1", {"name": "sql", "ports": ["5432"], "from": ["backup", "office", "node1"]})
    assert rule["from"] == ["10.0.0.9"]
    assert meant_for("db1", {"name": "web", "ports": ["80"], "to": ["load_balancer"], "from": ["anywhere"]}) == []


@pytest.mark.parametrize(("names", "words"), [({"from": ["postgers"]}, "postgres"), ({"from": ["db1"], "to": ["nodes of mine"]}, "anywhere")])
def test_a_name_that_nobody_has_is_refused_with_what_may_be_meant(names: dict[str, list[str]], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        meant_for("db1", {"name": "sql", "ports": ["5432"], **names})


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"ports": ["0"]}, "'0' is no port"),
        ({"ports": ["70000"]}, "is no port"),
        ({"ports": ["20-10"]}, "is no port"),
        ({"ports": ["ssh"]}, "is no port"),
        ({"ports": []}, "tcp needs ports"),
        ({"protocol": "vrrp"}, "vrrp has no ports"),
        ({"from": ["postgres"]}, "is no address"),
        ({"from": ["10.0.0.300"]}, "is no address"),
        ({"name": 'a" accept comment "b'}, "is no name"),
        ({"name": ""}, "is no name"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(rule: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        opening(**rule)


def test_two_rules_of_one_name_are_refused() -> None:
    with pytest.raises(Invalid, match="Two rules have the name ssh"):
        openings_of([{"name": "ssh", "ports": ["22"], "from": []}, {"name": "ssh", "ports": ["23"], "from": []}])


def test_networks_within_others_and_ports_that_touch_are_joined() -> None:
    found = opening(ports=["22", "24", "23", "8000-8010", "8005-8020"], **{"from": ["10.0.0.0/25", "10.0.0.128/25", "10.0.0.7", "10.9.9.9/8", "fd00::1"]})
    assert found.as_rule() == {"name": "one", "protocol": "tcp", "ports": ["22-24", "8000-8020"], "from": ["10.0.0.0/8", "fd00::1"], "to": []}
    assert merged([]) == ()


def test_who_gets_in() -> None:
    some = opening(**{"from": ["10.0.0.0/24", "fd00::/64"]})
    assert some.lets_in("10.0.0.7", "tcp", 22)
    assert some.lets_in("fd00::7", "tcp", 22)
    assert not some.lets_in("10.0.1.7", "tcp", 22)
    assert not some.lets_in("10.0.0.7", "udp", 22)
    assert not some.lets_in("10.0.0.7", "tcp", 23)
    assert opening().lets_in("203.0.113.1", "tcp", 22)
    assert not opening(**{"from": []}).lets_in("10.0.0.7", "tcp", 22)


def test_the_ruleset_ends_in_a_drop_of_everything_else_or_of_what_rules_name() -> None:
    rules = [opening(name="a", ports=["22", "80"], **{"from": []}), opening(name="b", ports=["81"]), opening(name="c", protocol="udp", ports=["53"])]
    assert render(rules, closed=True).splitlines()[-3].strip() == 'counter drop comment "everything else"'
    drops = [line.strip() for line in render(rules, closed=False).splitlines() if " drop " in line]
    assert drops == ['tcp dport { 22, 80-81 } counter drop comment "everything else"', 'udp dport { 53 } counter drop comment "everything else"']
    assert 'comment "rule a"' not in render(rules, closed=True)
