"""The cluster's DNS: CoreDNS as a daemon of the first node, behind a Service without a selector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab import paths
from lab.layout import Layout

PORT = 1053
_USER = "system:lab:coredns"
_CONFIGURATION = """\
cluster.local:{port} in-addr.arpa:{port} {{
  bind {address}
  errors
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {kubeconfig} lab
    ttl 5
  }}
}}
# the store beside the cluster answers to the names that software derives from a region of Amazon's
amazonaws.com:{port} {{
  bind {address}
  template IN A {{
    match "^([^.]+[.])?s3([.][a-z0-9-]+)?[.]amazonaws[.]com[.]$"
    answer "{{{{ .Name }}}} 5 IN A {store}"
    fallthrough
  }}
  template IN AAAA {{
    match "^([^.]+[.])?s3([.][a-z0-9-]+)?[.]amazonaws[.]com[.]$"
    rcode NOERROR
    fallthrough
  }}
  template ANY ANY {{
    rcode NXDOMAIN
  }}
}}
# there is no world outside
.:{port} {{
  bind {address}
  template ANY ANY {{
    rcode NXDOMAIN
  }}
}}
"""


def write_configuration(layout: Layout) -> Path:
    """Write CoreDNS's configuration file."""
    path = layout.node(1) / "Corefile"
    addresses, account = layout.addresses, layout.authority.kubeconfig("coredns")
    paths.write(path, _CONFIGURATION.format(port=PORT, address=addresses.node(1), kubeconfig=account, store=addresses.server("store")))
    return path


def objects(layout: Layout) -> list[dict[str, Any]]:
    """What the cluster has to know about its DNS."""
    protocols = (("dns", "UDP"), ("dns-tcp", "TCP"))
    return [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": _USER},
            "rules": [
                {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": _USER},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": _USER},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": _USER}],
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
            "spec": {
                "clusterIP": layout.addresses.dns,
                "ports": [{"name": name, "port": 53, "protocol": protocol, "targetPort": PORT} for name, protocol in protocols],
            },
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "addressType": "IPv4",
            "metadata": {"name": "kube-dns-lab", "namespace": "kube-system", "labels": {"kubernetes.io/service-name": "kube-dns"}},
            "endpoints": [{"addresses": [layout.addresses.node(1)], "conditions": {"ready": True}}],
            "ports": [{"name": name, "port": PORT, "protocol": protocol} for name, protocol in protocols],
        },
    ]
