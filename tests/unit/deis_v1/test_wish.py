"""Options become the values that the platform's code reads, and what it could not read is refused with the name of the option."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.v1_settings_wish import ARGUMENTS, Wish, group_bits, secrets_of, wish_of
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._platforms.deis_v1 import BY_OPTION, BY_PATH, SENTENCES, SETTINGS


def parameters(**given: Any) -> dict[str, Any]:
    return {**{name: about.get("default") for name, about in ARGUMENTS.items()}, "endpoints": ["http://10.21.1.10:2379/"], **given}


def wish(**given: Any) -> Wish:
    return wish_of(parameters(**given))


def one(**given: Any) -> str | None:
    (value,) = wish(**given).values.values()
    return value


def test_the_table_is_sound() -> None:
    assert len(BY_OPTION) == len(BY_PATH) == len(SETTINGS)
    for setting in SETTINGS:
        assert not setting.advice or re.compile(setting.good), setting.option
        assert bool(setting.good) == bool(setting.advice), setting.option
        assert setting.needs[0] in ("", *BY_OPTION), setting.option
        assert setting.follows in ("", *BY_OPTION), setting.option
        assert not setting.choices or setting.kind != "text" or setting.default in setting.choices, setting.option
        assert setting.area in SENTENCES or setting.area in ("router", "api"), setting.option


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ({"registration_mode": "admin_only"}, "admin_only"),
        ({"web_enabled": True}, "1"),
        ({"web_enabled": False}, "0"),
        ({"enforce_https": True}, "true"),
        ({"server_tokens": False}, "off"),
        ({"tls_session_tickets": True}, "on"),
        ({"hsts_max_age": 31536000}, "31536000"),
        ({"tls_protocols": ["TLSv1.2", "TLSv1.1"]}, "TLSv1.1 TLSv1.2"),
        ({"controller_whitelist": ["192.0.2.0/24:the office", " 198.51.100.7 "]}, "192.0.2.0/24:the office,198.51.100.7"),
        ({"tls_ciphers": "HIGH:!aNULL:!MD5:!3DES:-RC4"}, "HIGH:!aNULL:!MD5:!3DES:-RC4"),
        ({"logs_drain": "syslog://[2001:db8::1]:514"}, "syslog://[2001:db8::1]:514"),
        ({"logs_storage": "memory"}, "memory"),
        ({"absent": ["body_size"]}, None),
        ({"keys": {"registry/s3bucket": "bucket"}}, "bucket"),
        ({"keys": {"registry/s3encrypt": True}}, "true"),
        ({"keys": {"registry/s3bucket": None}}, None),
    ],
)
def test_values_as_they_are_read(given: dict[str, Any], value: str | None) -> None:
    assert one(**given) == value


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({"endpoints": []}, "endpoints"),
        ({"endpoints": ["10.21.1.10:2379"]}, "endpoints"),
        ({"endpoints": ["http://root:secretword@10.21.1.10:2379"]}, "endpoints"),
        ({"endpoints": ["http://10.21.1.10:2379/v2"]}, "endpoints"),
        ({"etcd_user": "root"}, "etcd_user"),
        ({"client_key_file": "/etc/paas/client.key"}, "client_certificate_file"),
        ({"timeout": 0}, "timeout"),
        ({"controller_workers": 0}, "controller_workers"),
        ({"firewall_error_code": 200}, "firewall_error_code"),
        ({"tls_protocols": []}, "tls_protocols"),
        ({"controller_whitelist": []}, "controller_whitelist"),
        ({"controller_whitelist": ["2001:db8::/32"]}, "controller_whitelist"),
        ({"controller_whitelist": ["192.0.2.0/24:office;allow all"]}, "controller_whitelist"),
        ({"proxy_real_ip_cidr": "10.0.0.0/8:lb"}, "proxy_real_ip_cidr"),
        ({"tls_ciphers": "HIGH' ; #"}, "tls_ciphers"),
        ({"tls_ciphers": "HIGH:RC4-SHA"}, "tls_ciphers"),
        ({"tls_ciphers": "HIGH:eNULL"}, "tls_ciphers"),
        ({"body_size": "100 MB"}, "body_size"),
        ({"worker_processes": "0"}, "worker_processes"),
        ({"logs_drain": "https://logs.example.com:443"}, "logs_drain"),
        ({"logs_drain": "tcp://logs.example.com"}, "logs_drain"),
        ({"logs_storage": "memory:0"}, "logs_storage"),
        ({"tls_key": "x"}, "tls_certificate"),
        ({"absent": ["tls_key"]}, "tls_certificate"),
        ({"body_size": "5m", "absent": ["body_size"]}, "absent"),
        ({"keys": {"router/bodySize": "5m"}}, "keys"),
        ({"keys": {"../registry": "1"}}, "keys"),
        ({"keys": {"registry": "1"}}, "keys"),
        ({"keys": {"registry/s3bucket": ""}}, "keys"),
        ({"keys": {"registry/s3bucket": ["a"]}}, "keys"),
        ({"controller_url": "deis.example.com"}, "controller_url"),
        ({"administrator_token_file": __file__}, "controller_url"),
        ({"closed_ports": [0]}, "closed_ports"),
        ({"tls_dhparam": "-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----"}, "tls_dhparam"),
    ],
)
def test_what_cannot_be_is_refused_by_name(given: dict[str, Any], option: str) -> None:
    with pytest.raises(Invalid) as refused:
        wish(**given)
    assert refused.value.subject == option
    assert refused.value.hint
    assert "secretword" not in str(refused.value)


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("pem")
    make = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2", "-subj", "/CN=deis")
    for words in (
        (*make, "-noenc", "-keyout", "one.key", "-out", "one.crt"),
        (*make, "-noenc", "-keyout", "two.key", "-out", "two.crt"),
        (*make, "-passout", "pass:word", "-keyout", "locked.key", "-out", "locked.crt"),
        ("genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048", "-out", "large.pem"),
        ("genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "dh_paramgen_prime_len:512", "-out", "small.pem"),
    ):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_certificate_and_its_private_part(pems: dict[str, str], tmp_path: Path) -> None:
    found = wish(tls_certificate=pems["one.crt"], tls_key=pems["one.key"]).values
    # The private part is written first.
    assert list(found.items()) == [("/deis/router/sslKey", pems["one.key"].strip()), ("/deis/router/sslCert", pems["one.crt"].strip())]
    for name in ("one.crt", "one.key"):
        (tmp_path / name).write_text(pems[name])
    assert wish(tls_certificate_file=str(tmp_path / "one.crt"), tls_key_file=str(tmp_path / "one.key")).values == found
    with pytest.raises(Invalid, match="both given"):
        wish(tls_certificate=pems["one.crt"], tls_key=pems["one.key"], tls_key_file=str(tmp_path / "one.key"))
    assert list(wish(absent=["tls_certificate", "tls_key"]).values.values()) == [None, None]


@pytest.mark.parametrize(("certificate", "key"), [("one.crt", "two.key"), ("locked.crt", "locked.key"), ("one.key", "one.key"), ("one.crt", "one.crt")])
def test_a_pair_that_is_none(pems: dict[str, str], certificate: str, key: str) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(Invalid) as refused:
        wish(tls_certificate=pems[certificate], tls_key=pems[key])
    assert refused.value.subject in ("tls_key", "tls_certificate")
    assert set(os.listdir("/proc/self/fd")) == before


def test_groups_are_measured(pems: dict[str, str]) -> None:
    assert (group_bits(pems["large.pem"]), group_bits(pems["small.pem"]), group_bits(pems["one.crt"]), group_bits("")) == (2048, 512, 0, 0)
    cut = pems["large.pem"].splitlines()
    assert group_bits("\n".join([cut[0], *cut[3:]])) == 0
    assert one(tls_dhparam=pems["large.pem"]) == pems["large.pem"].strip()
    with pytest.raises(Invalid, match="has 512 bits"):
        wish(tls_dhparam=pems["small.pem"])


def test_secrets_among_the_options(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("of a file\n")
    given = parameters(keys={"database/password": "hidden", "registry/s3bucket": "shown"}, etcd_user="root", etcd_password_file=str(file))
    assert sorted(secrets_of(given)) == ["hidden", "of a file"]
    # What cannot be read is told by the run, and not by who only looks for secrets.
    assert secrets_of({**given, "etcd_password_file": str(tmp_path / "gone"), "tls_key": "a", "tls_key_file": "b"}) == ["hidden"]
    assert "of a file" not in repr(wish_of(given))
    assert "hidden" not in repr(wish_of(given))
