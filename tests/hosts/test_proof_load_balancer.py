"""Two load balancers on real hosts of Debian 12 and 13: predicted, done, done once, seen from outside, up after a reboot, every fault named and mended,
no connection lost by a change, and an address that is elsewhere within three seconds when its host, keepalived or nginx is gone.

The tests tell one story, in this order.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from lab import processes
from tests import labs
from tests.hosts.balancer_site import ADDRESSES, CERTIFICATE, CHECK, CONFIG, KEY, NAME, OUTSIDE, PAIR, REACH, RESULT, Balancers, Load
from tests.perf import figures
from tests.proof import Measured

NOTHING: dict[str, list[dict[str, Any]]] = {name: [] for name in PAIR}
# Seconds in which an address may be nobody's.
BAR = 3.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, report: Callable[[str], None]) -> Iterator[Balancers]:
    """Two bare hosts, and a third with routers."""
    with labs.hosts(["lb1", "lb2:trixie", "web"], report=report, purpose="lb") as fleet:
        made = Balancers(fleet, tmp_path_factory.mktemp("lb"))
        made.start_backends()
        made.give_certificate()
        yield made


def statuses(result: Mapping[str, Any]) -> set[str]:
    return {finding["status"] for finding in result["findings"]}


def finding(result: Mapping[str, Any], control: str) -> Mapping[str, Any]:
    return next(one for one in result["findings"] if one["control"] == f"host-balancer-{control}")


def test_an_audit_of_bare_hosts_tells_what_is_missing_and_touches_nothing(site: Balancers) -> None:
    look = "ls -A /etc/nginx /etc/keepalived /etc/systemd/system /etc/paas-hardening /run 2>&1; getent passwd paas-balancer; true"
    before = {name: site.hosts[name].run(look) for name in PAIR}
    run = site.run(load_balancer_mode="audit").ok()
    for name in PAIR:
        assert statuses(run.result(RESULT, name)) == {"would-fix"}, run.output
        assert finding(run.result(REACH, name), "reach")["status"] == "fail"
    assert "[WOULD FIX] A virtual address moves by itself" in run.output
    assert {name: site.hosts[name].run(look) for name in PAIR} == before


def test_what_check_mode_predicts_is_what_happens_and_it_happens_once(site: Balancers, measured: Measured) -> None:
    predicted = site.run("--check", "--diff").ok()
    begun = time.monotonic()
    done = site.run("--diff").ok()
    seconds = time.monotonic() - begun
    assert site.plans(done) == site.plans(predicted)
    for name in PAIR:
        assert statuses(done.result(RESULT, name)) == {"fixed"}
        assert statuses(done.result(REACH, name)) == {"pass"}
    assert statuses(done.result(OUTSIDE)) == {"pass"}
    begun = time.monotonic()
    again = site.run().ok()
    again_seconds = time.monotonic() - begun
    measured(figures.told("two load balancers from nothing", seconds, "s"), figures.told("two load balancers: second run", again_seconds, "s"))
    assert site.plans(again) == NOTHING
    assert "changed=1" not in again.output
    assert {status for name in PAIR for status in statuses(again.result(RESULT, name))} == {"pass"}


def test_connections_are_distributed_and_tell_whose_they_are(site: Balancers) -> None:
    for address in [site.virtual, *(site.hosts[name].address for name in PAIR)]:
        answers = [site.get(address) for _attempt in range(8)]
        assert {answer.split()[0] for answer in answers} == {"8081", "8082"}
        # By the PROXY protocol a router sees the client, not the balancer.
        assert {answer.split()[1] for answer in answers} == {site.controller}
        with socket.create_connection((address, 2222), timeout=5) as builder:
            assert builder.recv(100).startswith(b"SSH-2.0-228")


def test_where_nginx_ends_tls_it_keeps_to_the_profile(site: Balancers) -> None:
    status, body, headers = site.secured(site.virtual)
    assert (status, body.split()[1:]) == (200, [site.controller, "https", NAME])
    assert headers["strict-transport-security"] == "max-age=31536000"
    assert "nginx/" not in headers.get("server", "")
    # What a client says of its own address does not count.
    forged = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "gopher"}
    assert site.secured(site.virtual, **forged)[1].split()[1:3] == [site.controller, "https"]
    assert [site.secured(site.virtual, "POST", size)[0] for size in (1 << 20, (1 << 20) + 1)] == [200, 413]
    with pytest.raises(ssl.SSLError):
        site.secured(site.virtual, name="other.example.org")
    told = site.hosts["web"].run(f"curl -s -o /dev/null -w '%{{http_code}} %{{redirect_url}}' http://{site.virtual}:8080/a?b=c")
    assert told == f"301 https://{site.virtual}/a?b=c"


def test_curl_is_refused_with_old_tls_and_served_with_new(site: Balancers) -> None:
    """A client that we did not write, and that is told to take any cipher, judges."""
    words = f"curl -sk --ciphers ALL:@SECLEVEL=0 --resolve {NAME}:443:{site.virtual} -o /dev/null -w '%{{http_code}}' https://{NAME}/"
    seen = {version: site.hosts["web"].run(f"{words} --tlsv{version} --tls-max {version} || true").strip() for version in ("1.0", "1.1", "1.2", "1.3")}
    assert seen == {"1.0": "000", "1.1": "000", "1.2": "200", "1.3": "200"}


def test_a_websocket_goes_through(site: Balancers) -> None:
    context = ssl.create_default_context(cafile=str(site.folder / "portal-ca.crt"))
    with socket.create_connection((site.virtual, 443), timeout=5) as plain, context.wrap_socket(plain, server_hostname=NAME) as tunnel:
        tunnel.sendall(f"GET / HTTP/1.1\r\nHost: {NAME}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".encode())
        assert tunnel.recv(1000).startswith(b"HTTP/1.1 101 ")
        tunnel.sendall(b"ping\n")
        assert tunnel.recv(100) == b"ping\n"


def test_a_backend_that_dies_is_passed_over(site: Balancers, measured: Measured) -> None:
    site.hosts["web"].run("systemctl stop backend-two")
    load = Load(site, site.virtual, patience=1.0)
    load.await_answers(100)
    gap = load.end()
    measured(figures.at_most("one of two backends gone: requests lost", len(load.bad), f"of {len(load.good)}", 0, f"longest gap {gap:.2f} s"))
    site.start_backends()


def test_the_site_of_the_distribution_is_not_served(site: Balancers) -> None:
    for name in PAIR:
        assert "Welcome to nginx" not in site.hosts[name].run("curl -s -m 5 http://127.0.0.1/ || true")
        assert "sites-enabled" not in site.hosts[name].run("nginx -T 2>/dev/null")


def test_the_check_runs_without_rights_and_nobody_waits_on_a_password(site: Balancers) -> None:
    for name in PAIR:
        host = site.hosts[name]
        assert host.run("stat -c %U /run/paas-hardening-balancer/keepalived").strip() == "paas-balancer"
        assert host.run(f"stat -c '%a %U' {ADDRESSES} {KEY} {CHECK}").split() == ["600", "root", "600", "root", "755", "root"]
        assert "SECURITY VIOLATION" not in host.run("journalctl --unit keepalived --no-pager --output=cat")


def test_after_a_reboot_all_is_up_and_nothing_is_to_be_done(site: Balancers) -> None:
    for name in PAIR:
        site.hosts[name].reboot()
    assert processes.wait_until(lambda: len(site.holders()) == 1, 20)
    run = site.run().ok()
    assert site.plans(run) == NOTHING
    assert statuses(run.result(OUTSIDE)) == {"pass"}


def test_what_nginx_does_not_take_changes_nothing_and_is_told_with_its_option(site: Balancers) -> None:
    look = f"cat {CONFIG}; systemctl show --property=MainPID nginx; pgrep -P $(cat /run/nginx.pid) | sort | head -1"
    before = {name: site.hosts[name].run(look) for name in PAIR}
    broken = site.listeners(builder={"backends": ["no-such-host.invalid"]})
    load = Load(site, site.virtual, patience=1.0)
    for arguments in ((), ("--check",)):
        run = site.run(*arguments, load_balancer_listeners=broken)
        assert run.status == 2
        message = run.result(RESULT, "lb1")["msg"]
        assert 'nginx does not take listeners[builder].backends: host not found in upstream "no-such-host.invalid:2222"' in message, message
        assert run.result(RESULT, "lb1")["failure"]["object"] == "listeners[builder].backends"
    load.await_answers()
    load.end()
    assert load.bad == []
    assert {name: site.hosts[name].run(look) for name in PAIR} == before
    audit = site.run(load_balancer_mode="audit", load_balancer_listeners=broken).ok()
    assert finding(audit.result(RESULT, "lb1"), "service")["status"] == "fail"


def test_a_port_that_another_program_holds_brings_the_old_configuration_back(site: Balancers) -> None:
    host = site.hosts["lb2"]
    before = host.run(f"cat {CONFIG}")
    host.run("systemd-run --quiet --collect --unit=squatter python3 -m http.server 8443")
    more = [*site.listeners(), {"name": "more", "port": 8443, "backends": [f"{site.hosts['web'].address}:8081"], "proxy_protocol": True}]
    run = site.run("--limit", "lb2", load_balancer_listeners=more)
    message = run.result(RESULT, "lb2")["msg"]
    assert ("The old configuration is back" in message, "8443" in message) == (True, True), message
    assert host.run(f"cat {CONFIG}") == before
    host.run("systemctl stop squatter")
    assert site.plans(site.run().ok()) == NOTHING


def test_a_change_under_load_loses_no_connection(site: Balancers, measured: Measured) -> None:
    with socket.create_connection((site.virtual, 2222), timeout=5) as builder:
        builder.recv(100)
        load = Load(site, site.virtual, patience=2.0)
        load.await_answers()
        for seconds in (900, 901, 902, 1200):
            run = site.run(load_balancer_listeners=site.listeners(web={"idle_timeout": seconds})).ok()
            assert "reloaded" in [change["field"] for change in run.result(RESULT, "lb1")["plan"]]
        # keepalived reads a change, too, and lets go of no address for it.
        for addresses in ([f"{site.virtual}/24", f"{site.virtual[:-1]}1/24"], [f"{site.virtual}/24"]):
            site.run(load_balancer_virtual_addresses=addresses).ok()
        load.await_answers()
        gap = load.end()
        measured(figures.at_most("six changes under load: requests lost", len(load.bad), f"of {len(load.good)}", 0, f"longest gap {gap:.2f} s"))
        # A push that was under way is under way still.
        builder.sendall(b"still here\n")
        assert builder.recv(100) == b"still here\n"
    assert site.plans(site.run().ok()) == NOTHING


def test_a_renewed_certificate_is_read(site: Balancers) -> None:
    site.give_certificate()
    run = site.run().ok()
    assert [change["field"] for change in site.plans(run)["lb1"]] == ["generation", "reloaded"]
    assert site.secured(site.virtual)[0] == 200


# What takes the host that has the address out of service: how, and how it comes back.
LOSSES = {
    "power cut": ("POWER", ""),
    "nginx stopped": ("systemctl stop nginx", "systemctl start nginx"),
    "nginx killed": ("kill -9 $(cat /run/nginx.pid)", ""),
    "nginx hangs": ("systemctl kill --signal=STOP nginx", "systemctl kill --signal=CONT nginx"),
    "keepalived stopped": ("systemctl stop keepalived", "systemctl start keepalived"),
    "keepalived killed": ("kill -9 $(systemctl show --property=MainPID --value keepalived)", ""),
    "keepalived killed with all that it started": ("systemctl kill --signal=KILL keepalived", ""),
}


@pytest.mark.parametrize("loss", list(LOSSES))
def test_the_address_is_served_again_within_three_seconds(site: Balancers, loss: str, measured: Measured) -> None:
    assert processes.wait_until(lambda: len(site.holders()) == 1, 20)
    (holder,) = site.holders()
    host = site.hosts[holder]
    command, mending = LOSSES[loss]
    load = Load(site, site.virtual)
    load.await_answers()
    if command == "POWER":
        host.cut_power()
    else:
        host.run(command)
    time.sleep(BAR)
    load.await_answers()
    gap = load.end()
    if command == "POWER":
        host.start()
        host.await_ready()
    elif mending:
        host.run(mending)
    measured(figures.at_most(f"{loss}: nobody answered for", gap, "s", BAR, f"{len(load.bad)} of {len(load.bad) + len(load.good)} attempts failed"))
    assert processes.wait_until(lambda: len(site.holders()) == 1, 20)
    if loss in ("power cut", "nginx stopped", "keepalived stopped"):
        assert site.holders() != [holder]


def test_after_all_losses_nothing_is_to_be_done(site: Balancers) -> None:
    # Its check has to have run twice before keepalived believes in its nginx again.
    time.sleep(3)
    assert site.plans(site.run().ok()) == NOTHING


# What somebody does on a host by hand, and the field by which the audit tells it. All at once but for the few that hide others.
FAULTS = {
    "a larger body": (f"sed -i 's/client_max_body_size 1m/client_max_body_size 1g/' {CONFIG}", "listener portal"),
    "a router taken out": (f"sed -i '/:8082 /d' {CONFIG}", "listener web"),
    "an idle time that cuts builds off": (f"sed -i 's/proxy_timeout 1200s/proxy_timeout 60s/' {CONFIG}", "listener builder"),
    "old TLS": (f"sed -i 's/ssl_protocols /ssl_protocols TLSv1.1 /' {CONFIG}", "tls"),
    "a server that tells its version": (f"sed -i 's/server_tokens off/server_tokens on/' {CONFIG}", "http"),
    "a configuration that all can write": (f"chmod 666 {CONFIG}", "mode"),
    "nginx not started at boot": ("systemctl disable --quiet nginx", "at boot"),
    "nginx does not come back": ("rm /etc/systemd/system/nginx.service.d/paas-hardening.conf; systemctl daemon-reload", "nginx.service.d"),
    "a key that others can read": (f"chmod 644 {KEY}", f"{KEY} mode"),
    "a key of somebody else's": (f"chown www-data {KEY}", f"{KEY} owner"),
    "another priority": (f"sed -i 's/priority .*/priority 254/' {ADDRESSES}", f"{ADDRESSES} content"),
    "keepalived's file for all to read": (f"chmod 644 {ADDRESSES}", f"{ADDRESSES} mode"),
    "a check that says yes": (f"printf '#!/bin/sh\\nexit 0\\n' > {CHECK}", f"{CHECK} content"),
    "a check that others can write": (f"chmod 777 {CHECK}", f"{CHECK} mode"),
    "an account that can log in": ("usermod --shell /bin/bash paas-balancer", "account"),
    "keepalived not started at boot": ("systemctl disable --quiet keepalived", "keepalived.service at boot"),
    "keepalived that leaves its address behind": (
        "sed -i '/ExecStopPost/d' /etc/systemd/system/keepalived.service.d/paas-hardening.conf; systemctl daemon-reload",
        "keepalived.service.d",
    ),
    "keepalived stopped": ("systemctl stop keepalived", "keepalived.service running"),
}
# Each by itself.
ALONE = {
    "the distribution's configuration": (f"printf 'events {{}}\\nhttp {{}}\\n' > {CONFIG}; systemctl reload nginx", f"{CONFIG} content"),
    "nginx masked": ("systemctl disable --now --quiet nginx; systemctl mask --quiet nginx", "nginx.service running"),
    "another configuration in force than in the file": (
        f"cp -p {CONFIG} /run/kept; sed -i 's/1200s/60s/; s/[0-9a-f]\\{{64\\}}/{'1' * 64}/' {CONFIG}; systemctl reload nginx; sleep 1; mv /run/kept {CONFIG}",
        "nginx.service reloaded",
    ),
    "keepalived has read another file": (
        f"cp -p {ADDRESSES} /run/kept; sed -i 's/[0-9a-f]\\{{64\\}}/{'1' * 64}/' {ADDRESSES}; systemctl reload keepalived; sleep 2; mv /run/kept {ADDRESSES}",
        "keepalived.service reloaded",
    ),
}


def named(plan: list[dict[str, Any]]) -> list[str]:
    return [f"{change['object']} {change['field']}" for change in plan]


@pytest.mark.parametrize("name", PAIR)
def test_every_fault_is_named_by_the_audit_and_mended(site: Balancers, name: str, measured: Measured) -> None:
    host = site.hosts[name]
    for seeds in (FAULTS, *({fault: seed} for fault, seed in ALONE.items())):
        for command, _field in seeds.values():
            host.run(command)
        audit = site.run("--limit", name, load_balancer_mode="audit").ok()
        fields = named(site.plans(audit, [name])[name])
        assert [fault for fault, (_command, field) in seeds.items() if not any(field in told for told in fields)] == [], fields
        assert "would-fix" in statuses(audit.result(RESULT, name))
        done = site.run("--limit", name).ok()
        assert site.plans(done, [name]) == site.plans(audit, [name])
        assert site.plans(site.run("--limit", name).ok(), [name]) == {name: []}
    assert site.get(host.address).split()[0] in ("8081", "8082")
    count = len(FAULTS) + len(ALONE)
    measured(figures.at_least(f"faults of a load balancer named and mended, {name}", count, f"of {count}", count))


def test_an_address_on_two_hosts_is_named(site: Balancers) -> None:
    (other,) = set(PAIR) - set(site.holders())
    site.hosts[other].run(f"ip address add {site.virtual}/24 dev host0")
    try:
        audit = site.run(load_balancer_mode="audit").ok()
        told = finding(audit.result(OUTSIDE), "reach")
        assert told["status"] == "fail"
        assert [check["observed"] for check in told["proof"]["checks"] if check["what"].startswith("hosts that have")] == ["lb1, lb2"]
    finally:
        site.hosts[other].run(f"ip address del {site.virtual}/24 dev host0")


def test_backends_that_are_all_away_are_named_from_outside(site: Balancers) -> None:
    site.hosts["web"].run("systemctl stop backend-one backend-two")
    try:
        audit = site.run(load_balancer_mode="audit").ok()
        told = finding(audit.result(OUTSIDE), "reach")
        silent = {check["what"].split()[0] for check in told["proof"]["checks"] if "no backend answers" in check["observed"]}
        assert silent == {"web", "builder", "portal"}
    finally:
        site.start_backends()


BAD_CERTIFICATES = {"old": (5, NAME, "expires on"), "foreign": (365, "other.example.org", "is not for portal.example.org")}


@pytest.mark.parametrize("kind", list(BAD_CERTIFICATES))
def test_a_certificate_that_is_not_good_is_left_to_a_person(site: Balancers, kind: str) -> None:
    days, name, words = BAD_CERTIFICATES[kind]
    site.give_certificate(days, name)
    told = finding(site.run("--limit", "lb1").ok().result(RESULT, "lb1"), "tls")
    assert (told["status"], words in told["reasons"][0]) == ("fail", True), told
    site.give_certificate()
    site.run().ok()


def test_a_certificate_that_is_not_there_is_refused(site: Balancers) -> None:
    away = site.listeners(portal={"tls_certificate": "/etc/ssl/away.crt"})
    run = site.run("--limit", "lb1", load_balancer_listeners=away)
    assert "Listener portal: there is no file /etc/ssl/away.crt" in run.result(RESULT, "lb1")["msg"]
    spoilt = "/etc/ssl/spoilt.crt"
    site.hosts["lb1"].run(f"echo nonsense > {spoilt}")
    run = site.run("--limit", "lb1", load_balancer_listeners=site.listeners(portal={"tls_certificate": spoilt}))
    assert f'nginx does not take listeners[portal].tls_certificate: cannot load certificate "{spoilt}"' in run.result(RESULT, "lb1")["msg"]
    assert site.hosts["lb1"].run(f"grep -c {CERTIFICATE} {CONFIG}").strip() == "1"


def test_with_a_password_the_pair_speaks_vrrp_2_and_nothing_tells_it(site: Balancers) -> None:
    run = site.run("--diff", load_balancer_vrrp_password="Ab12Cd34").ok()
    assert "Ab12Cd34" not in run.output
    assert processes.wait_until(lambda: len(site.holders()) == 1, 20)
    for name in PAIR:
        told = site.hosts[name].run("ps -eo args; journalctl --no-pager --quiet --output=cat | grep -v sshd")
        assert "Ab12Cd34" not in told
    assert site.plans(site.run(load_balancer_vrrp_password="Ab12Cd34").ok()) == NOTHING
    site.run().ok()


def test_without_an_address_nothing_of_it_is_left(site: Balancers) -> None:
    run = site.run(load_balancer_virtual_addresses=[]).ok()
    assert "stopped" in [change["field"] for change in site.plans(run)["lb1"]]
    assert site.holders() == []
    assert site.plans(site.run(load_balancer_virtual_addresses=[]).ok()) == NOTHING
