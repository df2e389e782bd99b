"""How a listener answers is told apart over real connections: a backend's word, nginx's own, silence, and nobody."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._host.balancer import probe

Speak = Callable[[socket.socket], None]
HEADERS = b"Strict-Transport-Security: max-age=31536000\r\nLocation: https://www.example.org/\r\n\r\n"


@pytest.fixture
def listen() -> Iterator[Callable[[Speak], int]]:
    """Listeners that say to each client what they are told to; they end with the test."""
    doors: list[socket.socket] = []

    def serve(door: socket.socket, speak: Speak) -> None:
        while True:
            try:
                connection, _peer = door.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                try:
                    speak(connection)
                except (OSError, ssl.SSLError):
                    continue

    def start(speak: Speak) -> int:
        door = socket.create_server(("127.0.0.1", 0))
        doors.append(door)
        threading.Thread(target=serve, args=(door, speak), daemon=True).start()
        return int(door.getsockname()[1])

    yield start
    for door in doors:
        door.shutdown(socket.SHUT_RDWR)
        door.close()


def door(port: int, mode: str = "tcp", answers: str = "http", encrypted: bool = False, redirect: bool = False) -> probe.Door:
    return probe.Door("web", "127.0.0.1", port, mode, answers, encrypted, redirect, "www.example.org", 2.0)


def says(text: bytes) -> Speak:
    def speak(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(text)

    return speak


def test_who_is_not_there_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert probe.knock(door(port)).kind == probe.UNREACHED


@pytest.mark.parametrize(
    ("mode", "redirect", "status", "kind"),
    [
        ("tcp", False, b"HTTP/1.1 502 x\r\n", probe.ANSWERED),  # passed on: whoever says it is the backend
        ("http", False, b"HTTP/1.1 404 x\r\n", probe.ANSWERED),
        ("http", False, b"HTTP/1.1 502 x\r\n", probe.SILENT),
        ("http", False, b"HTTP/1.1 504 x\r\n", probe.SILENT),
        ("http", True, b"HTTP/1.1 301 x\r\n", probe.ANSWERED),
        ("http", True, b"HTTP/1.1 200 x\r\n", probe.SILENT),
        ("http", False, b"what?\r\n", probe.SILENT),
    ],
    ids=["passed on", "not found", "bad gateway", "time out", "sent to TLS", "not sent to TLS", "no HTTP"],
)
def test_an_answer_in_http(listen: Callable[[Speak], int], mode: str, redirect: bool, status: bytes, kind: str) -> None:
    assert probe.knock(door(listen(says(status + HEADERS)), mode, redirect=redirect)).kind == kind


def test_a_listener_without_a_backend_lets_go_at_once(listen: Callable[[Speak], int]) -> None:
    port = listen(lambda connection: None)
    for answers in ("any", "banner", "http", "tls"):
        assert probe.knock(door(port, answers=answers)).kind == probe.SILENT, answers


def test_what_a_backend_says_first_is_an_answer_and_so_is_a_connection_that_stays(listen: Callable[[Speak], int]) -> None:
    greets = listen(lambda connection: connection.sendall(b"SSH-2.0-builder\r\n"))
    assert str(probe.knock(door(greets, answers="banner"))) == f"{probe.ANSWERED} (SSH-2.0-builder)"
    assert probe.knock(door(greets, answers="any")).kind == probe.ANSWERED

    def waits(connection: socket.socket) -> None:
        connection.recv(1)

    assert str(probe.knock(door(listen(waits), answers="any"))) == f"{probe.ANSWERED} (the connection stays)"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate with its key in one file."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=www.example.org"]
    subprocess.run([*words, "-keyout", str(path), "-out", str(path.with_suffix(".crt"))], check=True, capture_output=True)
    path.write_text(path.read_text() + path.with_suffix(".crt").read_text())
    return path


@pytest.mark.parametrize(("oldest", "expected"), [(ssl.TLSVersion.TLSv1_2, probe.OLD_TLS_REFUSED), (ssl.TLSVersion.TLSv1_1, probe.OLD_TLS_ACCEPTED)])
def test_tls_is_spoken_and_old_tls_is_seen(listen: Callable[[Speak], int], certificate: Path, oldest: ssl.TLSVersion, expected: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = oldest

    def speak(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as tunnel:
            tunnel.recv(4096)
            tunnel.sendall(b"HTTP/1.1 200 x\r\n" + HEADERS)

    place = door(listen(speak), "http", encrypted=True)
    answer = probe.knock(place)
    assert (answer.kind, answer.strict) == (probe.ANSWERED, True), answer
    assert probe.knock(door(place.port, answers="tls")).kind == probe.ANSWERED
    assert probe.old_tls(place) == expected
