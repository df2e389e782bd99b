"""The configuration files of a node, each unusual setting with its reason."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lab import control_plane, network, paths, processes
from lab.addresses import node_name, zone
from lab.errors import LabError
from lab.images import PAUSE
from lab.layout import Layout

SOCKET = "/run/containerd/containerd.sock"
_CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
# The kubelet wants these, for the whole machine. The node is shown files that say so, and the machine stays as it is.
_SHOWN_SETTINGS = {
    "/proc/sys/vm/overcommit_memory": "1",
    "/proc/sys/vm/panic_on_oom": "0",
    "/proc/sys/kernel/panic": "10",
    "/proc/sys/kernel/panic_on_oops": "1",
    "/proc/sys/kernel/keys/root_maxkeys": "1000000",
    "/proc/sys/kernel/keys/root_maxbytes": "25000000",
}
# These are the node's own: they belong to its network namespace.
_OWN_SETTINGS = {"/proc/sys/net/ipv4/ip_forward": "1", "/proc/sys/net/bridge/bridge-nf-call-iptables": "1"}
# An image that is not there must fail at once and on this machine. Without a host section containerd 1.6 drops the whole file.
_NO_REGISTRY = 'server = "http://127.0.0.1:1"\n[host."http://127.0.0.1:1"]\n  capabilities = ["pull", "resolve"]\n'
_UNUSED_PLUGINS = (
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.internal.v1.opt",
    "io.containerd.internal.v1.tracing",
    "io.containerd.nri.v1.nri",
)
# Without CAP_SYS_RESOURCE runc may not lower oom_score_adj, hence restrict_oom_score_adj.
_CONTAINERD_1 = """
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "{registries}"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{cni_programs}"
  conf_dir = "{cni}"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  BinaryName = "{runc}"
  SystemdCgroup = false
"""
_CONTAINERD_2 = """
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{pause}"
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "{registries}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["{cni_programs}"]
  conf_dir = "{cni}"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  BinaryName = "{runc}"
  SystemdCgroup = false
"""


def installed(program: str) -> str:
    """Path of a program from a Debian package. Raises LabError when it is not there."""
    found = shutil.which(program, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if not found:
        raise LabError(f"{program} is not installed: run  python -m lab setup")
    return found


def containerd_head(root: Path, *switched_off: str) -> str:
    """First lines of a containerd configuration: format, folders, plugins that are not wanted."""
    first = " 1." in processes.run([installed("containerd"), "--version"])
    disabled = ", ".join(f'"{name}"' for name in (*_UNUSED_PLUGINS, *switched_off))
    return f'version = {2 if first else 3}\nroot = "{root}"\nstate = "/run/containerd"\ndisabled_plugins = [{disabled}]\n[grpc]\n  address = "{SOCKET}"\n'


def write(layout: Layout, number: int, kwok_nodes: int, read_only: Mapping[str, str]) -> None:
    """Write everything that the supervisor and the daemons of a node read."""
    folder = paths.private_folder(layout.node(number))
    for name in ("log", "kubelet", "var-log/pods", "var-log/containers", "registries/_default"):
        paths.private_folder(folder / name)
    paths.write(folder / "registries/_default/hosts.toml", _NO_REGISTRY)
    _write_cni(layout, number)
    _write_containerd(layout, number)
    paths.write(folder / "kubelet.yaml", yaml.safe_dump(_kubelet(layout, number)))
    paths.write(folder / "kube-proxy.yaml", yaml.safe_dump(_kube_proxy(layout, number)))
    paths.write_json(folder / "components.json", _components(layout, number, kwok_nodes))
    paths.write_json(
        folder / "node.json",
        {
            "hostname": node_name(number),
            "run_folders": ["/run/netns", "/run/lock", "/run/containerd"],
            "binds": {str(folder / "kubelet"): "/var/lib/kubelet", str(folder / "var-log"): "/var/log"},
            "read_only_binds": dict(read_only),
            "shown": _shown(),
            "settings": _OWN_SETTINGS,
            "network": network.node_commands(layout.addresses, number),
        },
    )


def _shown() -> dict[str, str]:
    """Files that a node sees with another text than the machine has."""
    shown = {path: value for path, value in _SHOWN_SETTINGS.items() if Path(path).exists()}
    resolver = Path("/etc/resolv.conf").resolve()
    if resolver.is_file() and not resolver.is_relative_to("/run"):  # /run is the node's own anyway
        shown[str(resolver)] = "# a node asks nobody outside"
    return shown


def _components(layout: Layout, number: int, kwok_nodes: int) -> list[dict[str, Any]]:
    folder, name = layout.node(number), node_name(number)
    gate = control_plane.api_gate(layout)
    own = [
        control_plane.component("containerd", "--config", str(folder / "containerd.toml"), argv0=installed("containerd")),
        control_plane.component(
            "kubelet",
            f"--config={folder / 'kubelet.yaml'}",
            f"--kubeconfig={layout.authority.kubeconfig(name)}",
            f"--hostname-override={name}",
            f"--node-ip={layout.addresses.node(number)}",
            f"--node-labels=topology.kubernetes.io/zone={zone(number)}",
            "--v=1",
            gate=gate,
        ),
        control_plane.component("kube-proxy", f"--config={folder / 'kube-proxy.yaml'}", gate=gate),
    ]
    return (control_plane.components(layout, kwok_nodes) if number == 1 else []) + own


def _write_cni(layout: Layout, number: int) -> None:
    folder = paths.private_folder(layout.node(number) / "cni")
    pool = {"type": "host-local", "ranges": [[{"subnet": layout.addresses.node_pods(number)}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "/run/cni"}
    paths.write_json(
        folder / "10-lab.conflist",
        {
            "cniVersion": "0.4.0",
            "name": "lab",
            "plugins": [
                {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "hairpinMode": True, "ipam": pool},
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        },
    )


def _write_containerd(layout: Layout, number: int) -> None:
    folder = layout.node(number)
    head = containerd_head(folder / "containerd")
    programs = next((path for path in _CNI_FOLDERS if (path / "bridge").exists()), None)
    if not programs:
        raise LabError("the CNI programs are not installed: run  python -m lab setup")
    body = _CONTAINERD_1 if head.startswith("version = 2") else _CONTAINERD_2
    paths.write(
        folder / "containerd.toml",
        head + body.format(pause=PAUSE, registries=folder / "registries", cni=folder / "cni", cni_programs=programs, runc=installed("runc")),
    )


def _kubelet(layout: Layout, number: int) -> dict[str, Any]:
    pki, name = layout.authority.folder, node_name(number)
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,  # else it refuses machines with version 1 hierarchies
        "cgroupDriver": "cgroupfs",  # systemd need not be there
        "cgroupRoot": f"/{layout.addresses.cgroup(number)}",
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "failSwapOn": False,
        "oomScoreAdj": 0,  # may not be lowered without CAP_SYS_RESOURCE
        "maxOpenFiles": 20000,  # nor may this be raised
        "protectKernelDefaults": True,  # never write the machine's kernel settings
        "makeIPTablesUtilChains": False,  # no iptables needed
        "enforceNodeAllocatable": ["pods"],
        "address": "0.0.0.0",
        "readOnlyPort": 0,
        "tlsCertFile": str(pki / f"{name}-server.crt"),
        "tlsPrivateKeyFile": str(pki / f"{name}-server.key"),
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True}, "x509": {"clientCAFile": str(pki / "ca.crt")}},
        "authorization": {"mode": "Webhook"},
        "resolvConf": "",
        "clusterDNS": [layout.addresses.dns],
        "clusterDomain": "cluster.local",
        "imageGCHighThresholdPercent": 100,  # no registry to pull an image from again
        "evictionHard": {
            "memory.available": "200Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
            "imagefs.inodesFree": "0%",
        },
        "maxPods": 110,
        "serializeImagePulls": False,
        "syncFrequency": "30s",
        "nodeStatusUpdateFrequency": "10s",
        "registryPullQPS": 0,
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
    }


def _kube_proxy(layout: Layout, number: int) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": node_name(number),
        "oomScoreAdj": 0,
        "clientConnection": {"kubeconfig": str(layout.authority.kubeconfig("kube-proxy"))},
        "clusterCIDR": layout.addresses.pods,
        "bindAddress": "0.0.0.0",
        "metricsBindAddress": "127.0.0.1:10249",
        # zero: leave the machine's connection tracking alone
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
