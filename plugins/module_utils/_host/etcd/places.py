# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an etcd member keeps what on its host, its command line, and the unit that shuts it in. Pure."""

from __future__ import annotations

from typing import List, NamedTuple

from ansible_collections.paas.hardening.plugins.module_utils._host import disk, program, units

TITLE, ROLE = "etcd", "etcd_server"
ACCOUNT = "etcd"
PACKAGE, PACKAGED = "etcd-server", "/usr/bin/etcd"
# That of the package begins a cluster of its own as soon as it is installed.
PACKAGED_UNIT = "etcd.service"
OWN = f"{program.FOLDER}/etcd"
UNIT = "etcd-member.service"
UNIT_FILE = f"{units.FOLDER}/{UNIT}"
OURS = "/etc/paas-hardening/etcd"
TRUST = f"{OURS}/trust.crt"
CLIENTS = f"{OURS}/clients"
SECRET = f"{OURS}/root.secret"
HOME = "/srv/etcd"
DATA = f"{HOME}/data"
# How a member begins; gone with the next boot, since a member that has data needs none of it.
FIRST = "/run/etcd-member.first"
DISK = disk.Place(HOME, "etcd", ACCOUNT, 0o700, ("data",), TITLE, ROLE)
HOME_MODE = 0o700
# What it tells of itself without TLS, on loopback alone.
METRICS_PORT = 2381
UPKEEP = f"{program.FOLDER}/etcd-upkeep.pyz"
UPKEEP_OPTIONS = f"{OURS}/upkeep.json"
UPKEEP_SERVICE, UPKEEP_TIMER = "etcd-upkeep.service", "etcd-upkeep.timer"
# For TLS 1.2, in Go's words: forward secrecy and authenticated encryption only, and no name that an etcd 3.4 does not know.
_CIPHERS = ",".join(f"TLS_ECDHE_{kind}_WITH_AES_{how}" for kind in ("ECDSA", "RSA") for how in ("128_GCM_SHA256", "256_GCM_SHA384"))
_UNIT_TEXT = """# Managed by paas.hardening.etcd_server.
[Unit]
Description=etcd member {name}
Wants=network-online.target
After=network-online.target
RequiresMountsFor={home}
{mounted}
[Service]
Type=exec
User={account}
Group={account}
EnvironmentFile=-{first}
ExecStart={command}
Restart=always
RestartSec=2
TimeoutStopSec=60
LimitNOFILE=65536
OOMScoreAdjust=-500
UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ReadWritePaths={home}
{fences}
[Install]
WantedBy=multi-user.target
"""
_SERVICE_TEXT = """# Managed by paas.hardening.etcd_server.
[Unit]
Description=Room that etcd has given up is given back: one member at a time, the leader last
After={unit}

[Service]
Type=oneshot
ExecStart={python} -I {upkeep} {options}
TimeoutStartSec=1h
Nice=10
UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_DAC_READ_SEARCH CAP_DAC_OVERRIDE
ProtectSystem=strict
{fences}"""
_TIMER_TEXT = """# Managed by paas.hardening.etcd_server.
[Unit]
Description=When room that etcd has given up is given back

[Timer]
OnCalendar={when}
AccuracySec=1min

[Install]
WantedBy=timers.target
"""


class Way(NamedTuple):
    """How a member is reached, and how it keeps its data. Periods are in milliseconds, ``quota`` in bytes, ``retention`` as etcd writes periods."""

    name: str
    address: str
    client_port: int
    peer_port: int
    quota: int
    retention: str
    heartbeat: int
    election: int

    @property
    def client_url(self) -> str:
        return url_of(self.address, self.client_port)

    @property
    def peer_url(self) -> str:
        return url_of(self.address, self.peer_port)


def url_of(address: str, port: int) -> str:
    """Return the URL of a member's port; an address of IPv6 stands in brackets."""
    return f"https://[{address}]:{port}" if ":" in address else f"https://{address}:{port}"


def command(path: str, way: Way, certificate: str, key: str) -> List[str]:
    """Return the words that a member is started with, always the same: how it began is no part of them."""
    return [
        path,
        f"--name={way.name}",
        f"--data-dir={DATA}",
        f"--listen-client-urls={way.client_url}",
        f"--advertise-client-urls={way.client_url}",
        f"--listen-peer-urls={way.peer_url}",
        f"--initial-advertise-peer-urls={way.peer_url}",
        f"--listen-metrics-urls=http://127.0.0.1:{METRICS_PORT}",
        f"--cert-file={certificate}",
        f"--key-file={key}",
        f"--trusted-ca-file={TRUST}",
        "--client-cert-auth=true",
        f"--peer-cert-file={certificate}",
        f"--peer-key-file={key}",
        f"--peer-trusted-ca-file={TRUST}",
        "--peer-client-cert-auth=true",
        f"--cipher-suites={_CIPHERS}",
        f"--quota-backend-bytes={way.quota}",
        "--auto-compaction-mode=periodic",
        f"--auto-compaction-retention={way.retention}",
        f"--heartbeat-interval={way.heartbeat}",
        f"--election-timeout={way.election}",
    ]


def unit_text(name: str, words: List[str], on_disk: bool) -> str:
    """Return the unit. On a disk that is not there the member is not started: it would begin anew, with nothing."""
    mounted = f"AssertPathIsMountPoint={HOME}\n" if on_disk else ""
    return _UNIT_TEXT.format(name=name, home=HOME, mounted=mounted, account=ACCOUNT, first=FIRST, command=" ".join(words), fences=units.FENCES)


def service_text(python: str) -> str:
    """Return the unit of the upkeep."""
    return _SERVICE_TEXT.format(unit=UNIT, python=python, upkeep=UPKEEP, options=UPKEEP_OPTIONS, fences=units.FENCES)


def timer_text(when: str) -> str:
    """Return its timer."""
    return _TIMER_TEXT.format(when=when)
