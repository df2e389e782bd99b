"""Reads all Deployments once, in a process of its own, and prints what that took: python -m tests.perf.bulk_reader WAY KUBECONFIG PAGE.

WAY is ``objects`` (Objects.list) or ``bare`` (the same pages with urllib3 and json, which are thrown away at once).
"""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path


def with_objects(kubeconfig: str, page: int) -> Callable[[], int]:
    """As the collection reads."""
    from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import connect
    from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
    from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import Objects

    objects = Objects(connect({"kubeconfig": kubeconfig}))

    def read() -> int:
        return sum(1 for _object in objects.list(KINDS["Deployment"], page=page))

    return read


def bare(kubeconfig: str, page: int) -> Callable[[], int]:
    """As little as there can be: a page, parsed, its end looked up."""
    import ssl
    import tempfile

    import urllib3
    import yaml

    document = yaml.load(Path(kubeconfig).read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    context = ssl.create_default_context(cadata=_content(cluster, "certificate-authority").decode())
    with tempfile.NamedTemporaryFile() as identity:
        identity.write(_content(user, "client-certificate") + b"\n" + _content(user, "client-key"))
        identity.flush()
        context.load_cert_chain(identity.name)
    pool = urllib3.PoolManager(ssl_context=context)

    def read() -> int:
        count, token = 0, ""
        while True:
            answer = pool.request("GET", f"{cluster['server']}/apis/apps/v1/deployments", fields={"limit": str(page), **({"continue": token} if token else {})})
            if answer.status != 200:
                raise RuntimeError(f"the server answered {answer.status}")
            found = json.loads(answer.data)
            count += len(found["items"])
            token = found["metadata"].get("continue", "")
            if not token:
                return count

    return read


def _content(entry: dict[str, str], name: str) -> bytes:
    return Path(entry[name]).read_bytes() if name in entry else base64.b64decode(entry[f"{name}-data"])


def _peak() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


def main() -> None:
    way, kubeconfig, page = sys.argv[1:]
    read = {"objects": with_objects, "bare": bare}[way](kubeconfig, int(page))
    wall, processor = time.perf_counter(), time.process_time()
    count = read()
    print(json.dumps({"count": count, "wall": time.perf_counter() - wall, "processor": time.process_time() - processor, "peak_mb": _peak()}))


if __name__ == "__main__":
    main()
