"""What an inventory may want of a load balancer, and what is refused with the option, its value and a remedy."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from tests.unit.balancer.samples import OWN, PEER, listener, secured, wish

BAD: list[tuple[list[dict[str, Any]], dict[str, Any], str, str]] = [
    ([], {"address": "lb1.example.org"}, "address", "is no address"),
    ([], {"address": "127.0.0.1"}, "address", "not an address that others reach"),
    ([], {"virtual_addresses": ["everywhere"]}, "virtual_addresses", "is no address"),
    ([], {"virtual_addresses": ["2001:db8::9/64"]}, "virtual_addresses", "different families"),
    ([], {"virtual_addresses": [f"{OWN}/24"]}, "virtual_addresses", "the host's own address"),
    ([], {"peers": ["lb2"]}, "peers", "is no address"),
    ([], {"priority": 255}, "priority", "is 255"),
    ([], {"router_id": 0}, "router_id", "is 0"),
    ([], {"status_port": 80}, "status_port", "is 80"),
    ([], {"vrrp_password": "secret"}, "vrrp_password", "8 letters and digits"),
    ([], {"backends": []}, "listeners[web].backends", "is empty"),
    ([], {"backends": ["10.0.1.1;return 200"]}, "listeners[web].backends", "is no backend"),
    ([], {"backends": ["10.0.1.1:99999"]}, "listeners[web].backends", "is no backend"),
    ([], {"backends": ["10.0.1.1", "10.0.1.1:80"]}, "listeners[web].backends", "names one twice"),
    ([], {"backends": [OWN]}, "listeners[web].backends", "a listener here"),
    ([], {"backends": ["10.0.0.9:80"], "virtual_addresses": ["10.0.0.9/24"]}, "listeners[web].backends", "a listener here"),
    ([listener(name="Web!")], {}, "listeners", "is no name"),
    ([listener(port=0)], {}, "listeners[web].port", "is 0"),
    ([listener(idle_timeout=0)], {}, "listeners[web].idle_timeout", "is 0"),
    ([listener(redirect=True)], {}, "listeners[web].redirect", "only passes connections on"),
    ([listener(tls_certificate="/a")], {}, "listeners[web].tls_certificate", "only passes connections on"),
    ([listener(mode="http", proxy_protocol=True)], {}, "listeners[web].proxy_protocol", "X-Forwarded-For"),
    ([secured(tls_key="")], {}, "listeners[portal].tls_certificate", "belong together"),
    ([secured(tls_key="/etc/a key; x")], {}, "listeners[portal].tls_key", "is '/etc/a key; x'"),
    ([secured(redirect=True)], {}, "listeners[portal].redirect", "has TLS already"),
    ([secured(body_limit="50 bananas")], {}, "listeners[portal].body_limit", "50 bananas"),
    ([secured(server_names=["a b"])], {}, "listeners[portal].server_names", "'a b'"),
    ([listener(), listener(port=81)], {}, "listeners", "two are named web"),
    ([listener(), listener(name="other")], {}, "listeners[web].port", "the same port 80"),
    ([secured(), secured(name="other")], {}, "listeners[portal].server_names", "no server_names"),
    ([listener(port=8099)], {}, "status_port", "the same port 8099"),
]


@pytest.mark.parametrize(("listeners", "options", "subject", "words"), BAD, ids=[f"{number}-{entry[2]}" for number, entry in enumerate(BAD)])
def test_what_cannot_be_is_refused_with_its_option(listeners: list[dict[str, Any]], options: dict[str, Any], subject: str, words: str) -> None:
    with pytest.raises(Invalid) as refused:
        wish(*listeners, **options)
    assert (refused.value.subject, words in refused.value.message) == (subject, True), refused.value.message
    assert refused.value.hint


def test_backends_are_written_in_every_way_that_there_is() -> None:
    given = ["10.0.1.1", "10.0.1.2:8080", "node3.example.org", "2001:db8::1", "[2001:db8::2]:8443"]
    assert [str(backend) for backend in wish(backends=given).listeners[0].backends] == [
        "10.0.1.1:80",
        "10.0.1.2:8080",
        "node3.example.org:80",
        "[2001:db8::1]:80",
        "[2001:db8::2]:8443",
    ]


def test_what_a_backend_answers_with_is_known_from_the_port_unless_it_is_told() -> None:
    wanted = wish(
        listener(name="a", port=80),
        listener(name="b", port=443),
        listener(name="c", port=2222),
        listener(name="d", port=5671),
        listener(name="e", answers="tls") | {"port": 8443},
    )
    assert [one.answers for one in wanted.listeners] == ["http", "tls", "banner", "any", "tls"]


def test_the_order_of_an_inventory_does_not_matter() -> None:
    one = wish(secured(server_names=["b.example.org", "a.example.org"]), peers=[PEER, "10.0.0.4"])
    other = wish(secured(server_names=["a.example.org", "b.example.org"]), peers=["10.0.0.4", PEER])
    assert one == other


def test_a_password_is_in_no_representation() -> None:
    assert "abcd1234" not in repr(wish(vrrp_password="abcd1234"))
