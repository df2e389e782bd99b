"""What programs that we did not write see of hosts from outside: nmap of their ports, sslyze of their TLS."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from lab import processes
from tests.perf.rival import environment

SSLYZE = ["sslyze>=6.3,<7"]
# What no server of ours may still speak.
OUTDATED = ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1")
# A weakness each, by the name of sslyze's scan: where in its result the verdict stands, and which ones are good.
WEAKNESSES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "heartbleed": ("is_vulnerable_to_heartbleed", (False,)),
    "openssl_ccs_injection": ("is_vulnerable_to_ccs_injection", (False,)),
    "robot": ("robot_result", ("NOT_VULNERABLE_NO_ORACLE", "NOT_VULNERABLE_RSA_NOT_SUPPORTED")),
    "session_renegotiation": ("is_vulnerable_to_client_renegotiation_dos", (False,)),
    "tls_compression": ("supports_compression", (False,)),
}


def open_ports(address: str, among: str = "-") -> dict[int, str]:
    """Every TCP port of an address that lets us in (or those ``among`` these), and what nmap takes the service for. Needs root, which it has."""
    text = processes.run(["nmap", "-n", "-Pn", f"-p{among}", "--min-rate", "5000", "--max-retries", "3", "-oX", "-", address])
    found = {}
    for port in ElementTree.fromstring(text).iter("port"):
        state, service = port.find("state"), port.find("service")
        if state is not None and state.get("state") == "open":
            found[int(port.get("portid", 0))] = service.get("name", "") if service is not None else ""
    return found


def tls_troubles(target: str, name: str, authority: Path, report: Callable[[str], None], starttls: str = "") -> list[str]:
    """What sslyze finds wrong with the TLS of ADDRESS:PORT: old protocols, weak ciphers, known weaknesses, a certificate that is not the name's."""
    words = [str(environment("outside", SSLYZE, report) / "sslyze"), "--json_out=-", f"--sni={name}", f"--certinfo_ca_file={authority}"]
    words += ["--certinfo", "--sslv2", "--sslv3", "--tlsv1", "--tlsv1_1", "--tlsv1_2", "--tlsv1_3", "--heartbleed", "--openssl_ccs", "--robot", "--reneg"]
    words += ["--compression", *([f"--starttls={starttls}"] if starttls else []), target]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    document = json.loads(done.stdout)
    (server,) = document["server_scan_results"]
    assert server["scan_status"] == "COMPLETED", server["connectivity_error_trace"]
    scans = {scan: told["result"] for scan, told in server["scan_result"].items() if told["status"] == "COMPLETED"}
    return [*_protocols(scans), *_weaknesses(scans), *_certificates(scans["certificate_info"])]


def _protocols(scans: dict[str, Any]) -> list[str]:
    accepted = {scan.removesuffix("_cipher_suites"): told["accepted_cipher_suites"] for scan, told in scans.items() if scan.endswith("_cipher_suites")}
    troubles = [f"speaks {protocol}" for protocol in OUTDATED if accepted[protocol]]
    if not accepted["tls_1_2"] and not accepted["tls_1_3"]:
        troubles.append("speaks neither TLS 1.2 nor 1.3")
    names = [suite["cipher_suite"]["name"] for suites in accepted.values() for suite in suites]
    return troubles + [f"takes {name}" for name in names if any(part in name for part in ("_CBC_", "RC4", "3DES", "NULL", "EXPORT", "anon", "MD5"))]


def _weaknesses(scans: dict[str, Any]) -> list[str]:
    return [f"{scan}: {scans[scan][where]}" for scan, (where, good) in WEAKNESSES.items() if scan in scans and scans[scan][where] not in good]


def _certificates(told: dict[str, Any]) -> list[str]:
    troubles = []
    for deployment in told["certificate_deployments"]:
        by_ours = [path for path in deployment["path_validation_results"] if path["trust_store"]["name"] == "Supplied CA file"]
        # It looks for the name, too, that it was asked with.
        if not by_ours or not all(path["was_validation_successful"] for path in by_ours):
            troubles.append("the certificate is not one of this name that leads to the authority")
    return troubles
