"""What stands in the configurations of nginx and keepalived, what a change by hand is called, and which option a complaint is about."""

from __future__ import annotations

from ansible_collections.paas.hardening.plugins.module_utils._host.balancer import keepalived, nginx
from tests.unit.balancer.samples import BARE, CERTIFICATE, PEER, VIRTUAL, listener, secured, wish

ROUTERS = (listener(proxy_protocol=True), listener(name="builder", port=2222, proxy_protocol=False, idle_timeout=3600))


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines()]


def test_connections_to_routers_are_passed_on_as_each_listener_says() -> None:
    parts = nginx.parts_of(nginx.render(wish(*ROUTERS), BARE).text)
    assert "proxy_protocol on;" in parts["listener web"]
    assert "proxy_protocol on;" not in parts["listener builder"]
    assert ("proxy_timeout 1200s;" in parts["listener web"], "proxy_timeout 3600s;" in parts["listener builder"]) == (True, True)
    assert "server 10.0.1.2:2222 max_fails=2 fail_timeout=10s;" in parts["listener builder"]
    assert "listen [::]:80 so_keepalive=on;" in parts["listener web"]
    assert "[::]" not in nginx.render(wish(*ROUTERS), BARE._replace(six=False)).text


def test_where_nginx_ends_tls_it_does_so_by_the_profile() -> None:
    plain = listener(name="plain", mode="http", redirect=True)
    text = nginx.render(wish(plain, secured(server_names=["*.example.org"], body_limit="100m")), BARE).text
    parts = nginx.parts_of(text)
    assert "ssl_protocols TLSv1.2 TLSv1.3;" in parts["tls"]
    assert "client_max_body_size 100m;" in parts["listener portal"]
    assert 'add_header Strict-Transport-Security "max-age=31536000" always;' in parts["listener portal"]
    assert "ssl_reject_handshake on;" in parts["strangers at 443"]
    assert "return 301 https://$host$request_uri;" in parts["listener plain"]
    assert "load_module" not in text
    assert "http2" not in text
    assert "http2 on;" in nginx.render(wish(secured()), BARE._replace(version=(1, 26, 3))).text
    assert "ssl_protocols TLSv1.3;" in nginx.render(wish(secured(), tls_minimum="1.3"), BARE).text


def test_without_names_a_listener_is_for_all() -> None:
    text = nginx.render(wish(secured()), BARE).text
    assert "listen 443 ssl default_server;" in text
    assert "strangers" not in text


def test_the_generation_changes_with_the_text_and_with_a_certificate() -> None:
    wanted = wish(secured())
    first = nginx.render(wanted, BARE._replace(certificates={CERTIFICATE: "one"}))
    again = nginx.render(wanted, BARE._replace(certificates={CERTIFICATE: "one"}))
    renewed = nginx.render(wanted, BARE._replace(certificates={CERTIFICATE: "two"}))
    assert first == again
    assert first.generation in first.text
    assert first.generation != renewed.generation
    assert nginx.differences(first.text, renewed.text) == [("generation", "another", "that of this text and of the certificates")]


def test_a_change_by_hand_is_called_by_the_part_that_it_is_in() -> None:
    wanted = nginx.render(wish(*ROUTERS, secured()), BARE).text
    assert nginx.differences(wanted, wanted) == []
    by_hand = wanted.replace("server 10.0.1.2:2222 max_fails=2 fail_timeout=10s;", "").replace("TLSv1.2 TLSv1.3", "TLSv1 TLSv1.2")
    assert [part for part, _before, _after in nginx.differences(by_hand, wanted)] == ["listener builder", "tls"]
    assert [part for part, _before, _after in nginx.differences(wanted + "# [mine]\nworker_priority 1;\n", wanted)] == ["mine"]
    assert [part for part, _before, _after in nginx.differences("user www-data;\n", wanted)] == ["content"]
    assert [part for part, _before, _after in nginx.differences(None, wanted)] == ["listener web", "listener builder", "tls", "listener portal"]


def test_a_complaint_of_nginx_leads_to_the_option() -> None:
    rendered = nginx.render(wish(*ROUTERS, secured()), BARE)
    number = lines(rendered.text).index("server 10.0.1.2:2222 max_fails=2 fail_timeout=10s;") + 1
    told = f'nginx: [warn] nothing\nnginx: [emerg] host not found in upstream "10.0.1.2:2222" in /tmp/x/tried.conf:{number}\n'
    complaint = nginx.complaint_of(told, "/tmp/x/tried.conf")
    assert complaint == f'host not found in upstream "10.0.1.2:2222" in {nginx.FILE}:{number}'
    assert rendered.option_of(complaint) == "listeners[builder].backends"
    logged = told.replace("nginx: [emerg]", "2026/01/01 00:00:00 [emerg] 7#7:")
    assert nginx.complaint_of(told + logged, "/tmp/x/tried.conf") == complaint
    assert rendered.option_of(f'cannot load certificate "{CERTIFICATE}": PEM_read_bio_X509_AUX() failed') == "listeners[portal].tls_certificate"
    assert rendered.option_of("something else") == ""


def test_the_version_is_read_from_what_nginx_tells() -> None:
    assert nginx.version_of("nginx version: nginx/1.22.1\n") == (1, 22, 1)
    assert nginx.version_of("") == ()


def test_keepalived_speaks_with_its_peers_only_and_runs_its_check_without_rights() -> None:
    wanted = wish(peers=[PEER], virtual_addresses=[f"{VIRTUAL}/24"], priority=190)
    text = lines(keepalived.render(wanted, "eth0").text)
    for line in ("vrrp_version 3", "enable_script_security", "vrrp_check_unicast_src", "nopreempt", "priority 190", "interface eth0", PEER, f"{VIRTUAL}/24"):
        assert line in text
    assert f"script_user {keepalived.ACCOUNT} {keepalived.ACCOUNT}" in text
    assert "auth_type PASS" not in text


def test_the_password_is_in_the_file_and_nothing_of_it_in_the_generation() -> None:
    one, other = (keepalived.render(wish(virtual_addresses=[f"{VIRTUAL}/24"], vrrp_password=password), "eth0") for password in ("abcd1234", "efgh5678"))
    assert ("auth_pass abcd1234" in one.text, one.text != other.text, one.generation == other.generation) == (True, True, True)
    assert "vrrp_version 2" in one.text
    number = lines(one.text).index("auth_pass abcd1234") + 1
    assert one.option_of(f"(Line {number}) something") == "vrrp_password"
