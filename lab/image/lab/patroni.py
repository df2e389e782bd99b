"""What Patroni tells the cluster of a database pod: its role as a label and, from the leader, the ends of the Service drycc-database."""

from __future__ import annotations

import os
import sys
import time
import urllib.error

import edge

NAME, NAMESPACE, ADDRESS = (os.environ[f"PATRONI_{name}"] for name in ("NAME", "KUBERNETES_NAMESPACE", "KUBERNETES_POD_IP"))
SCOPE = os.environ["PATRONI_SCOPE"]


def tell():
    """One round of requests. Raises OSError."""
    leads = NAME.endswith("-0")
    patch = {"metadata": {"labels": {"role": "master" if leads else "replica"}}}
    edge.ask(f"/api/v1/namespaces/{NAMESPACE}/pods/{NAME}", "PATCH", patch, "application/merge-patch+json")
    if not leads:
        return
    folder = f"/api/v1/namespaces/{NAMESPACE}/endpoints"
    ends = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": SCOPE, "labels": {"app": SCOPE, "cluster-name": SCOPE}},
        "subsets": [{"addresses": [{"ip": ADDRESS}], "ports": [{"port": 5432, "protocol": "TCP"}]}],
    }
    try:
        edge.ask(f"{folder}/{SCOPE}", "PATCH", {"subsets": ends["subsets"]}, "application/merge-patch+json")
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        edge.ask(folder, "POST", ends)


while True:
    try:
        tell()
        break
    except OSError as trouble:
        print(f"the API server does not take it: {trouble}", file=sys.stderr, flush=True)
        time.sleep(1)
