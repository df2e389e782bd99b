"""Certificates: the right names and groups, the right time, keys for nobody else."""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from lab import processes
from lab.addresses import Addresses
from lab.errors import CommandFailed
from lab.pki import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("pki"), Addresses(5))
    made.ensure()
    made.ensure_node(2)
    return made


def shown(authority: Authority, name: str, *what: str) -> str:
    return processes.run(["openssl", "x509", "-noout", *what, "-in", authority.folder / f"{name}.crt"])


def verify(authority: Authority, name: str) -> str:
    return processes.run(["openssl", "verify", "-CAfile", authority.certificate, authority.folder / f"{name}.crt"])


def test_everything_is_signed_by_the_authority(authority: Authority) -> None:
    names = [path.stem for path in authority.folder.glob("*.crt") if path.stem != "ca"]
    assert {"apiserver", "admin", "node2", "node2-server", "kube-proxy"} <= set(names)
    for name in names:
        assert "OK" in verify(authority, name)


def test_the_api_server_is_known_by_all_its_names(authority: Authority) -> None:
    text = shown(authority, "apiserver", "-ext", "subjectAltName")
    for name in ("DNS:kubernetes.default.svc", "IP Address:10.105.0.1", "IP Address:10.105.128.1", "IP Address:127.0.0.1"):
        assert name in text


def test_a_node_is_a_node(authority: Authority) -> None:
    assert "O = system:nodes, CN = system:node:node2" in shown(authority, "node2", "-subject")


def test_keys_are_for_their_owner_only(authority: Authority) -> None:
    secret = [*authority.folder.glob("*.key"), *authority.folder.glob("*.kubeconfig")]
    assert secret
    assert {path.stat().st_mode & 0o777 for path in secret} == {0o600}


def test_nothing_is_made_twice(authority: Authority) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in authority.folder.iterdir()}
    authority.ensure()
    authority.ensure_node(2)
    assert {path.name: path.stat().st_mtime_ns for path in authority.folder.iterdir()} == before


def test_a_user_has_its_groups_and_its_time(authority: Authority) -> None:
    authority.issue("alice", "alice/../+x", ("devs", "ops"), valid_for=timedelta(minutes=5))
    subject = shown(authority, "alice", "-subject", "-nameopt", "multiline,-esc_msb")
    assert subject.count("organizationName") == 2
    assert "alice/../+x" in subject
    with pytest.raises(CommandFailed):
        processes.run(["openssl", "x509", "-checkend", "600", "-noout", "-in", authority.folder / "alice.crt"])


def test_a_certificate_can_be_out_of_date(authority: Authority) -> None:
    authority.issue("late", "late", valid_for=timedelta(seconds=-1))
    with pytest.raises(CommandFailed, match="expired"):
        verify(authority, "late")


def test_a_kubeconfig_holds_all_that_it_needs(authority: Authority) -> None:
    config = yaml.safe_load(authority.kubeconfig("admin").read_text())
    assert config["clusters"][0]["cluster"]["server"] == "https://10.105.0.1:6443"
    assert base64.b64decode(config["users"][0]["user"]["client-key-data"]).startswith(b"-----BEGIN")


def test_an_expiring_authority_is_renewed_with_all_that_it_signed(tmp_path: Path) -> None:
    made = Authority(tmp_path, Addresses(1))
    made.ensure()
    before = (tmp_path / "ca.crt").read_text()
    processes.run(["openssl", "req", "-x509", "-key", "ca.key", "-out", "ca.crt", "-subj", "/CN=old", "-days", "1"], folder=tmp_path)
    made.ensure()
    assert (tmp_path / "ca.crt").read_text() != before
    assert "OK" in verify(made, "admin")
