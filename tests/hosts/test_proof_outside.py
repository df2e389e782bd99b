"""The programs that look from outside find what is wrong: otherwise their silence would say nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import processes
from tests.backup.member import free_ports
from tests.hosts import outside
from tests.hosts.issued import issue

NAME = "db.example.com"
Report = Callable[[str], None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two authorities, each with a certificate of the same name."""
    place = tmp_path_factory.mktemp("outside")
    for who in ("ours", "theirs"):
        issue(place, NAME, who=who)
    return place


@contextmanager
def served(folder: Path, who: str, *words: str) -> Iterator[str]:
    """A server of TLS with this certificate."""
    (port,) = free_ports(1)
    command = ["setpriv", "--pdeathsig", "KILL", "openssl", "s_server", f"-accept={port}", f"-cert={who}.crt", f"-key={who}.key", "-www", *words]
    with subprocess.Popen([*command], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            assert processes.wait_until(lambda: port in outside.open_ports("127.0.0.1", f"{port}"), 30)
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()


def test_a_good_server_has_no_trouble(folder: Path, report: Report) -> None:
    with served(folder, "ours", "-cipher", "ECDHE+AESGCM") as address:
        assert outside.tls_troubles(address, NAME, folder / "ours-ca.crt", report) == []


def test_a_certificate_of_somebody_else_or_of_another_name_is_found(folder: Path, report: Report) -> None:
    with served(folder, "theirs", "-cipher", "ECDHE+AESGCM") as address:
        assert len(outside.tls_troubles(address, NAME, folder / "ours-ca.crt", report)) == 1
        assert outside.tls_troubles(address, NAME, folder / "theirs-ca.crt", report) == []
        assert len(outside.tls_troubles(address, "other.example.com", folder / "theirs-ca.crt", report)) == 1


def test_an_old_protocol_and_a_weak_cipher_are_found(folder: Path, report: Report) -> None:
    with served(folder, "ours", "-cipher", "ALL:@SECLEVEL=0") as address:
        troubles = outside.tls_troubles(address, NAME, folder / "ours-ca.crt", report)
    assert "speaks tls_1_0" in troubles
    assert any("_CBC_" in trouble for trouble in troubles)
