"""The lab's wires on this machine: one bridge, a cable per node, routes to pods and services.

The bridge carries the owner's mark as its alias. Nothing is forwarded from it: what a node sends to the world outside ends here.
"""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

from lab import processes
from lab.addresses import MAX_NODES, Addresses
from lab.errors import CommandFailed, LabError


def _ip(*lines: str) -> None:
    processes.run(["ip", "-force", "-batch", "-"], stdin="\n".join(lines) + "\n")


def _device(name: str) -> Path:
    return Path("/sys/class/net") / name


def owner(bridge: str) -> str | None:
    """The mark on a bridge, empty when it has none, None when there is no such bridge."""
    if not _device(bridge).exists():
        return None
    return (_device(bridge) / "ifalias").read_text().strip()


def overlaps(addresses: Addresses) -> str | None:
    """What else on this machine uses the lab's addresses, if anything."""
    for route in json.loads(processes.run(["ip", "-json", "-4", "route", "show", "table", "all"])):
        target = route.get("dst", "default")
        if target == "default" or route.get("dev", "").startswith("plab"):
            continue
        if ipaddress.IPv4Network(target, strict=False).overlaps(addresses.network):
            return f"{target} by {route.get('dev', 'a route')}"
    return None


def lay(addresses: Addresses, mark: str) -> None:
    """Make the bridge, its address and the routes; what is there already stays."""
    bridge = addresses.bridge
    if owner(bridge) is None:
        # With an address of its own: else it has the lowest of its cables', and everybody loses this machine for half a minute when that one goes.
        _ip(f"link add {bridge} address 02:70:6c:61:62:{addresses.index:02x} type bridge forward_delay 0")
        _ip(f'link set {bridge} alias "{mark}"')
    for setting in ("ipv4/conf/{}/forwarding=0", "ipv6/conf/{}/disable_ipv6=1"):
        file, value = setting.format(bridge).split("=")
        path = Path("/proc/sys/net") / file
        if path.exists():
            path.write_text(value)
    routes = pod_routes(addresses, "replace")
    _ip(f"address replace {addresses.host}/24 dev {bridge}", f"link set {bridge} up", f"route replace {addresses.services} via {addresses.node(1)}", *routes)


def plug(cable: str, bridge: str, init: int) -> None:
    """Lay a cable from the bridge into the network namespace of a machine's first process."""
    unplug(cable)
    _ip(f"link add {cable} type veth peer name eth0 netns {init}", f"link set {cable} master {bridge} up")


def unplug(cable: str) -> None:
    """Take the cable away. The kernel does it too when the namespace ends, but later."""
    _remove(cable)


def cut(cable: str) -> None:
    """Let nothing through a cable: both sides wait for answers that do not come, and nobody is told."""
    _ip(f"link set {cable} down")


def mend(cable: str) -> None:
    """Let a cable that was cut work again."""
    _ip(f"link set {cable} up")


def remove(addresses: Addresses) -> None:
    """Take away the cables and the bridge; the routes go with it."""
    for device in sorted(Path("/sys/class/net").glob(f"{addresses.bridge}-*")):
        _remove(device.name)
    _remove(addresses.bridge)


def _remove(device: str) -> None:
    if not _device(device).exists():
        return
    try:
        processes.run(["ip", "link", "delete", device])
    except CommandFailed:
        if _device(device).exists():  # else the kernel was quicker
            raise


def node_commands(addresses: Addresses, number: int) -> list[str]:
    """What a node does with its end of the cable, in the words of ``ip -batch``."""
    others = [peer for peer in range(1, MAX_NODES + 1) if peer != number]
    return [
        f"address add {addresses.node(number)}/24 dev eth0",
        "link set eth0 up",
        f"route add {addresses.services} dev eth0",  # kube-proxy rewrites the destination, but a route must be there first
        "route add unreachable default",  # fails at once what would leave the machine
        *(f"route add {addresses.node_pods(peer)} via {addresses.node(peer)}" for peer in others),
    ]


def server_commands(addresses: Addresses, name: str) -> list[str]:
    """What a server beside the cluster does with its end of the cable."""
    return [
        f"address add {addresses.server(name)}/24 dev eth0",
        "link set eth0 up",
        "route add unreachable default",
        *pod_routes(addresses),
    ]


def pod_routes(addresses: Addresses, verb: str = "add") -> list[str]:
    """The ways to the pods, each by way of its node."""
    return [f"route {verb} {pods} via {node}" for pods, node in ways_to_pods(addresses)]


def ways_to_pods(addresses: Addresses) -> list[tuple[str, str]]:
    """The network of the pods of each node, and the node's address."""
    return [(addresses.node_pods(number), addresses.node(number)) for number in range(1, MAX_NODES + 1)]


def check_kernel() -> None:
    """Raise LabError when the kernel does not show bridged traffic to its packet filter: services would not answer."""
    if not Path("/proc/sys/net/bridge/bridge-nf-call-iptables").exists():
        raise LabError("the kernel's br_netfilter is not loaded: run  modprobe br_netfilter")
