# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deis v1: which keys of etcd its code reads, what holds without them, from which release on, and what its documents advise."""

from __future__ import annotations

from typing import Dict, NamedTuple, Tuple

TITLE = "Deis v1"
ROOT = "/deis"
# How a value is written. What is a switch for nginx is on or off, what confd compares is true or false, what Python reads is 1 or 0.
TEXT, FLAG, SWITCH, BIT, NUMBER, WORDS, COMMAS, PEM = "text", "flag", "switch", "bit", "number", "words", "commas", "pem"
REGISTRATION, TLS, FIREWALL, ROUTER, LOGS, PLANES, API = "registration", "tls", "firewall", "router", "logs", "planes", "api"


class Setting(NamedTuple):
    """One key below ROOT.

    ``default`` is what the code does without it (nothing: it does without). ``since`` is the first release that reads it, as its
    changelog tells; 1.0 where that does not tell. ``good`` is what an effective value has to match to be as advised (nothing: no advice),
    ``advice`` says so in words. ``follows`` is the option whose value holds in place of the default. ``needs`` is the option without which the code does not
    look at this one, and the value that it has to have (``*``: any).
    """

    option: str
    path: str
    kind: str
    area: str
    default: str
    since: Tuple[int, ...]
    good: str = ""
    advice: str = ""
    pattern: str = ""
    choices: Tuple[str, ...] = ()
    secret: bool = False
    follows: str = ""
    needs: Tuple[str, str] = ("", "")
    least: int = 0
    most: int = 0

    @property
    def key(self) -> str:
        return f"{ROOT}/{self.path}"


_SIZE = r"\d+[kKmM]?"
_PERIOD = r"\d+(ms|[smhdwMy])?"
_ENABLED, _HSTS, _CACHE = ("firewall_enabled", "true"), ("hsts_enabled", "true"), ("tls_session_cache", "*")

SETTINGS: Tuple[Setting, ...] = (
    Setting(
        *("registration_mode", "controller/registrationMode", TEXT, REGISTRATION, "enabled", (1, 6)),
        good="disabled|admin_only",
        advice="anybody who knows the address may register",
        choices=("enabled", "disabled", "admin_only"),
    ),
    Setting("web_enabled", "controller/webEnabled", BIT, API, "0", (1, 0), good="0", advice="the controller shows Django's own pages to everybody"),
    Setting("controller_workers", "controller/workers", NUMBER, API, "", (1, 6), least=1, most=512),
    Setting("unit_hostname", "controller/unitHostname", TEXT, API, "default", (1, 3), choices=("default", "application", "server")),
    # The private part first: a certificate without it would be looked at by a router that reads in between.
    Setting("tls_key", "router/sslKey", PEM, TLS, "", (1, 0), secret=True),
    Setting("tls_certificate", "router/sslCert", PEM, TLS, "", (1, 0), good=r"(?s).+", advice="routers have no certificate, so passwords come in clear text"),
    Setting(
        *("tls_dhparam", "router/sslDhparam", PEM, TLS, "", (1, 8)),
        good=r"(?s).+",
        advice="nginx 1.9 then takes a Diffie-Hellman group of 1024 bits, the same everywhere",
    ),
    Setting(
        *("tls_protocols", "router/sslProtocols", WORDS, TLS, "TLSv1 TLSv1.1 TLSv1.2", (1, 10)),
        good=r"TLSv1\.2",
        advice="TLS before 1.2 is accepted",
        # The router's nginx is 1.9: it refuses its whole configuration for a newer word.
        choices=("TLSv1", "TLSv1.1", "TLSv1.2"),
    ),
    Setting("tls_ciphers", "router/sslCiphers", TEXT, TLS, "", (1, 8), pattern=r"[A-Za-z0-9:+!@=_-]+"),
    Setting("tls_session_cache", "router/sslSessionCache", TEXT, TLS, "", (1, 10), pattern=r"off|none|builtin(:\d+)?|shared:\w+:\d+[kKmM]?"),
    Setting("tls_session_timeout", "router/sslSessionTimeout", TEXT, TLS, "10m", (1, 10), pattern=_PERIOD, needs=_CACHE),
    Setting("tls_session_tickets", "router/sslSessionTickets", SWITCH, TLS, "on", (1, 10)),
    Setting("tls_buffer_size", "router/sslBufferSize", TEXT, TLS, "4k", (1, 10), pattern=_SIZE),
    Setting(
        *("enforce_https", "router/enforceHTTPS", FLAG, TLS, "false", (1, 4)),
        good="true",
        advice="requests in clear text are answered, and not sent to HTTPS",
        follows="hsts_enabled",
    ),
    Setting("hsts_max_age", "router/hsts/maxAge", NUMBER, TLS, "10886400", (1, 8), needs=_HSTS, most=63072000),
    Setting("hsts_include_subdomains", "router/hsts/includeSubDomains", FLAG, TLS, "false", (1, 8), needs=_HSTS),
    Setting("hsts_preload", "router/hsts/preload", FLAG, TLS, "false", (1, 8), needs=_HSTS),
    Setting("hsts_enabled", "router/hsts/enabled", FLAG, TLS, "false", (1, 8), good="true", advice="browsers are not told to come by HTTPS only"),
    Setting("firewall_error_code", "router/firewall/errorCode", NUMBER, FIREWALL, "400", (1, 0), needs=_ENABLED, least=400, most=599),
    Setting(
        *("firewall_enabled", "router/firewall/enabled", FLAG, FIREWALL, "false", (1, 0)),
        good="true",
        advice="the firewall of the router (naxsi) lets everything through",
    ),
    Setting("controller_whitelist", "router/controller/whitelist", COMMAS, FIREWALL, "", (1, 11)),
    Setting("enforce_whitelist", "router/enforceWhitelist", FLAG, FIREWALL, "false", (1, 11)),
    Setting("body_size", "router/bodySize", TEXT, ROUTER, "1m", (1, 0), pattern=_SIZE),
    Setting("default_timeout", "router/defaultTimeout", NUMBER, ROUTER, "1300", (1, 6), least=1, most=86400),
    Setting("proxy_protocol", "router/proxyProtocol", FLAG, ROUTER, "false", (1, 0)),
    Setting("proxy_real_ip_cidr", "router/proxyRealIpCidr", TEXT, ROUTER, "10.0.0.0/8", (1, 0)),
    Setting("server_tokens", "router/serverTokens", SWITCH, ROUTER, "on", (1, 13, 1), good="off", advice="each answer tells the release of nginx"),
    Setting(
        *("nginx_status", "router/enableNginxStatus", FLAG, ROUTER, "false", (1, 10)),
        good="false",
        advice="everybody may read the traffic of every application at /router-nginx-status",
    ),
    Setting(
        *("error_log_level", "router/errorLogLevel", TEXT, ROUTER, "error", (1, 6)),
        choices=("debug", "info", "notice", "warn", "error", "crit", "alert", "emerg"),
    ),
    Setting("worker_processes", "router/workerProcesses", TEXT, ROUTER, "auto", (1, 5), pattern=r"auto|[1-9]\d?"),
    Setting("max_worker_connections", "router/maxWorkerConnections", NUMBER, ROUTER, "768", (1, 5), least=64, most=65535),
    Setting(
        *("logs_drain", "logs/drain", TEXT, LOGS, "", (1, 5)),
        good=r".+",
        advice="logs are kept in the platform only",
        pattern=r"(udp|syslog|tcp)://([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]):\d{1,5}",
    ),
    Setting("logs_storage", "logs/storageAdapterType", TEXT, LOGS, "file", (1, 11), pattern=r"file|memory(:[1-9]\d*)?"),
    Setting("placement_options", "platform/enablePlacementOptions", FLAG, PLANES, "false", (1, 10)),
)
BY_OPTION: Dict[str, Setting] = {setting.option: setting for setting in SETTINGS}
BY_PATH: Dict[str, Setting] = {setting.path: setting for setting in SETTINGS}

# Keys that only tell how things are.
DOMAIN, VERSION, SUBDOMAIN = f"{ROOT}/platform/domain", f"{ROOT}/platform/version", f"{ROOT}/controller/subdomain"
DEFAULT_SUBDOMAIN = "deis"
STORE_GATEWAY, STORE_NAME = f"{ROOT}/store/gateway/host", "deis-store"
APPLICATIONS, WHITELISTS = f"{ROOT}/services", f"{ROOT}/config/%s/deis_whitelist"
# One of these is in every installation.
EVIDENCE: Tuple[str, ...] = (f"{ROOT}/platform", f"{ROOT}/controller", f"{ROOT}/router")

# What the database's start writes where nobody chose anything.
DATABASE_PASSWORDS: Tuple[str, ...] = (f"{ROOT}/database/password", f"{ROOT}/database/adminPass")
WELL_KNOWN_PASSWORD = "changeme123"

# Written by people, and read by no release that knows its successor.
UNHEEDED: Dict[str, str] = {
    f"{ROOT}/controller/registrationEnabled": "registration_mode (controller/registrationMode, read since 1.6)",
    f"{ROOT}/router/enableHSTS": "hsts_enabled (router/hsts/enabled)",
    f"{ROOT}/router/maxAgeHSTS": "hsts_max_age (router/hsts/maxAge)",
    f"{ROOT}/router/includeSubdomainsHSTS": "hsts_include_subdomains (router/hsts/includeSubDomains)",
    f"{ROOT}/router/preloadHSTS": "hsts_preload (router/hsts/preload)",
}

# fleet's own keys: hidden ones, which no listing shows.
MACHINES = "/_coreos.com/fleet/machines"
PLANE_METADATA: Tuple[str, ...] = ("controlPlane", "dataPlane", "routerMesh")

# The controller's doors. An administrator's list is shown to administrators only.
REGISTER, ADMINISTRATORS = "/v1/auth/register", "/v1/admin/perms"
REGISTER_MEANS: Dict[int, str] = {400: "open", 403: "closed"}
CLOSING: Tuple[str, ...] = ("disabled", "admin_only")

# Whoever reaches one of these owns the platform: Docker without TLS, etcd for clients (two ports), etcd for peers.
FORBIDDEN_PORTS: Tuple[int, ...] = (2375, 2379, 4001, 7001)

# The page of the document that is the source of each area, and its sentence.
DOCUMENT = "Deis v1, Production deployments"
SENTENCES: Dict[str, Tuple[str, str]] = {
    REGISTRATION: ("Change Registration Mode", "Changing the registration process is highly recommended in production."),
    TLS: ("Enable TLS", "Using TLS to encrypt traffic (including Deis client traffic, such as login credentials) is crucial."),
    FIREWALL: ("Review security considerations", "users can consider enabling a firewall on the CoreOS hosts as well as the router component"),
    LOGS: ("Configure logging and monitoring", "Many users already have external monitoring or logging systems"),
    PLANES: ("Isolating the Planes", "it is beneficial to isolate the Control Plane"),
    "backup": ("Back up data", "Backing up data regularly is recommended."),
    "etcd": ("Isolating etcd", "it is beneficial to isolate etcd to a small, fixed number of nodes"),
    "store": ("Running Deis without Ceph", "Removal of state from the control plane (etcd is still used for configuration)"),
    "": ("Review security considerations", "There are some additional security-related considerations when running Deis in production"),
}

# What the document advises and nobody should let a program do any more, with the reason.
LEFT_TO_PEOPLE: Tuple[str, ...] = (
    "isolating planes and etcd on a live platform (units have to be made anew, data folders wiped)",
    "running without Ceph (no way to move what it holds is documented)",
    "preseeding (the registries that it pulls from have not kept the images: have a mirror of your own)",
    "upgrades (their download hosts are gone)",
    "a firewall of the hosts (they have iptables and no Python; the role firewall is for hosts with nftables)",
)
