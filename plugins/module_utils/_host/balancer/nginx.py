# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of nginx, whole and from the wish alone; each line knows the option that it comes from. Pure."""

from __future__ import annotations

import hashlib
import re
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._host.balancer.wishes import Listener, Wish
from ansible_collections.paas.hardening.plugins.module_utils._host.certificates import CIPHERS

FILE = "/etc/nginx/nginx.conf"
MODE = 0o644
STATUS_PATH = "/alive"
_HEADER = "# Managed by paas.hardening.load_balancer: what is changed here by hand is taken back."
_MARK = re.compile(r"^\s*# \[([^\]]+)\]$")
_STREAM = "/usr/lib/nginx/modules/ngx_stream_module.so"
_PROTOCOLS = {"1.2": "TLSv1.2 TLSv1.3", "1.3": "TLSv1.3"}
CONNECTIONS = 4096
# The one that says what the running nginx has read; it stands for the hash of everything else.
_GENERATION = re.compile(r"[0-9a-f]{64}")
_UNKNOWN = "0" * 64
# What nginx writes before its words, to the terminal or to a log.
_PREFIX = re.compile(r"^(?:nginx: |\d{4}/\d\d/\d\d \d\d:\d\d:\d\d )\[\w+\] (?:\d+#\d+: )?")
# Of the first version that has it as a directive of its own.
_HTTP2 = (1, 25, 1)


class Circumstances(NamedTuple):
    """What the text depends on beside the wish: nginx's version, whether the host speaks IPv6, and what the certificates' files hold."""

    version: Tuple[int, ...]
    six: bool
    certificates: Mapping[str, str]


class Rendered(NamedTuple):
    """The text, the option that each of its lines comes from, and the hash by which the running nginx tells that it has read this."""

    text: str
    options: Tuple[str, ...]
    generation: str

    def option_of(self, complaint: str) -> str:
        """Return the option that a complaint of nginx is about, by the line or the value that it names; empty when it names none of ours."""
        found = re.search(r" in \S+:(\d+)\b", complaint)
        if found and 0 < int(found[1]) <= len(self.options):
            return self.options[int(found[1]) - 1]
        lines = self.text.splitlines()
        for value in re.findall(r'"([^"]+)"', complaint):
            for line, option in zip(lines, self.options):
                if option and value in line:
                    return option
        return ""


class _Page:
    """Lines with the options that they come from."""

    def __init__(self) -> None:
        self.lines: List[str] = []
        self.options: List[str] = []

    def add(self, text: str, option: str = "") -> None:
        self.lines.append(text)
        self.options.append(option)

    def mark(self, name: str, depth: str = "") -> None:
        """Begin a part that is compared, and told, by itself."""
        self.add(f"{depth}# [{name}]")


def render(wish: Wish, there: Circumstances) -> Rendered:
    """Return the whole configuration."""
    page = _Page()
    page.add(_HEADER)
    page.mark("general")
    if wish.passes:
        page.add(f"load_module {_STREAM};")
    for line in ("user www-data;", "worker_processes auto;", "pid /run/nginx.pid;", "error_log /var/log/nginx/error.log warn;"):
        page.add(line)
    page.add(f"events {{ worker_connections {CONNECTIONS}; }}")
    if wish.passes:
        _stream(page, wish, there)
    _http(page, wish, there)
    text = "\n".join(page.lines) + "\n"
    # Of a certificate the file's content counts, too: a new one has to be read.
    content = "\0".join([text, *(there.certificates.get(path, "") for path, _key in wish.certificates)])
    generation = hashlib.sha256(content.encode(errors="surrogateescape")).hexdigest()
    return Rendered(text.replace(_UNKNOWN, generation), tuple(page.options), generation)


def _stream(page: _Page, wish: Wish, there: Circumstances) -> None:
    page.mark("tcp")
    page.add("stream {")
    page.add("    log_format passed '$remote_addr [$time_iso8601] $server_port $status $bytes_sent $bytes_received $session_time \"$upstream_addr\"';")
    page.add("    access_log /var/log/nginx/stream.log passed;")
    # A peer that is gone without a word is noticed, whatever the idle time is.
    page.add("    proxy_socket_keepalive on;")
    for one in wish.passes:
        page.mark(f"listener {one.name}", "    ")
        _upstream(page, one)
        page.add("    server {")
        for address in _addresses(one, there):
            page.add(f"        listen {address} so_keepalive=on;", _option(one, "port"))
        page.add(f"        proxy_connect_timeout {one.connect_timeout}s;", _option(one, "connect_timeout"))
        page.add(f"        proxy_timeout {one.idle_timeout}s;", _option(one, "idle_timeout"))
        if one.proxy_protocol:
            page.add("        proxy_protocol on;", _option(one, "proxy_protocol"))
        page.add(f"        proxy_pass {one.name};", _option(one, "backends"))
        page.add("    }")
    page.mark("end of tcp")
    page.add("}")


def _http(page: _Page, wish: Wish, there: Circumstances) -> None:
    page.mark("http")
    page.add("http {")
    for line in (
        "default_type text/plain;",
        "server_tokens off;",
        "access_log /var/log/nginx/access.log;",
        "client_body_timeout 300s;",
        "proxy_http_version 1.1;",
        "map $http_upgrade $connection_upgrade { default upgrade; '' close; }",
    ):
        page.add(f"    {line}")
    if any(one.encrypted for one in wish.reads):
        page.mark("tls", "    ")
        page.add(f"    ssl_protocols {_PROTOCOLS[wish.tls_minimum]};", "tls_minimum")
        for line in (
            f"ssl_ciphers {CIPHERS};",
            "ssl_prefer_server_ciphers off;",
            "ssl_session_cache shared:tls_sessions:10m;",
            "ssl_session_timeout 1d;",
            "ssl_session_tickets off;",
        ):
            page.add(f"    {line}")
        if there.version >= _HTTP2:
            page.add("    http2 on;")
    for port in dict.fromkeys(one.port for one in wish.reads):
        at_port = [one for one in wish.reads if one.port == port]
        for one in at_port:
            page.mark(f"listener {one.name}", "    ")
            _server(page, one, there)
        if all(one.server_names for one in at_port):
            page.mark(f"strangers at {port}", "    ")
            _strangers(page, at_port[0], there)
    page.mark("status", "    ")
    page.add(f"    server {{ listen 127.0.0.1:{wish.status_port} default_server; access_log off;", "status_port")
    page.add(f'        location = {STATUS_PATH} {{ return 200 "{_UNKNOWN}\\n"; }}')
    page.add("        location / { return 404; } }")
    page.mark("end of http")
    page.add("}")


def _server(page: _Page, one: Listener, there: Circumstances) -> None:
    if not one.redirect:
        _upstream(page, one)
    page.add("    server {")
    _listen(page, one, there, default=not one.server_names)
    if one.server_names:
        page.add(f"        server_name {' '.join(one.server_names)};", _option(one, "server_names"))
    if one.encrypted:
        page.add(f"        ssl_certificate {one.certificate};", _option(one, "tls_certificate"))
        page.add(f"        ssl_certificate_key {one.key};", _option(one, "tls_key"))
    if one.redirect:
        page.add("        location / { return 301 https://$host$request_uri; }", _option(one, "redirect"))
        page.add("    }")
        return
    if one.encrypted and one.hsts_max_age:
        page.add(f'        add_header Strict-Transport-Security "max-age={one.hsts_max_age}" always;', _option(one, "hsts_max_age"))
        page.add("        proxy_hide_header Strict-Transport-Security;", _option(one, "hsts_max_age"))
    page.add(f"        client_max_body_size {one.body_limit};", _option(one, "body_limit"))
    page.add(f"        proxy_connect_timeout {one.connect_timeout}s;", _option(one, "connect_timeout"))
    for name in ("proxy_read_timeout", "proxy_send_timeout"):
        page.add(f"        {name} {one.idle_timeout}s;", _option(one, "idle_timeout"))
    # What a client says of itself in these is not passed on: this is the first that it comes to.
    for name, value in (
        ("Host", "$http_host"),
        ("X-Real-IP", "$remote_addr"),
        ("X-Forwarded-For", "$remote_addr"),
        ("X-Forwarded-Host", "$http_host"),
        ("X-Forwarded-Proto", "$scheme"),
        ("X-Forwarded-Port", "$server_port"),
        ("Upgrade", "$http_upgrade"),
        ("Connection", "$connection_upgrade"),
    ):
        page.add(f"        proxy_set_header {name} {value};")
    page.add(f"        location / {{ proxy_pass http://{one.name}; }}", _option(one, "backends"))
    page.add("    }")


def _strangers(page: _Page, one: Listener, there: Circumstances) -> None:
    """Who asks for a name that nobody has gets no answer, rather than that of the first."""
    page.add("    server {")
    _listen(page, one, there, default=True)
    page.add("        ssl_reject_handshake on;" if one.encrypted else "        return 444;")
    page.add("    }")


def _upstream(page: _Page, one: Listener) -> None:
    page.add(f"    upstream {one.name} {{", _option(one, "name"))
    # In a zone, or each worker finds out by itself that a backend is away.
    page.add(f"        zone {one.name} 64k;", _option(one, "name"))
    page.add("        least_conn;")
    for backend in one.backends:
        page.add(f"        server {backend} max_fails={one.max_fails} fail_timeout={one.fail_timeout}s;", _option(one, "backends"))
    page.add("    }")


def _listen(page: _Page, one: Listener, there: Circumstances, default: bool) -> None:
    words = [*(["ssl"] if one.encrypted else []), *(["default_server"] if default else [])]
    for address in _addresses(one, there):
        page.add(f"        listen {' '.join([address, *words])};", _option(one, "port"))


def _addresses(one: Listener, there: Circumstances) -> List[str]:
    return [str(one.port), *([f"[::]:{one.port}"] if there.six else [])]


def _option(one: Listener, name: str) -> str:
    return f"listeners[{one.name}].{name}"


def parts_of(text: str) -> Dict[str, str]:
    """Return the parts of a configuration by their marks; what stands before the first has no name. The generation is left out of it."""
    found: Dict[str, List[str]] = {"": []}
    name = ""
    for line in _GENERATION.sub("", text).splitlines():
        mark = _MARK.match(line)
        if mark:
            name = mark[1]
            found.setdefault(name, [])
        else:
            found[name].append(line.strip())
    return {name: "\n".join(lines) for name, lines in found.items()}


def differences(text: Optional[str], wanted: str) -> List[Tuple[str, Optional[str], Optional[str]]]:
    """Return (part, what it is, what it should be) for each that differs; None where it is not there, or should not be."""
    parts = parts_of(wanted)
    if text is None:
        return [(name, None, part) for name, part in parts.items() if name == "tls" or name.startswith("listener ")]
    there = parts_of(text)
    if there[""] != parts[""]:
        # Somebody else's, as that of the distribution.
        return [("content", "another configuration", "that of the inventory")]
    names = list(dict.fromkeys([*parts, *there]))
    found = [(name, there.get(name), parts.get(name)) for name in names if there.get(name) != parts.get(name)]
    if not found and text != wanted:
        return [("generation", "another", "that of this text and of the certificates")]
    return found


def version_of(told: str) -> Tuple[int, ...]:
    """Return the version that `nginx -v` tells, () when it tells none."""
    found = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", told)
    return tuple(int(number) for number in found.groups()) if found else ()


def complaint_of(told: str, path: str) -> str:
    """Return nginx's own words of why it does not take a file, under the name that the file will have."""
    lines: Sequence[str] = [line for line in told.splitlines() if "[emerg]" in line or "[alert]" in line] or told.splitlines()
    return " ".join(dict.fromkeys(_PREFIX.sub("", line) for line in lines[:3])).replace(path, FILE)[-600:]
