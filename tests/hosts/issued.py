"""Certificates of an authority that only the tests trust, by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"]


def issue(folder: Path, name: str, days: int = 365, who: str = "portal") -> tuple[Path, Path]:
    """Make a certificate for a name and its key, WHO.crt and WHO.key, and where there is none yet the authority, WHO-ca.crt."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    if not (folder / f"{who}-ca.crt").exists():
        openssl("req", "-x509", *_KEY, "-keyout", f"{who}-ca.key", "-out", f"{who}-ca.crt", "-subj", f"/CN={who}", "-addext", "keyUsage=critical,keyCertSign")
    openssl("req", *_KEY, "-keyout", f"{who}.key", "-out", f"{who}.csr", "-subj", f"/CN={name}")
    (folder / f"{who}.ext").write_text(f"subjectAltName=DNS:{name}\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")
    signing = ["-CA", f"{who}-ca.crt", "-CAkey", f"{who}-ca.key", "-extfile", f"{who}.ext"]
    openssl("x509", "-req", "-in", f"{who}.csr", *signing, "-days", str(days), "-out", f"{who}.crt")
    return folder / f"{who}.crt", folder / f"{who}.key"
