"""Two load balancers and the backends behind them, on real hosts, as an inventory has them; clients of theirs; and the playbook run on them."""

from __future__ import annotations

import http.client
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.contract.playbook import Run, run_playbook
from tests.hosts.issued import issue
from tests.quality.checkout import ROOT

if TYPE_CHECKING:
    from lab.hosts.fleet import Fleet
    from lab.hosts.host import Host

# One of each release, so that what they say to each other is understood by both.
PAIR = ["lb1", "lb2"]
RESULT, REACH, OUTSIDE = "Have the load balancer", "Come to every listener from every host", "Come to every listener from the control node"
NAME = "portal.example.org"
CERTIFICATE, KEY = "/etc/ssl/portal.crt", "/etc/ssl/private/portal.key"
CONFIG, ADDRESSES = "/etc/nginx/nginx.conf", "/etc/keepalived/keepalived.conf"
CHECK = "/etc/paas-hardening/load-balancer/check-nginx"
# Routers as the platforms have them: they expect the PROXY protocol at these ports, and say whom it names. At the others they speak plain HTTP.
BACKENDS = """
import asyncio, sys

async def serve(reader, writer, port):
    try:
        source = ""
        if port < 8090:
            words = (await reader.readline()).decode().split()
            if len(words) != 6 or words[0] != "PROXY":
                return
            source = words[2]
        if port in (2281, 2282):
            writer.write(b"SSH-2.0-%d\\r\\n" % port)
            while line := await reader.readline():
                writer.write(line)
            return
        head = (await reader.readuntil(b"\\r\\n\\r\\n")).decode().split("\\r\\n")
        fields = {name.lower(): value.strip() for name, _colon, value in (line.partition(":") for line in head[1:])}
        if fields.get("upgrade") == "websocket":
            writer.write(b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: upgrade\\r\\n\\r\\n")
            while line := await reader.readline():
                writer.write(line)
            return
        left = int(fields.get("content-length", 0))
        await reader.readexactly(left)
        body = f"{port} {source or fields.get('x-forwarded-for')} {fields.get('x-forwarded-proto')} {fields.get('host')}".encode()
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\nConnection: close\\r\\n\\r\\n" % len(body))
        if not head[0].startswith("HEAD"):
            writer.write(body)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()

async def main():
    for port in map(int, sys.argv[1:]):
        await asyncio.start_server(lambda reader, writer, port=port: serve(reader, writer, port), "0.0.0.0", port)
    await asyncio.Event().wait()

asyncio.run(main())
"""
PORTS = (8081, 8082, 2281, 2282, 8091, 8092)


@dataclass
class Balancers:
    """The hosts, the playbook for them, and what stands behind and before them."""

    fleet: Fleet
    folder: Path

    @property
    def hosts(self) -> dict[str, Host]:
        return {name: self.fleet.host(name) for name in [*PAIR, "web"]}

    @property
    def virtual(self) -> str:
        """The address that the two share."""
        return f"{self.hosts['web'].address.rpartition('.')[0]}.250"

    @property
    def controller(self) -> str:
        return self.hosts["web"].addresses.host

    def start_backends(self) -> None:
        """Have routers on the third host, one unit for each of two."""
        web = self.hosts["web"]
        web.run("cat > /run/backends.py", stdin=BACKENDS)
        for name, ports in (("one", PORTS[::2]), ("two", PORTS[1::2])):
            words = f"systemd-run --quiet --collect --unit=backend-{name} python3 /run/backends.py {' '.join(map(str, ports))}"
            web.run(f"systemctl is-active --quiet backend-{name} || {words}")

    def give_certificate(self, days: int = 365, name: str = NAME) -> None:
        """Bring a certificate, made for this run, to both hosts."""
        give_certificate([self.hosts[host] for host in PAIR], self.folder, name, days)

    def listeners(self, **changes: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The listeners of the inventory, some of their options changed, by the listener's name."""
        web = self.hosts["web"].address
        known: list[dict[str, Any]] = [
            {"name": "web", "port": 80, "proxy_protocol": True, "backends": [f"{web}:8081", f"{web}:8082"]},
            {"name": "builder", "port": 2222, "proxy_protocol": True, "backends": [f"{web}:2281", f"{web}:2282"]},
            {"name": "plain", "port": 8080, "mode": "http", "redirect": True},
            {
                "name": "portal",
                "port": 443,
                "mode": "http",
                "server_names": [NAME],
                "backends": [f"{web}:8091", f"{web}:8092"],
                "tls_certificate": CERTIFICATE,
                "tls_key": KEY,
                "body_limit": "1m",
            },
        ]
        return [{**one, **changes.get(one["name"], {})} for one in known]

    def run(self, *arguments: str, **variables: Any) -> Run:
        """Run the part of hosts.yml that is about load balancers, with variables above those of the inventory."""
        inventory = self.folder / "groups.yml"
        own = {"load_balancer_virtual_addresses": [f"{self.virtual}/24"], "load_balancer_listeners": self.listeners()}
        groups = {"load_balancer": {"hosts": {name: {} for name in PAIR}, "vars": own}}
        inventory.write_text(yaml.safe_dump({"all": {"children": groups}}))
        return run_playbook(
            self.folder,
            ROOT / "playbooks/hosts.yml",
            *("-i", str(self.fleet.inventory), "-i", str(inventory), "--tags", "load_balancer", *arguments),
            variables=variables,
            more={"ANSIBLE_REMOTE_TEMP": "~/.ansible/tmp", "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp")},
        )

    def plans(self, run: Run, hosts: Sequence[str] = tuple(PAIR)) -> dict[str, list[dict[str, Any]]]:
        """What was, or would be, changed on each host."""
        return {name: list(run.result(RESULT, name)["plan"]) for name in hosts}

    def holders(self) -> list[str]:
        """The hosts that have the virtual address now, by the word of the kernel."""
        return [name for name in PAIR if self.hosts[name].is_on() and f" {self.virtual}/" in self.hosts[name].run("ip -4 -oneline address show")]

    # As clients do

    def get(self, address: str, seconds: float = 2.0) -> str:
        """Ask the routers by the port that is passed on; return which one answered, and whom it saw."""
        connection = http.client.HTTPConnection(address, 80, timeout=seconds)
        try:
            connection.request("GET", "/")
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def secured(self, address: str, method: str = "GET", size: int = 0, name: str = NAME, **headers: str) -> tuple[int, str, Mapping[str, str]]:
        """Ask by TLS, the certificate verified; return status, body and headers."""
        context = ssl.create_default_context(cafile=str(self.folder / "portal-ca.crt"))
        with socket.create_connection((address, 443), timeout=5) as plain, context.wrap_socket(plain, server_hostname=name) as tunnel:
            connection = http.client.HTTPConnection(name)
            connection.sock = tunnel
            connection.request(method, "/", body=b"x" * size if size else None, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), {key.lower(): value for key, value in answer.getheaders()}


def give_certificate(hosts: Sequence[Host], folder: Path, name: str, days: int = 365, certificate: str = CERTIFICATE, key: str = KEY) -> None:
    """Make a certificate, and bring it and its key to hosts; its authority stays in the folder as portal-ca.crt."""
    made, secret = issue(folder, name, days)
    for host in hosts:
        host.run(f"mkdir -p -m 710 /etc/ssl/private; umask 077; cat > {key}", stdin=secret.read_text())
        host.run(f"cat > {certificate}; chmod 644 {certificate}", stdin=made.read_text())


class Load:
    """Clients that come all the time, from four threads; every answer that they get, and every one that they do not, is noted."""

    def __init__(self, site: Balancers, address: str, patience: float = 0.3) -> None:
        self._site, self._address, self._patience = site, address, patience
        self._enough = threading.Event()
        self.good: list[float] = []
        self.bad: list[tuple[float, str]] = []
        self._threads = [threading.Thread(target=self._come, daemon=True) for _number in range(4)]
        for thread in self._threads:
            thread.start()

    def _come(self) -> None:
        while not self._enough.is_set():
            try:
                assert self._site.get(self._address, self._patience)
                self.good.append(time.monotonic())
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.bad.append((time.monotonic(), repr(error)))
            # Some hundred connections a second are load enough for a machine of two cores.
            time.sleep(0.02)

    def await_answers(self, more: int = 50, seconds: float = 30) -> None:
        """Wait until so many more have been answered."""
        wanted, deadline = len(self.good) + more, time.monotonic() + seconds
        while len(self.good) < wanted:
            assert time.monotonic() < deadline, f"nobody is answered any more: {self.bad[-1:]}"
            time.sleep(0.05)

    def end(self) -> float:
        """Let them come no more; return the longest time, in seconds, in which nobody was answered."""
        self._enough.set()
        for thread in self._threads:
            thread.join()
        moments = sorted(self.good)
        return max(after - before for before, after in itertools.pairwise(moments))
