"""The address plan: lab number i owns 10.(100+i).0.0/16 and one bridge.

=====================  ============================================
10.x.0.1, .2, ...      nodes
10.x.0.11 to .99       standalone hosts, with a system of their own
10.x.0.241 to .243     servers beside the cluster: a store, a PostgreSQL, a registry
10.x.0.254             this machine, on the bridge
10.x.64.0/18           pods: 10.x.(64+n).0/24 on node n
10.x.96.0/19           of these, on KWOK nodes: nothing answers there
10.x.128.0/17          services; .128.1 the API, .128.10 the DNS
=====================  ============================================

Pods and nodes are apart because kube-proxy hides the sender of what comes from outside the pods' range; without that,
answers to this machine would not find their way back.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

MAX_LABS = 10
MAX_NODES = 9
STANDALONE = range(11, 100)
SERVERS = {"store": 241, "postgres": 242, "registry": 243}
ZONES = ("zone-a", "zone-b", "zone-c")


@dataclass(frozen=True)
class Addresses:
    """Every name and address that follows from a lab's number."""

    index: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < MAX_LABS:
            raise ValueError(f"a lab's number is 0 to {MAX_LABS - 1}, not {self.index}")

    @property
    def _start(self) -> str:
        return f"10.{100 + self.index}"

    @property
    def network(self) -> ipaddress.IPv4Network:
        """All addresses of the lab."""
        return ipaddress.IPv4Network(f"{self._start}.0.0/16")

    @property
    def bridge(self) -> str:
        """The lab's bridge on this machine; also the name of its control group folder."""
        return f"plab{self.index}"

    @property
    def host(self) -> str:
        """This machine, as the nodes see it."""
        return f"{self._start}.0.254"

    @property
    def nodes(self) -> str:
        """The nodes' own network."""
        return f"{self._start}.0.0/24"

    @property
    def services(self) -> str:
        """Range of ClusterIPs."""
        return f"{self._start}.128.0/17"

    @property
    def pods(self) -> str:
        """Range of all pods, those of KWOK nodes too."""
        return f"{self._start}.64.0/18"

    @property
    def kwok_pods(self) -> str:
        """Range of pods that only pretend."""
        return f"{self._start}.96.1/19"

    @property
    def api_service(self) -> str:
        """ClusterIP of the API server."""
        return f"{self._start}.128.1"

    @property
    def dns(self) -> str:
        """ClusterIP of the cluster DNS."""
        return f"{self._start}.128.10"

    @property
    def api_url(self) -> str:
        """Where kubectl and the nodes find the API server."""
        return f"https://{self.node(1)}:6443"

    def node(self, number: int) -> str:
        """Address of a node, counted from 1."""
        if not 1 <= number <= MAX_NODES:
            raise ValueError(f"a node's number is 1 to {MAX_NODES}, not {number}")
        return f"{self._start}.0.{number}"

    def node_pods(self, number: int) -> str:
        """Network of the pods on a node."""
        self.node(number)
        return f"{self._start}.{64 + number}.0/24"

    def plug(self, number: int) -> str:
        """This machine's end of a node's cable."""
        return f"{self.bridge}-{number}"

    def server(self, name: str) -> str:
        """Address of a server beside the cluster."""
        return f"{self._start}.0.{SERVERS[name]}"

    def server_plug(self, name: str) -> str:
        """This machine's end of a server's cable."""
        return f"{self.bridge}-{name}"

    def server_cgroup(self, name: str) -> str:
        """Control group folder of a server."""
        return f"{self.bridge}/{name}"

    def standalone(self, number: int) -> str:
        """Address of a standalone host; its number is one of STANDALONE."""
        if number not in STANDALONE:
            raise ValueError(f"a standalone host's number is {STANDALONE.start} to {STANDALONE.stop - 1}, not {number}")
        return f"{self._start}.0.{number}"

    def standalone_plug(self, number: int) -> str:
        """This machine's end of a standalone host's cable."""
        return f"{self.bridge}-h{number}"

    def standalone_cgroup(self, number: int) -> str:
        """Control group folder of a standalone host."""
        return f"{self.bridge}/host{number}"

    def cgroup(self, number: int) -> str:
        """Control group folder of a node."""
        return f"{self.bridge}/{node_name(number)}"


def node_name(number: int) -> str:
    """Name of a node in its cluster."""
    return f"node{number}"


def zone(number: int) -> str:
    """Availability zone of a node: they take turns."""
    return ZONES[(number - 1) % len(ZONES)]
