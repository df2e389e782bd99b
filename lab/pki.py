"""Certificates and kubeconfigs, made by openssl. Keys are readable by their owner only and never on a command line."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml

from lab import paths, processes
from lab.addresses import Addresses, node_name
from lab.errors import CommandFailed

VALID_DAYS = 30
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_AUTHORITY = """
[ca]
default_ca = lab
[lab]
database = {work}/index
new_certs_dir = {work}
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
x509_extensions = extensions
[any]
organizationName = optional
commonName = supplied
[extensions]
keyUsage = critical,digitalSignature
extendedKeyUsage = {usage}
{names}
"""
# file name: (common name, groups) of the parts that talk to the API server
_CLIENTS = {
    "admin": ("admin", ("system:masters",)),
    "apiserver-kubelet": ("kube-apiserver-kubelet-client", ("system:masters",)),
    "kube-controller-manager": ("system:kube-controller-manager", ()),
    "kube-scheduler": ("system:kube-scheduler", ()),
    "kube-proxy": ("system:kube-proxy", ()),
    "coredns": ("system:lab:coredns", ()),
    "kwok": ("system:lab:kwok", ("system:masters",)),
    "operator": ("system:lab:operator", ("system:masters",)),  # the lab itself
}


class Authority:
    """The lab's certificate authority, in a folder of its own."""

    def __init__(self, folder: Path, addresses: Addresses) -> None:
        self.folder = folder
        self.addresses = addresses

    @property
    def certificate(self) -> Path:
        """The authority's own certificate."""
        return self.folder / "ca.crt"

    def ensure(self) -> None:
        """Make what a control plane needs, or renew it when less than a day of validity is left."""
        paths.private_folder(self.folder)
        addresses = self.addresses
        if not self._fresh("ca"):
            for old in self.folder.glob("*.crt"):
                old.unlink()
            self._openssl(
                "req",
                "-x509",
                *_NEW_KEY,
                "-keyout",
                "ca.key",
                "-out",
                "ca.crt",
                "-subj",
                "/CN=lab-ca",
                "-days",
                str(VALID_DAYS + 1),
                "-addext",
                "keyUsage=critical,keyCertSign,cRLSign",
            )
        if not (self.folder / "sa.pub").exists():
            self._openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "sa.key")
            self._openssl("pkey", "-in", "sa.key", "-pubout", "-out", "sa.pub")
        if not self._fresh("apiserver"):
            names = [f"DNS:{name}" for name in ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost")]
            self.issue(
                "apiserver", "kube-apiserver", usage="serverAuth", names=[*names, "IP:127.0.0.1", f"IP:{addresses.node(1)}", f"IP:{addresses.api_service}"]
            )
        for name, (common_name, groups) in _CLIENTS.items():
            self._client(name, common_name, groups)

    def ensure_node(self, number: int) -> None:
        """Make a node's two certificates: one it serves with, one it is known by."""
        name = node_name(number)
        if not self._fresh(f"{name}-server"):
            self.issue(f"{name}-server", name, usage="serverAuth", names=[f"DNS:{name}", f"IP:{self.addresses.node(number)}"])
        self._client(name, f"system:node:{name}", ("system:nodes",))

    def ensure_server(self, name: str, names: Sequence[str]) -> tuple[Path, Path]:
        """Make the certificate that a server beside the cluster shows, for these names (DNS:..., IP:...); return it and its key."""
        if not self._fresh(f"{name}-server"):
            self.issue(f"{name}-server", name, usage="serverAuth", names=names)
        return self.folder / f"{name}-server.crt", self.folder / f"{name}-server.key"

    def _client(self, name: str, common_name: str, groups: Sequence[str]) -> None:
        if not self._fresh(name) or not self.kubeconfig(name).exists():
            self.issue(name, common_name, groups)
            self.write_kubeconfig(name)

    def kubeconfig(self, name: str) -> Path:
        """Where the kubeconfig of a certificate is."""
        return self.folder / f"{name}.kubeconfig"

    def issue(
        self,
        file_name: str,
        common_name: str,
        groups: Sequence[str] = (),
        usage: str = "clientAuth",
        names: Sequence[str] = (),
        valid_for: timedelta = timedelta(days=VALID_DAYS),
    ) -> None:
        """Make a key and its certificate. A negative ``valid_for`` gives one that has expired."""
        start = datetime.now(UTC) - timedelta(hours=1)
        end = datetime.now(UTC) + valid_for
        if end <= start:
            start = end - timedelta(hours=1)
        subject = "".join(f"/O={_escaped(group)}" for group in groups) + f"/CN={_escaped(common_name)}"
        with tempfile.TemporaryDirectory(dir=self.folder) as work:
            Path(work, "index").touch()
            extra = f"subjectAltName = {','.join(names)}" if names else ""
            Path(work, "ca.cnf").write_text(_AUTHORITY.format(work=work, usage=usage, names=extra))
            self._openssl("req", "-new", *_NEW_KEY, "-keyout", f"{file_name}.key", "-out", f"{work}/request", "-subj", subject)
            self._openssl(
                "ca",
                "-batch",
                "-notext",
                "-config",
                f"{work}/ca.cnf",
                "-cert",
                "ca.crt",
                "-keyfile",
                "ca.key",
                "-in",
                f"{work}/request",
                "-preserveDN",
                "-startdate",
                f"{start:%Y%m%d%H%M%SZ}",
                "-enddate",
                f"{end:%Y%m%d%H%M%SZ}",
                "-out",
                f"{file_name}.crt",
            )

    def write_kubeconfig(self, name: str, token: str | None = None, path: Path | None = None, namespace: str | None = None) -> Path:
        """Write a kubeconfig for a certificate of that file name, or for a token."""
        user = {"token": token} if token else {"client-certificate-data": self._data(f"{name}.crt"), "client-key-data": self._data(f"{name}.key")}
        context = {"cluster": "lab", "user": name, **({"namespace": namespace} if namespace else {})}
        target = path or self.kubeconfig(name)
        paths.write(
            target,
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "lab",
                    "clusters": [{"name": "lab", "cluster": {"server": self.addresses.api_url, "certificate-authority-data": self._data("ca.crt")}}],
                    "users": [{"name": name, "user": user}],
                    "contexts": [{"name": "lab", "context": context}],
                }
            ),
        )
        return target

    def _data(self, file_name: str) -> str:
        return base64.b64encode((self.folder / file_name).read_bytes()).decode()

    def _fresh(self, name: str) -> bool:
        if not (self.folder / f"{name}.crt").exists() or not (self.folder / f"{name}.key").exists():
            return False
        try:
            self._openssl("x509", "-checkend", "86400", "-noout", "-in", f"{name}.crt")
        except CommandFailed:
            return False
        return True

    def _openssl(self, *words: str) -> None:
        processes.run(["openssl", *words], folder=self.folder)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("/", "\\/").replace("+", "\\+")
