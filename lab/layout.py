"""Where one lab keeps what: its folder, and the folders of its nodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab.addresses import Addresses, node_name
from lab.pki import Authority


@dataclass(frozen=True)
class Layout:
    """Files and addresses of one lab."""

    name: str
    directory: Path
    addresses: Addresses

    @property
    def authority(self) -> Authority:
        """The lab's certificates."""
        return Authority(self.directory / "pki", self.addresses)

    @property
    def kubeconfig(self) -> Path:
        """Kubeconfig of the cluster's administrator."""
        return self.directory / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        """The API server's audit log, one JSON object a line."""
        return self.node(1) / "log" / "audit.jsonl"

    def node(self, number: int) -> Path:
        """State of a node."""
        return self.directory / node_name(number)

    def server(self, name: str) -> Path:
        """State of a server beside the cluster."""
        return self.directory / "servers" / name

    def log(self, number: int, component: str) -> Path:
        """Log of a daemon on a node; ``supervisor`` is the node's first process."""
        return self.node(number) / "log" / f"{component}.log"

    def node_numbers(self) -> list[int]:
        """The nodes that have state."""
        return sorted(int(path.parent.name.removeprefix("node")) for path in self.directory.glob("node[1-9]/node.json"))
