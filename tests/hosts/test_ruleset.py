"""Rulesets as a real kernel takes them, in a network namespace that nobody sees: each way of changing the table is seen, and put into words."""

from __future__ import annotations

import random

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host.firewall import kernel
from ansible_collections.paas.hardening.plugins.module_utils._host.firewall.live import differences
from ansible_collections.paas.hardening.plugins.module_utils._host.firewall.rules import openings_of
from ansible_collections.paas.hardening.plugins.module_utils._host.firewall.ruleset import render

RULES = [
    {"name": "ssh", "ports": ["22"], "from": ["192.0.2.0/28", "198.51.100.7", "2001:db8::/64"]},
    {"name": "sql", "ports": ["5432", "6432"], "from": ["198.51.100.1"]},
    {"name": "web", "ports": ["80", "8000-8010"], "from": ["anywhere"]},
    {"name": "vip", "protocol": "vrrp", "from": ["198.51.100.2"]},
]
TEXT = render(openings_of(RULES), closed=True)
# What somebody does to the table: a part of its text, what he makes of it, the field by which it is told.
CHANGES = {
    "a port opened": ('counter drop comment "every', 'tcp dport 9999 accept\n\t\tcounter drop comment "every', "made by hand: tcp dport 9999 accept"),
    "a source added": ("198.51.100.1 }", "198.51.100.1, 203.0.113.9 }", "rule sql"),
    "a source taken away": (", 198.51.100.7 }", " }", "rule ssh"),
    "a port added": ("5432, 6432", "5432, 6432, 7432", "rule sql"),
    "a rule made wider": ("8000-8010", "8000-9010", "rule web"),
    "a rule opened to all": ("ip saddr { 198.51.100.1 } tcp", "tcp", "rule sql"),
    "a rule turned round": ('accept comment "rule web"', 'drop comment "rule web"', "rule web"),
    "the last drop taken away": ('\t\tcounter drop comment "everything else"\n', "", "everything else"),
    "the last drop turned round": ("counter drop", "counter accept", "everything else"),
    "answers forgotten": ("established, related", "established", "answers"),
    "loopback forgotten": ('\t\tiifname "lo" accept comment "this host itself"\n', "", "this host itself"),
    "another hook": ("hook prerouting priority -150", "hook input priority 0", "chain guard"),
    "another policy": ("policy accept", "policy drop", "chain guard"),
    "put to sleep": ("table inet paas_hardening {", "table inet paas_hardening {\n\tflags dormant;", "chain guard"),
    "a set beside it": ("\tchain guard {", "\tset mine { type ipv4_addr; }\n\tchain guard {", "chain guard"),
    "a chain beside it": ("\tchain guard {", "\tchain mine { }\n\tchain guard {", "chain guard"),
    "a rule under our name": ('comment "rule web"\n', 'comment "rule web"\n\t\ttcp dport 1 accept comment "rule web"\n', "rule web"),
}


@pytest.mark.parametrize(("part", "instead", "field"), list(CHANGES.values()), ids=list(CHANGES))
def test_what_somebody_changed_is_seen_and_told(part: str, instead: str, field: str) -> None:
    assert part in TEXT
    wanted, live = kernel.rehearsed(TEXT), kernel.rehearsed(TEXT.replace(part, instead, 1))
    assert field in [name for name, _before, _after in differences(live, wanted)]


def test_the_order_of_rules_counts_and_that_of_addresses_does_not() -> None:
    lines = TEXT.splitlines()
    rule = next(number for number, line in enumerate(lines) if "rule web" in line)
    swapped = [*lines[: rule - 1], lines[rule], lines[rule - 1], *lines[rule + 1 :]]
    (found,) = differences(kernel.rehearsed("\n".join(swapped) + "\n"), kernel.rehearsed(TEXT))
    assert found[0] == "order of the rules"
    shuffled = [{**rule, "from": random.Random(7).sample(rule["from"], len(rule["from"]))} for rule in RULES]
    assert differences(kernel.rehearsed(render(openings_of(shuffled), closed=True)), kernel.rehearsed(TEXT)) == []


def test_words_are_those_of_the_rule() -> None:
    told = {name: after for name, _before, after in differences(None, kernel.rehearsed(TEXT))}
    assert told["rule sql"] == "tcp 5432, 6432 from 198.51.100.1"
    assert told["rule web"] == "tcp 80, 8000-8010 from anywhere"
    assert told["rule ssh"] == "tcp 22 from 192.0.2.0/28, 198.51.100.7; tcp 22 from 2001:db8::/64"
    assert told["rule vip"] == "vrrp from 198.51.100.2"


def test_a_ruleset_that_nft_does_not_take_is_told_before_anything_is_touched() -> None:
    with pytest.raises(Invalid, match="Nothing was changed"):
        kernel.rehearsed(TEXT.replace("tcp dport", "tcp prot"))


@pytest.mark.parametrize("seed", range(8))
def test_any_rules_are_taken_and_read_back_as_they_were_written(seed: int) -> None:
    """A hundred addresses and networks, overlapping ports: what one kernel made of the text another says it has."""
    chance = random.Random(seed)

    def source() -> str:
        if chance.random() < 0.2:
            return f"2001:db8:{chance.randrange(9)}::/{chance.choice([48, 64, 128])}"
        return f"10.{chance.randrange(4)}.{chance.randrange(4)}.{chance.randrange(256)}/{chance.choice([8, 16, 24, 28, 32, 32, 32])}"

    def port() -> str:
        first = chance.randrange(1, 60000)
        return chance.choice([str(first), f"{first}-{first + chance.randrange(5000)}"])

    rules = [
        {"name": f"r{n}", "ports": [port() for _ in range(chance.randrange(1, 9))], "from": [source() for _ in range(chance.randrange(100))]} for n in range(9)
    ]
    for closed in (True, False):
        text = render(openings_of(rules), closed)
        assert differences(kernel.rehearsed(text), kernel.rehearsed(text)) == []
