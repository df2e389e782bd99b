"""What a host tries on the others, and what it expects, follows from their firewalls and its own address."""

from __future__ import annotations

from typing import Any

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_reach import Reach, targets_of


def firewall(host: str, address: str, other_ports: str = "closed", **ports: tuple[int, list[str]]) -> dict[str, Any]:
    openings = [{"name": name, "protocol": "tcp", "ports": [str(port)], "from": sources, "to": []} for name, (port, sources) in ports.items()]
    return {"host": host, "addresses": [address], "openings": openings, "other_ports": other_ports}


WALLS = [
    firewall("db", "10.0.0.1", sql=(5432, ["10.0.0.2"]), ssh=(22, ["anywhere"])),
    firewall("node", "10.0.0.2", "open", registry=(5555, [])),
    firewall("web", "10.0.0.3", http=(80, ["anywhere"])),
]


def expected(me: str) -> set[tuple[str, int, bool]]:
    return {(target.host, target.port, target.expected) for target in targets_of(WALLS, me)}


def test_every_port_that_any_rule_names_is_tried_where_other_ports_are_closed() -> None:
    assert expected("node") == {
        *{("db", 5432, True), ("db", 22, True), ("db", 80, False), ("db", 5555, False)},
        *{("web", 80, True), ("web", 22, False), ("web", 5432, False), ("web", 5555, False)},
    }


def test_only_its_own_ports_are_tried_where_others_are_open() -> None:
    assert {entry for entry in expected("web") if entry[0] == "node"} == {("node", 5555, False)}
    assert ("db", 5432, False) in expected("web")


def test_a_host_alone_has_nothing_to_look_at_and_that_is_no_failure() -> None:
    job = Reach({"me": "db", "firewalls": WALLS[:1], "timeout": 0.1})
    assert job.observe() == []
    assert job.conclude([], [], job.plan([]), enforced=True)["findings"][0]["status"] == "pass"


def test_of_a_range_and_of_other_protocols_as_much_is_tried_as_can_be() -> None:
    ranged = {**firewall("db", "10.0.0.1"), "openings": [{"name": "a", "protocol": "tcp", "ports": ["8000-8010", "9000"], "from": ["anywhere"]}]}
    udp = {**firewall("dns", "10.0.0.4", "open"), "openings": [{"name": "b", "protocol": "udp", "ports": ["53"], "from": ["anywhere"]}]}
    assert {(target.host, target.port) for target in targets_of([ranged, udp, WALLS[2]], "web")} == {("db", 8000), ("db", 9000), ("db", 80)}
