"""What is wrong with etcd, with the options, or with the moment ends in a sentence that names it; nothing is written by guess, and no secret is told."""

from __future__ import annotations

import contextlib
import http.server
import json
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.v1_settings import V1Settings
from ansible_collections.paas.hardening.plugins.module_utils._core.run import run
from tests.contract.canaries import leaks
from tests.deis_v1.conftest import parameters, settings
from tests.deis_v1.servers import PLANES, Certificates, Etcd, install, members
from tests.deis_v1.test_proof_settings import good, pair, said, statuses

ASKED = {"body_size": "5m"}


def refused(result: dict[str, Any], reason: str, subject: str, *words: str) -> None:
    assert result.get("failed"), result
    assert (result["failure"]["reason"], result["failure"]["object"]) == (reason, subject), result
    assert [word for word in words if word not in result["msg"]] == [], result["msg"]
    assert result["failure"]["hint"], result


@pytest.fixture
def secured(certificates: Certificates, tmp_path: Path) -> Iterator[Etcd]:
    """A member that speaks TLS, and wants a certificate of whoever comes."""
    with Etcd(tmp_path / "secured", tls=certificates).running() as etcd:
        install(etcd)
        yield etcd


def test_nobody_answers() -> None:
    refused(settings(endpoints=["http://127.0.0.1:9"], **ASKED), "Unavailable", "http://127.0.0.1:9", "does not answer")
    audited = good(settings(endpoints=["http://127.0.0.1:9"], check=True, on_refusal="report", **ASKED))
    assert set(statuses(audited).values()) == {"unknown", "fail"}
    assert "does not answer" in said(audited, "etcd")


def test_the_next_member_is_asked(etcd: Etcd) -> None:
    done = good(settings(endpoints=["http://127.0.0.1:9", etcd.url], **ASKED))
    assert done["findings"][0]["subject"] == f"etcd at {etcd.url}"
    assert etcd.value("/deis/router/bodySize") == "5m"


def test_the_etcd_of_something_else(tmp_path: Path) -> None:
    with Etcd(tmp_path / "other").running() as other:
        other.put("/registry/pods", "1")
        refused(settings(other, **ASKED), "NotFound", "endpoints", "no keys of such a platform")
        assert other.values("/") == {"/registry/pods": "1"}


def test_an_etcd_without_the_second_api(tmp_path: Path) -> None:
    with Etcd(tmp_path / "new", v2=False).running() as new:
        refused(settings(new, **ASKED), "Invalid", "endpoints", "--enable-v2")


def test_something_that_is_no_etcd() -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:
            """Nobody reads it."""

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>Welcome to nginx</html>")

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        refused(settings(endpoints=[f"http://127.0.0.1:{server.server_address[1]}"], **ASKED), "Invalid", "endpoints", "not as etcd does")
        server.shutdown()


def entrance(certificates: Certificates) -> dict[str, str]:
    names = {"ca_file": "ca.crt", "client_certificate_file": "client.crt", "client_key_file": "client.key"}
    return {option: certificates.path(name) for option, name in names.items()}


def test_with_a_certificate_etcd_is_shut_for_everybody_else(secured: Etcd, certificates: Certificates) -> None:
    asked = {**entrance(certificates), **ASKED}
    predicted = good(settings(secured, check=True, **asked))
    done = good(settings(secured, **asked))
    assert (done["plan"], statuses(done)["etcd"]) == (predicted["plan"], "pass")
    assert not good(settings(secured, **asked))["changed"]


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        ({"ca_file": "other.crt"}, "Unauthorized", "is not trusted"),
        ({"client_certificate_file": None, "client_key_file": None}, "Unauthorized", "does not trust us"),
        ({"client_certificate_file": "other.crt", "client_key_file": "other.key"}, "Unauthorized", "does not trust us"),
        ({"client_key_file": "server.key"}, "Invalid", "does not fit"),
        ({"client_certificate_file": None}, "Invalid", "one is missing"),
        ({"ca_file": "gone.crt"}, "Invalid", "ca_file"),
    ],
)
def test_tls_that_does_not_fit(secured: Etcd, certificates: Certificates, change: dict[str, str | None], reason: str, words: str) -> None:
    files = {option: certificates.path(name) if name else None for option, name in change.items()}
    counter = secured.counter()
    failed = settings(secured, **{**entrance(certificates), **ASKED, **files})
    assert (failed["failed"], failed["failure"]["reason"]) == (True, reason), failed
    assert words in failed["msg"]
    assert secured.counter() == counter


def test_a_member_with_tls_that_is_asked_without(secured: Etcd) -> None:
    failed = settings(endpoints=[secured.url.replace("https", "http")], **ASKED)
    assert failed["failure"]["reason"] in ("Invalid", "Unavailable"), failed


def test_accounts(tmp_path: Path) -> None:
    password = tmp_path / "password"
    with Etcd(tmp_path / "guarded").running() as etcd:
        install(etcd)
        etcd.open_account()
        password.write_text(f"{etcd.login[1] if etcd.login else ''}\n")
        asked = {"etcd_user": "root", "etcd_password_file": str(password), **ASKED}
        # etcd gives everybody all rights when it is turned on: that is no protection.
        open_door = good(settings(etcd, check=True, **asked))
        assert "Whoever reaches etcd reads every secret" in said(open_door, "etcd")
        assert "take the rights from the role guest" in json.dumps(open_door)
        etcd.shut()
        done = good(settings(etcd, **asked))
        assert done["changed"]
        assert said(done, "etcd") == "etcd is reached without TLS, and sends every secret in clear text."
        assert not good(settings(etcd, **asked))["changed"]
        refused(settings(etcd, **ASKED), "Unauthorized", "etcd_user", "does not take nobody")
        wrong = tmp_path / "wrong"
        wrong.write_text(secrets.token_hex(16))
        failed = settings(etcd, **{**asked, "etcd_password_file": str(wrong)})
        refused(failed, "Unauthorized", "etcd_user", "does not take root")
        assert leaks([wrong.read_text(), etcd.login[1] if etcd.login else ""], json.dumps(failed)) == []


def test_no_quorum_is_told_as_such_and_nothing_is_guessed(tmp_path: Path) -> None:
    found = members(tmp_path / "three")
    try:
        install(found[0])
        urls = [member.url for member in found]
        good(settings(endpoints=urls, body_size="2m"))

        class Bereft(V1Settings):
            """Two of three members die after the look, before the write."""

            def apply(self, plan: Any) -> None:
                for member in found[1:]:
                    member.stop(hard=True)
                super().apply(plan)

        failed = run(Bereft, parameters(endpoints=[urls[0]], **ASKED), check=False, diff=False)
        refused(failed, "Unavailable", "/deis/router/bodySize", "Whether /deis/router/bodySize was written is not known", "run again")
        failed = settings(endpoints=urls, **ASKED)
        assert (failed["failed"], failed["failure"]["reason"]) == (True, "Unavailable"), failed
        # Back again, it looks first: whatever came of the write, the end is as asked, and a further run has nothing to do.
        for member in found[1:]:
            member.start()
        for member in found[1:]:
            member.wait()
        good(settings(endpoints=urls, **ASKED))
        assert found[2].value("/deis/router/bodySize") == "5m"
        assert not good(settings(endpoints=urls, **ASKED))["changed"]
    finally:
        for member in found:
            with contextlib.suppress(OSError):
                member.stop()


def test_a_write_whose_answer_is_lost_counts_when_it_was_made(etcd: Etcd) -> None:
    """The connection breaks after etcd has taken the write: it is asked, and not written twice."""
    lost = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:
            """Nobody reads it."""

        def _pass(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            form = dict(pair.split("=", 1) for pair in self.rfile.read(length).decode().split("&")) if length else None
            status, told, counter = etcd.ask(self.command, self.path, form)
            if self.command == "PUT" and not lost.is_set():
                lost.set()
                self.close_connection = True
                return
            body = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("X-Etcd-Index", str(counter))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = _pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        counter = etcd.counter()
        done = good(settings(endpoints=[f"http://127.0.0.1:{server.server_address[1]}"], **ASKED))
        server.shutdown()
    assert (lost.is_set(), done["changed"], len(done["plan"]), etcd.counter() - counter) == (True, True, 1, 1)


def test_a_folder_where_a_value_belongs(etcd: Etcd) -> None:
    etcd.put("/deis/router/bodySize/inside", "1")
    counter = etcd.counter()
    refused(settings(etcd, tls_session_tickets=False, **ASKED), "Refused", "/deis/router/bodySize", "is a folder in etcd")
    assert etcd.counter() == counter
    audited = good(settings(etcd, check=True, on_refusal="report", tls_session_tickets=False, **ASKED))
    assert "is a folder" in said(audited, "router")
    # The rest of it is judged all the same.
    assert [change["object"] for change in audited["plan"]] == ["Key /deis/router/sslSessionTickets"]
    etcd.put("/deis/logs", "a value")
    refused(settings(etcd, logs_storage="memory"), "Refused", "/deis/logs/storageAdapterType", "is a value in etcd")


def test_nobody_is_locked_out(etcd: Etcd, certificates: Certificates) -> None:
    counter = etcd.counter()
    refused(settings(etcd, registration_mode="admin_only"), "Refused", "administrator_exists", "lets nobody in as the first one")
    refused(settings(etcd, enforce_https=True), "Refused", "enforce_https", "have no certificate")
    refused(settings(etcd, hsts_enabled=True), "Refused", "enforce_https", "have no certificate")
    refused(settings(etcd, enforce_whitelist=True), "Refused", "enforce_whitelist", "Nobody would reach the controller")
    refused(settings(etcd, enforce_whitelist=True, controller_whitelist=["192.0.2.0/24"]), "Refused", "enforce_whitelist", "blog, shop")
    refused(settings(etcd, placement_options=True), "Refused", "placement_options", "controlPlane")
    assert etcd.counter() == counter
    for name in ("blog", "shop"):
        etcd.put(f"/deis/config/{name}/deis_whitelist", "192.0.2.0/24")
    good(settings(etcd, enforce_whitelist=True, controller_whitelist=["192.0.2.0/24"]))
    good(settings(etcd, enforce_https=True, tls_ended_before=True))
    # What is so already is no new danger.
    refused(settings(etcd, absent=["controller_whitelist"]), "Refused", "enforce_whitelist", "Nobody would reach the controller")
    good(settings(etcd, registration_mode="disabled", administrator_exists=True))
    good(settings(etcd, registration_mode="admin_only"))
    good(settings(etcd, registration_mode="enabled"))
    install(etcd, planes=PLANES)
    good(settings(etcd, placement_options=True))
    good(settings(etcd, **pair(certificates), enforce_https=True))
    refused(settings(etcd, absent=["tls_certificate", "tls_key"]), "Refused", "enforce_https", "have no certificate")
    good(settings(etcd, absent=["tls_certificate", "tls_key", "enforce_https"]))


@pytest.mark.parametrize(
    ("release", "asked", "since"),
    [
        ("v1.9.1", {"tls_protocols": ["TLSv1.2"]}, "1.10"),
        ("v1.5.2", {"registration_mode": "disabled", "administrator_exists": True}, "1.6"),
        ("v1.13.0", {"server_tokens": False}, "1.13.1"),
        ("1.10.1", {"logs_storage": "memory"}, "1.11"),
    ],
)
def test_a_release_that_does_not_read_a_key(etcd: Etcd, release: str, asked: dict[str, Any], since: str) -> None:
    install(etcd, release=release)
    refused(settings(etcd, **asked), "Refused", next(iter(asked)), "does not read", f"came with {since}.")
    etcd.remove("/deis/platform/version")
    good(settings(etcd, **asked))


def test_what_has_no_effect_is_told(etcd: Etcd) -> None:
    for path in ("router/enableHSTS", "controller/registrationEnabled"):
        etcd.put(f"/deis/{path}", "true")
    etcd.put("/deis/controller/registrationMode", "admin-only")
    found = good(settings(etcd, check=True, tls_session_timeout="5m", hsts_max_age=60, firewall_error_code=403))
    assert "enableHSTS has no effect" in said(found, "keys")
    assert "registrationEnabled has no effect" in said(found, "keys")
    assert "router/sslSessionTimeout has no effect" in said(found, "tls")
    assert "router/hsts/maxAge has no effect" in said(found, "tls")
    assert "router/firewall/errorCode has no effect" in said(found, "router-firewall")
    assert "'admin-only', which the platform does not know" in said(found, "registration")
    taken = good(settings(etcd, keys={"router/enableHSTS": None, "controller/registrationEnabled": None}))
    assert [change["after"] for change in taken["plan"]] == [None, None]


def test_backups_have_no_place(etcd: Etcd, tmp_path: Path) -> None:
    refused(settings(etcd, backup_folder=str(tmp_path / "gone"), **ASKED), "Invalid", "backup_folder", "no such folder")


def test_no_secret_is_told_anywhere(etcd: Etcd, certificates: Certificates, folder: str) -> None:
    canaries = {name: f"canary{secrets.token_hex(12)}" for name in ("database/password", "registry/s3secretKey", "controller/auth/ldap/bind/password")}
    private = certificates.text("server.key").splitlines()[1]
    etcd.put("/deis/registry/s3secretKey", old := f"canary{secrets.token_hex(12)}")
    asked = {**pair(certificates), "keys": canaries, "backup_folder": folder}
    runs = [settings(etcd, check=True, **asked), settings(etcd, **asked), settings(etcd, **asked), settings(etcd, check=True)]
    runs.append(settings(etcd, **{**asked, "keys": {**canaries, "router/bodySize": "1m"}}))
    runs.append(settings(etcd, **{**asked, "tls_key": certificates.text("client.key")}))
    assert [result.get("failed", False) for result in runs] == [False] * 4 + [True] * 2
    kept = [value for key, value in etcd.values("/deis").items() if key.endswith(("Key", "password"))]
    told = json.dumps(runs)
    assert leaks([*canaries.values(), old, private, *kept], told) == []
    assert {key: etcd.value(f"/deis/{key}") for key in canaries} == canaries
