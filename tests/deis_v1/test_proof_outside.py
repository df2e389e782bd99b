"""What keys do is seen from outside: at the controller's door for new accounts, at the routers' ports, and at ports that have to be shut."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deis_v1.conftest import settings
from tests.deis_v1.servers import Certificates, Etcd
from tests.deis_v1.standins import Platform
from tests.deis_v1.test_proof_settings import good, pair, statuses

TOKEN = secrets.token_hex(20)
# The old releases of TLS are what is looked for.
pytestmark = pytest.mark.filterwarnings("ignore:ssl:DeprecationWarning")


@pytest.fixture
def platform(etcd: Etcd, tmp_path: Path) -> Iterator[Platform]:
    with Platform(etcd, tmp_path / "platform", token=TOKEN).running() as running:
        yield running


def where(platform: Platform) -> dict[str, Any]:
    ports = {"router_http_port": platform.http_port, "router_https_port": platform.https_port}
    return {"controller_url": platform.url, "router_address": "127.0.0.1", **ports}


def proof(result: dict[str, Any], area: str) -> dict[str, str]:
    (found,) = [finding for finding in result["findings"] if finding["control"] == f"v1-{area}"]
    return {check["what"].split(" at ")[0]: check["observed"] for check in found["proof"]["checks"]}


def test_registration_is_seen_to_be_closed_and_open(etcd: Etcd, platform: Platform) -> None:
    door = "POST /v1/auth/register"
    asked = {"controller_url": platform.url, "administrator_exists": True}
    before = good(settings(etcd, check=True, registration_mode="admin_only", **asked))
    assert (proof(before, "registration"), statuses(before)["registration"]) == ({door: "open: HTTP 400"}, "would-fix")
    for mode, seen in (("admin_only", "closed: HTTP 403"), ("disabled", "closed: HTTP 403"), ("enabled", "open: HTTP 400")):
        done = good(settings(etcd, registration_mode=mode, **asked))
        assert proof(done, "registration") == {door: seen}
        assert statuses(done)["registration"] == ("fail" if mode == "enabled" else "fixed")


def test_an_administrator_is_asked_for(etcd: Etcd, platform: Platform, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    asked = {"controller_url": platform.url, "administrator_token_file": str(token)}
    assert good(settings(etcd, registration_mode="disabled", **asked))["changed"]
    good(settings(etcd, registration_mode="enabled", **asked))
    token.write_text(secrets.token_hex(20))
    failed = settings(etcd, registration_mode="admin_only", **asked)
    assert (failed["failure"]["reason"], "not that of an administrator" in failed["msg"]) == ("Refused", True)
    failed = settings(etcd, registration_mode="admin_only", **{**asked, "controller_url": "http://127.0.0.1:9"})
    assert (failed["failure"]["reason"], "does not answer" in failed["msg"]) == ("Refused", True)
    assert etcd.value("/deis/controller/registrationMode") == "enabled"


def test_routers_are_seen_to_take_what_they_should(etcd: Etcd, platform: Platform, certificates: Certificates) -> None:
    asked = {**pair(certificates), "tls_protocols": ["TLSv1.2"], "enforce_https": True, "hsts_enabled": True, **where(platform)}
    good(settings(etcd, **pair(certificates)))
    before = good(settings(etcd, check=True, **asked))
    # As the keys say by now: all three releases.
    assert proof(before, "tls") == dict.fromkeys(("TLSv1", "TLSv1.1", "TLSv1.2"), "accepted")
    done = good(settings(etcd, **asked))
    assert proof(done, "tls") == {
        "TLSv1": "refused",
        "TLSv1.1": "refused",
        "TLSv1.2": "accepted",
        "HTTP": "HTTP 301",
        "HTTPS": "told",
    }
    assert statuses(done)["tls"] == "fixed"
    # Everybody is sent to HTTPS by now, and so is whoever knocks at the controller.
    assert "give controller_url with https" in proof(done, "registration")["POST /v1/auth/register"]
    assert statuses(good(settings(etcd, **asked)))["tls"] == "pass"


def test_each_release_of_tls_is_told_from_the_others(etcd: Etcd, platform: Platform, certificates: Certificates) -> None:
    for words in (["TLSv1"], ["TLSv1.1"], ["TLSv1", "TLSv1.1"], ["TLSv1.1", "TLSv1.2"]):
        done = good(settings(etcd, **pair(certificates), tls_protocols=words, **where(platform)))
        assert {name for name, seen in proof(done, "tls").items() if seen == "accepted"} == set(words)


def test_it_waits_for_components_that_look_now_and_then(etcd: Etcd, tmp_path: Path, certificates: Certificates) -> None:
    with Platform(etcd, tmp_path / "slow", lag=4.0).running() as platform:
        asked = {"registration_mode": "disabled", "administrator_exists": True, **where(platform)}
        done = good(settings(etcd, **asked))
        assert (statuses(done)["registration"], done["proof"]["checks"][0]["verdict"]) == ("fixed", "pass")


def test_a_component_that_does_not_obey_is_no_success(etcd: Etcd, tmp_path: Path, certificates: Certificates) -> None:
    with Platform(etcd, tmp_path / "deaf", deaf=("controller/registrationMode", "router/sslProtocols")).running() as platform:
        asked = {"registration_mode": "disabled", "administrator_exists": True, "wait_timeout": 2, **where(platform)}
        failed = settings(etcd, **asked)
        assert (failed["failed"], failed["changed"], failed["failure"]["reason"]) == (True, True, "NotProven")
        assert "open: HTTP 400" in failed["msg"]
        audited = good(settings(etcd, check=True, on_refusal="report", **asked))
        assert statuses(audited)["registration"] == "fail"
        failed = settings(etcd, **pair(certificates), tls_protocols=["TLSv1.2"], wait_timeout=2, **where(platform))
        assert (failed["failure"]["reason"], "TLSv1 at" in failed["msg"]) == ("NotProven", True)


def test_who_is_not_reached_is_not_taken_for_well(etcd: Etcd) -> None:
    asked = {"controller_url": "http://127.0.0.1:9", "router_address": "127.0.0.1", "router_http_port": 9, "router_https_port": 9}
    etcd.put("/deis/controller/registrationMode", "disabled")
    found = good(settings(etcd, check=True, **asked))
    assert (statuses(found)["registration"], found["proof"]["verdict"]) == ("unknown", "unknown")
    failed = settings(etcd, registration_mode="disabled", wait_timeout=1, **asked)
    assert failed["failure"]["reason"] == "NotProven"


def test_ports_that_have_to_be_shut(etcd: Etcd) -> None:
    """Loopback throws nothing away: where nobody listens it refuses, and nothing keeps us out."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        opened = int(server.getsockname()[1])
        found = good(settings(etcd, check=True, closed_hosts=["127.0.0.1"], closed_ports=[opened, 9]))
    (ports,) = [finding for finding in found["findings"] if finding["control"] == "v1-ports"]
    assert (ports["status"], ports["severity"]) == ("fail", "critical")
    assert [check["observed"].split(",")[0] for check in ports["proof"]["checks"]] == ["accepted", "refused"]
    assert "v1-ports" not in {finding["control"] for finding in good(settings(etcd, check=True))["findings"]}
