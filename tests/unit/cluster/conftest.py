"""Certificates for the scripted server, and a writer of kubeconfigs."""

from __future__ import annotations

import base64
import pathlib
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass
class Certificates:
    """A CA, a server for 127.0.0.1, and clients. Every part is a pair of files, NAME.crt and NAME.key."""

    folder: pathlib.Path

    def crt(self, name: str) -> str:
        return str(self.folder / f"{name}.crt")

    def key(self, name: str) -> str:
        return str(self.folder / f"{name}.key")

    def data(self, file: str) -> str:
        return base64.b64encode(pathlib.Path(file).read_bytes()).decode()

    def server_context(self, name: str = "server", clients: bool = False) -> ssl.SSLContext:
        """The TLS of a server, which with ``clients`` lets nobody in without a certificate of the CA."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.crt(name), self.key(name))
        if clients:
            context.load_verify_locations(self.crt("ca"))
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def make(self, name: str, *options: str, extension: str = "") -> None:
        request = ["openssl", "req", *_KEY, "-keyout", self.key(name), "-subj", f"/CN={name}"]
        if name.endswith("ca"):
            usage = ["-addext", "keyUsage=critical,keyCertSign"]
            subprocess.run([*request, "-x509", *usage, "-out", self.crt(name)], check=True, capture_output=True)
            return
        asked, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        subprocess.run([*request, "-out", str(asked)], check=True, capture_output=True)
        extensions.write_text(extension)
        sign = ["openssl", "x509", "-req", "-in", str(asked), "-CA", self.crt("ca"), "-CAkey", self.key("ca"), "-CAcreateserial", "-out", self.crt(name)]
        subprocess.run([*sign, "-extfile", str(extensions), *(options or ("-days", "2"))], check=True, capture_output=True)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    made = Certificates(tmp_path_factory.mktemp("certificates"))
    for name in ("ca", "other-ca"):
        made.make(name)
    made.make("server", extension="subjectAltName=IP:127.0.0.1,DNS:api.example")
    # With the key identifiers that Python's own TLS settings demand since 3.13; the others are as older clusters made theirs.
    made.make("strict", extension="subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash")
    made.make("elsewhere", extension="subjectAltName=DNS:elsewhere.example")
    made.make("past", "-days", "-1", extension="subjectAltName=IP:127.0.0.1")
    made.make("client")
    made.make("expired", "-days", "-1")
    return made


@pytest.fixture
def kubeconfig(certificates: Certificates) -> Callable[..., dict[str, Any]]:
    """Return a function that makes a kubeconfig as a dictionary for a server and a user."""

    def make(server: str, user: dict[str, Any], **cluster: Any) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "main",
            "contexts": [{"name": "main", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority-data": certificates.data(certificates.crt("ca")), **cluster}}],
            "users": [{"name": "u", "user": user}],
        }

    return make
