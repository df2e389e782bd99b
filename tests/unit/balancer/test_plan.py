"""What is planned for a host in each state, in which order, and what is left to a person."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_load_balancer_plan import Planner, refusal_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.host_load_balancer_reach import attempts_of, holders
from ansible_collections.paas.hardening.plugins.module_utils._host import accounts, files, units
from ansible_collections.paas.hardening.plugins.module_utils._host.balancer import keepalived, nginx, service, tls
from tests.unit.balancer.samples import CERTIFICATE, KEY, NO_FILE, NOW, OWN, PEER, VIRTUAL, listener, observed, secured, wish

PAIR = wish(secured(server_names=["www.example.org"]), listener(), peers=[PEER], virtual_addresses=[f"{VIRTUAL}/24"])
DOWN = units.State(False, False, False)


def planned(**changes: Any) -> list[tuple[str, str]]:
    return [(change.ref.kind, change.field) for change in Planner(PAIR, observed(PAIR, **changes)).plan().changes]


def remarks(**changes: Any) -> list[str]:
    planner = Planner(PAIR, observed(PAIR, **changes))
    planner.plan()
    return [remark.text for remark in planner.remarks]


def test_where_all_is_as_wanted_nothing_is_planned() -> None:
    assert planned() == []
    assert remarks() == []


def test_a_bare_host_gets_everything_in_an_order_that_works() -> None:
    bare = {
        "missing": ("nginx", "libnginx-mod-stream", "keepalived"),
        "account": None,
        "config": NO_FILE,
        "addresses_config": NO_FILE,
        "script": NO_FILE,
        "drop_ins": dict.fromkeys(service.DROP_INS, NO_FILE),
        "units": dict.fromkeys(service.DROP_INS, DOWN),
        "served": None,
        "told": None,
    }
    changes = Planner(PAIR, observed(PAIR, **bare)).plan().changes
    assert list(dict.fromkeys(str(change.ref) for change in changes)) == [
        "Packages load balancer",
        f"File {service.DROP_INS[service.NGINX]}",
        f"File {nginx.FILE}",
        f"Unit {service.NGINX}",
        f"Account {keepalived.ACCOUNT}",
        f"File {keepalived.SCRIPT}",
        f"File {service.DROP_INS[service.KEEPALIVED]}",
        f"File {keepalived.FILE}",
        f"Unit {service.KEEPALIVED}",
    ]


UNIT = units.State(True, True, False)
FAULTS: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "stopped": ({"units": {service.NGINX: UNIT._replace(active=False), service.KEEPALIVED: UNIT}}, [("Unit", "running")]),
    "masked": ({"units": {service.NGINX: DOWN._replace(masked=True), service.KEEPALIVED: UNIT}}, [("Unit", "at boot"), ("Unit", "running")]),
    "another configuration in force": ({"served": "0" * 64}, [("Unit", "reloaded")]),
    "no answer": ({"served": None}, [("Unit", "reloaded")]),
    "a script that others can write": ({"script": files.Kept(keepalived.script(PAIR), 0o777, "root")}, [("File", "mode")]),
    "a script that says yes": ({"script": files.Kept("#!/bin/sh\n", 0o755, "root")}, [("File", "content")]),
    "an account that can log in": ({"account": accounts.Account(999, "/bin/bash")}, [("Account", "account")]),
    "keepalived told otherwise": ({"told": "0" * 64}, [("Unit", "reloaded")]),
    "keepalived does not check": ({"told": None}, [("Unit", "reloaded")]),
    "keepalived's file by hand": ({"addresses_config": files.Kept("x", 0o600, "root")}, [("File", "content"), ("Unit", "reloaded")]),
    "keepalived's file for all": (
        {"addresses_config": files.Kept(keepalived.render(PAIR, "eth0").text, 0o644, "root")},
        [("File", "mode")],
    ),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_each_fault_has_a_plan_of_its_own(fault: str) -> None:
    changes, expected = FAULTS[fault]
    assert planned(**changes) == expected


def certificate(**changes: Any) -> tuple[tls.Seen, ...]:
    whole = tls.Seen(CERTIFICATE, "PEM", NOW + datetime.timedelta(days=365), ("www.example.org",), True, KEY, files.Kept("", 0o600, "root"))
    return (whole._replace(**changes),)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ends": NOW - datetime.timedelta(days=1)}, "expired on 2025-12-31"),
        ({"ends": NOW + datetime.timedelta(days=29)}, "expires on 2026-01-30"),
        ({"ends": None}, "cannot be read"),
        ({"names": ("*.example.com",)}, "is not for www.example.org"),
        ({"fits_key": False}, f"does not belong to {KEY}"),
    ],
    ids=["expired", "soon", "unreadable", "name", "key"],
)
def test_what_is_wrong_with_a_certificate_is_left_to_a_person(changes: dict[str, Any], words: str) -> None:
    (told,) = remarks(certificates=certificate(**changes))
    assert words in told


def test_names_of_a_certificate_cover_one_level() -> None:
    assert tls.covers(["*.example.org"], "www.example.org")
    assert tls.covers(["*.example.org"], "*.example.org")
    assert not tls.covers(["*.example.org"], "a.b.example.org")
    assert not tls.covers(["*.example.org"], "example.org")


def test_a_key_that_others_can_read_is_taken_from_them() -> None:
    assert planned(certificates=certificate(key=files.Kept("", 0o644, "nobody"))) == [("Private part", "mode"), ("Private part", "owner")]


def test_what_must_not_be_done_is_refused() -> None:
    there = observed(PAIR)
    assert refusal_of(PAIR, there) is None
    for refusal, subject in (
        (refusal_of(PAIR, there._replace(interface=None)), "address"),
        (refusal_of(PAIR, observed(PAIR, certificates=certificate(text=None))), "listeners[portal].tls_certificate"),
        (refusal_of(PAIR, observed(PAIR, certificates=certificate(key=NO_FILE))), "listeners[portal].tls_key"),
        (refusal_of(PAIR, there._replace(nginx_says='host not found in upstream "10.0.1.1:80"')), "listeners[web].backends"),
        (refusal_of(PAIR, there._replace(keepalived_says="Line 9999 unknown")), "virtual_addresses"),
    ):
        assert refusal is not None
        assert (refusal.subject, bool(refusal.hint)) == (subject, True)


def test_of_an_address_that_is_not_wanted_any_more_nothing_is_left_but_what_others_made_is_theirs() -> None:
    alone = wish()
    ours = files.Kept(keepalived.render(PAIR, "eth0").text, 0o600, "root")
    changes = Planner(alone, observed(alone, addresses_config=ours)).plan().changes
    assert [(change.ref.kind, change.field) for change in changes] == [("Unit", "stopped"), ("File", "content")]
    assert not Planner(alone, observed(alone, addresses_config=ours._replace(text="vrrp_instance mine {}\n"))).plan()


def test_a_virtual_address_without_a_second_host_is_told() -> None:
    alone = wish(virtual_addresses=[f"{VIRTUAL}/24"])
    planner = Planner(alone, observed(alone))
    planner.plan()
    assert [remark.text for remark in planner.remarks] == ["Nobody else can take the virtual address."]


def balancer(name: str, address: str, peer: str, *holds: str) -> dict[str, Any]:
    shown = {
        "name": "web",
        "port": 80,
        "mode": "tcp",
        "answers": "http",
        "encrypted": False,
        "redirect": False,
        "server_name": "",
        "hsts": False,
        "patience": 3,
    }
    return {"name": name, "address": address, "peers": [peer], "virtual_addresses": [VIRTUAL], "holds": list(holds), "listeners": [shown]}


def test_everybody_comes_to_the_others_and_to_the_virtual_address() -> None:
    both = [balancer("lb1", OWN, PEER, VIRTUAL), balancer("lb2", PEER, OWN)]
    assert [attempt.door.address for attempt in attempts_of(both, "lb1", 3.0)] == [PEER, VIRTUAL]
    assert [attempt.door.address for attempt in attempts_of(both, "the control node", 3.0)] == [OWN, PEER, VIRTUAL]


def test_a_virtual_address_has_to_be_on_one_host() -> None:
    one, two = balancer("lb1", OWN, PEER, VIRTUAL), balancer("lb2", PEER, OWN)
    assert [check.verdict for check in holders([one, two])] == ["pass"]
    assert [check.observed for check in holders([one, {**two, "holds": [VIRTUAL]}])] == ["lb1, lb2"]
    assert [(check.observed, check.verdict) for check in holders([{**one, "holds": []}, two])] == [("none", "fail")]
    # The other one may have it.
    assert holders([two]) == []
