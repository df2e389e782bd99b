"""The daemons that only the first node runs: etcd, the API server, its controllers, the scheduler, DNS, KWOK."""

from __future__ import annotations

from typing import Any

import yaml

from lab import builds, dns, kwok, paths
from lab.layout import Layout

# Who is left out of the audit log: the machinery. Every request of a person or of a platform's own account is in it.
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {
            "level": "None",
            "users": [
                "system:apiserver",
                "system:kube-controller-manager",
                "system:kube-scheduler",
                "system:kube-proxy",
                "system:lab:coredns",
                "system:lab:kwok",
                "system:lab:operator",
            ],
        },
        {"level": "None", "userGroups": ["system:nodes", "system:serviceaccounts:kube-system"]},
        {"level": "None", "users": ["system:anonymous"], "nonResourceURLs": ["/readyz*", "/livez*", "/healthz*"]},
        # no secret may stand in the log
        {
            "level": "Metadata",
            "resources": [
                {"group": "", "resources": ["secrets", "configmaps", "serviceaccounts/token"]},
                {"group": "authentication.k8s.io", "resources": ["tokenreviews"]},
            ],
        },
        {"level": "Request"},
    ],
}
_AUDIT_MEGABYTES = 4000
# Fewer rounds of garbage collection: the heaps are small, and processors are what a lab is short of.
_ENVIRONMENT = {"GOGC": "400"}


def component(name: str, *arguments: str, gate: dict[str, Any] | None = None, argv0: str | None = None, env: dict[str, str] | None = None) -> dict[str, Any]:
    """A daemon in the words of the supervisor; its program is built if need be."""
    return {"name": name, "argv": [argv0 or str(builds.binary(name)), *arguments], "env": {**_ENVIRONMENT, **(env or {})}, "gate": gate, "wanted": True}


def api_gate(layout: Layout) -> dict[str, Any]:
    """Wait for a ready API server: who asks earlier is refused, and backs off for seconds."""
    return {"host": layout.addresses.node(1), "port": 6443, "ca": str(layout.authority.certificate)}


def components(layout: Layout, kwok_nodes: int) -> list[dict[str, Any]]:
    """Write the configuration files and return the daemons of the control plane."""
    addresses, pki, folder = layout.addresses, layout.authority.folder, layout.node(1)
    gate = api_gate(layout)
    paths.write(folder / "audit-policy.yaml", yaml.safe_dump(_AUDIT_POLICY))
    paths.private_folder(folder / "etcd")
    client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
    found = [
        component(
            "etcd",
            "--name=n1",
            f"--data-dir={folder / 'etcd'}",
            "--unsafe-no-fsync",
            "--log-level=warn",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=n1={peer}",
        ),
        component(
            "kube-apiserver",
            f"--etcd-servers={client}",
            "--bind-address=0.0.0.0",
            "--secure-port=6443",
            f"--advertise-address={addresses.node(1)}",
            f"--service-cluster-ip-range={addresses.services}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--client-ca-file={pki / 'ca.crt'}",
            f"--tls-cert-file={pki / 'apiserver.crt'}",
            f"--tls-private-key-file={pki / 'apiserver.key'}",
            f"--kubelet-client-certificate={pki / 'apiserver-kubelet.crt'}",
            f"--kubelet-client-key={pki / 'apiserver-kubelet.key'}",
            f"--kubelet-certificate-authority={pki / 'ca.crt'}",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki / 'sa.pub'}",
            f"--service-account-signing-key-file={pki / 'sa.key'}",
            f"--audit-policy-file={folder / 'audit-policy.yaml'}",
            f"--audit-log-path={layout.audit_log}",
            "--audit-log-mode=blocking",
            f"--audit-log-maxsize={_AUDIT_MEGABYTES}",
        ),
        component(
            "kube-controller-manager",
            f"--kubeconfig={layout.authority.kubeconfig('kube-controller-manager')}",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--use-service-account-credentials",
            f"--service-account-private-key-file={pki / 'sa.key'}",
            f"--root-ca-file={pki / 'ca.crt'}",
            f"--cluster-signing-cert-file={pki / 'ca.crt'}",
            f"--cluster-signing-key-file={pki / 'ca.key'}",
            # thousands of Deployments in minutes, not in hours
            "--kube-api-qps=200",
            "--kube-api-burst=400",
            gate=gate,
        ),
        component(
            "kube-scheduler", f"--kubeconfig={layout.authority.kubeconfig('kube-scheduler')}", "--bind-address=127.0.0.1", "--leader-elect=false", gate=gate
        ),
        component("coredns", "-conf", str(dns.write_configuration(layout)), gate=gate),
    ]
    if kwok_nodes:
        found.append(component("kwok", *kwok.arguments(layout), gate=gate))
    return found
