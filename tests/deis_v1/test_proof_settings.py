"""What is asked for stands in a real etcd afterwards, and nothing else; what is predicted is done, once; whoever writes meanwhile is not overwritten."""

from __future__ import annotations

import json
import random
import stat
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.v1_settings import VERB, V1Settings
from ansible_collections.paas.hardening.plugins.module_utils._core.run import run
from ansible_collections.paas.hardening.plugins.module_utils._platforms.deis_v1 import BY_OPTION, SETTINGS
from tests.deis_v1.conftest import parameters, settings
from tests.deis_v1.servers import PLANES, Certificates, Etcd, install
from tests.perf import figures
from tests.proof import Measured

ALL: dict[str, Any] = {
    "registration_mode": "admin_only",
    "administrator_exists": True,
    "web_enabled": False,
    "tls_protocols": ["TLSv1.2"],
    "tls_ciphers": "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256:!aNULL:!MD5:!RC4",
    "tls_session_cache": "shared:SSL:10m",
    "tls_session_timeout": "5m",
    "tls_session_tickets": False,
    "enforce_https": True,
    "hsts_enabled": True,
    "hsts_max_age": 31536000,
    "hsts_include_subdomains": True,
    "firewall_enabled": True,
    "firewall_error_code": 403,
    "controller_whitelist": ["192.0.2.0/24:office", "198.51.100.7"],
    "body_size": "100m",
    "server_tokens": False,
    "nginx_status": False,
    "error_log_level": "warn",
    "logs_drain": "tcp://logs.example.com:514",
    "logs_storage": "memory:2000",
    "placement_options": True,
}
STATED = {
    "controller/registrationMode": "admin_only",
    "controller/webEnabled": "0",
    "router/sslProtocols": "TLSv1.2",
    "router/sslSessionTickets": "off",
    "router/enforceHTTPS": "true",
    "router/hsts/enabled": "true",
    "router/hsts/maxAge": "31536000",
    "router/firewall/enabled": "true",
    "router/firewall/errorCode": "403",
    "router/controller/whitelist": "192.0.2.0/24:office,198.51.100.7",
    "router/serverTokens": "off",
    "router/enableNginxStatus": "false",
    "logs/drain": "tcp://logs.example.com:514",
    "platform/enablePlacementOptions": "true",
}


def pair(certificates: Certificates) -> dict[str, str]:
    return {"tls_certificate": certificates.text("server.crt"), "tls_key": certificates.text("server.key"), "tls_dhparam": certificates.text("dh2048.pem")}


def statuses(result: dict[str, Any]) -> dict[str, str]:
    return {finding["control"].removeprefix("v1-"): finding["status"] for finding in result["findings"]}


def said(result: dict[str, Any], area: str) -> str:
    (found,) = [finding for finding in result["findings"] if finding["control"] == f"v1-{area}"]
    return " ".join(found["reasons"])


def good(result: dict[str, Any]) -> dict[str, Any]:
    assert not result.get("failed"), result
    return result


def test_every_recommendation_that_keys_can_carry_out(etcd: Etcd, certificates: Certificates, folder: str) -> None:
    install(etcd, planes=PLANES)
    asked = {**ALL, **pair(certificates), "backup_folder": folder, "keys": {"database/password": "p" * 20, "database/adminPass": "q" * 20}}
    before = good(settings(etcd, check=True))
    assert statuses(before) == dict.fromkeys(
        ("registration", "tls", "router-firewall", "router", "logs", "backup", "database-password", "etcd", "store", "end-of-life"), "fail"
    ) | dict.fromkeys(("controller", "planes", "keys"), "pass")
    predicted, found, count = good(settings(etcd, check=True, **asked)), etcd.values("/"), etcd.counter()
    assert etcd.counter() == count
    done = good(settings(etcd, **asked))
    assert done["plan"] == predicted["plan"]
    assert done["diff"] == predicted["diff"]
    after = etcd.values("/")
    assert {path: after.get(f"/deis/{path}") for path in STATED} == STATED
    assert after["/deis/router/sslKey"] == certificates.text("server.key").strip()
    # What nobody asked for is as it was.
    touched = {change["object"].split()[1] for change in done["plan"]}
    assert {key: value for key, value in after.items() if key not in touched} == {key: value for key, value in found.items() if key not in touched}
    fixed = ("registration", "tls", "router-firewall", "router", "controller", "planes", "backup", "keys")
    # A drain in clear text, an etcd that everybody reads, Ceph's door and the end of corrections are for a person.
    assert statuses(done) == dict.fromkeys(fixed, "fixed") | {"database-password": "pass"} | dict.fromkeys(("logs", "etcd", "store", "end-of-life"), "fail")
    again = good(settings(etcd, **asked))
    assert statuses(again) == {area: "pass" if status == "fixed" else status for area, status in statuses(done).items()}


def test_a_second_run_sends_no_write(etcd: Etcd, certificates: Certificates, folder: str, measured: Measured) -> None:
    install(etcd, planes=PLANES)
    asked = {**ALL, **pair(certificates), "backup_folder": folder}
    first = good(settings(etcd, **asked))
    keys = [change for change in first["plan"] if not change["object"].startswith("File ")]
    counter, writes = etcd.counter(), etcd.writes()
    again = good(settings(etcd, **asked))
    assert (again["changed"], again["plan"]) == (False, [])
    refused = sum(etcd.writes().values()) - sum(writes.values())
    measured(
        figures.at_most("Deis v1: writes of a second run, by etcd's own count", etcd.counter() - counter + refused, "", 0),
        figures.told("Deis v1: keys of the first run", float(len(keys)), "writes"),
    )


def test_one_write_for_each_key(etcd: Etcd) -> None:
    etcd.put("/deis/router/bodySize", "5m")
    counter = etcd.counter()
    done = good(settings(etcd, body_size="100m", server_tokens=False, logs_storage="memory", absent=["worker_processes"]))
    assert etcd.counter() - counter == len(done["plan"]) == 3
    assert [(change["before"], change["after"]) for change in done["plan"]] == [("5m", "100m"), (None, "off"), (None, "memory")]


def test_what_goes_is_the_default_again(etcd: Etcd) -> None:
    good(settings(etcd, registration_mode="disabled", administrator_exists=True, body_size="5m"))
    done = good(settings(etcd, absent=["registration_mode", "body_size", "hsts_enabled"]))
    assert [change["after"] for change in done["plan"]] == [None, None]
    assert (etcd.value("/deis/controller/registrationMode"), etcd.value("/deis/router/bodySize")) == (None, None)
    assert done["settings"]["registration_mode"] == "enabled"


@pytest.mark.parametrize("others", [{"/deis/router/bodySize": "7m"}, {"/deis/router/bodySize": "100m"}, {"/deis/router/bodySize": "7m", "/deis/new": "1"}])
def test_whoever_writes_meanwhile_is_seen_and_not_overwritten_blindly(etcd: Etcd, others: dict[str, str]) -> None:
    """The other one writes between our look and our write, once: we look again, and know his value before we write."""
    etcd.put("/deis/router/bodySize", "1m")

    class Raced(V1Settings):
        raced = False

        def plan(self, observed: Any) -> Any:
            plan = super().plan(observed)
            if not self.raced:
                self.raced = True
                for key, value in others.items():
                    etcd.put(key, value)
            return plan

    done = good(run(Raced, parameters(endpoints=[etcd.url], body_size="100m"), check=False, diff=False))
    wanted = others["/deis/router/bodySize"] == "100m"
    assert [change["before"] for change in done["plan"]] == ([] if wanted else ["7m"])
    assert done["changed"] is not wanted
    assert etcd.value("/deis/router/bodySize") == "100m"


def test_who_always_writes_is_a_conflict(etcd: Etcd) -> None:
    class Raced(V1Settings):
        times = 0

        def plan(self, observed: Any) -> Any:
            plan = super().plan(observed)
            self.times += 1
            etcd.put("/deis/router/bodySize", f"{self.times}m")
            return plan

    failed = run(Raced, parameters(endpoints=[etcd.url], body_size="100m"), check=False, diff=False)
    assert (failed["failed"], failed["changed"], failed["failure"]["reason"]) == (True, False, "Conflict")
    assert failed["failure"]["object"] == "/deis/router/bodySize"


@pytest.mark.parametrize("seed", range(1, 13))
def test_any_state_and_any_wish(etcd: Etcd, seed: int) -> None:
    """Predicted, done, done once, and nothing else touched, from states that nobody thought of."""
    chance = random.Random(seed)
    for setting in SETTINGS:
        if chance.random() < 0.3:
            etcd.put(setting.key, chance.choice(["true", "false", "on", "17", "", "admin-only"]))
    for number in range(chance.randrange(4)):
        etcd.put(f"/deis/foreign/{number}", "kept")
    plain = {**ALL, "placement_options": False, "enforce_https": False, "hsts_enabled": False}
    names = [name for name in plain if name in BY_OPTION]
    chosen = chance.sample(names, chance.randrange(len(names)))
    absent = [name for name in names if name not in chosen and chance.random() < 0.3]
    asked = {**{name: plain[name] for name in chosen}, "absent": absent, "administrator_exists": True}
    found = etcd.values("/deis")
    predicted, counter = good(settings(etcd, check=True, **asked)), etcd.counter()
    assert etcd.values("/deis") == found
    done = good(settings(etcd, **asked))
    assert done["plan"] == predicted["plan"]
    assert etcd.counter() - counter == len(done["plan"])
    touched = {change["object"].split()[1] for change in done["plan"]}
    assert touched <= {BY_OPTION[name].key for name in (*chosen, *absent)}
    after = etcd.values("/deis")
    assert {key: value for key, value in after.items() if key not in touched} == {key: value for key, value in found.items() if key not in touched}
    assert not good(settings(etcd, **asked))["plan"]


def test_backups_hold_what_was_and_what_is(etcd: Etcd, folder: str, tmp_path: Path) -> None:
    fleeting = {"/deis/controller/host", "/deis/controller/port", "/deis/database/host", "/deis/store/gateway/host"}
    etcd.put("/elsewhere/key", "kept, too: é\n")
    before = {key: value for key, value in etcd.values("/").items() if key not in fleeting}
    predicted = good(settings(etcd, check=True, body_size="5m", backup_folder=folder))
    assert list(Path(folder).iterdir()) == []
    done = good(settings(etcd, body_size="5m", backup_folder=folder))
    assert done["plan"] == predicted["plan"]
    written = [Path(change["object"].split(maxsplit=1)[1]) for change in done["plan"] if change["object"].startswith("File ")]
    assert [stat.S_IMODE(path.stat().st_mode) for path in written] == [0o600, 0o600]
    kept = [json.loads(path.read_text())["keys"] for path in written]
    assert kept == [before, {**before, "/deis/router/bodySize": "5m"}]
    again = good(settings(etcd, body_size="5m", backup_folder=folder))
    assert (again["plan"], statuses(again)["backup"]) == ([], "pass")
    # They are good for what they are kept for.
    with Etcd(tmp_path / "empty").running() as empty:
        for key, value in kept[0].items():
            empty.put(key, value)
        assert empty.values("/") == before
        assert good(settings(empty, check=True))["platform_release"] == "v1.13.4"


@pytest.mark.parametrize("spoil", ["cut", "opened", "gone"])
def test_a_spoilt_backup_is_made_again(etcd: Etcd, folder: str, spoil: str) -> None:
    good(settings(etcd, backup_folder=folder))
    (path,) = Path(folder).iterdir()
    text = path.read_text()
    if spoil == "cut":
        path.write_text(text[:-10])
    elif spoil == "opened":
        path.chmod(0o644)
    else:
        path.unlink()
    predicted = good(settings(etcd, check=True, backup_folder=folder))
    assert statuses(predicted)["backup"] == "would-fix"
    good(settings(etcd, backup_folder=folder))
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (text, 0o600)


def test_the_verb_is_what_the_module_runs() -> None:
    assert VERB.begin is V1Settings
