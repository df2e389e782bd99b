"""A client in the cluster that asks the platform for something all the while, and tells afterwards how often it got no answer."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import yaml

from lab import images
from lab.cluster import Cluster

# Runs until its standard input ends. What is not answered is sent again, as people and HTTP clients do with a GET, and has failed after two seconds: a router
# that has just started gives 404 for a moment, and one that is going closes its connections before every node has heard of it.
PATIENCE = 2.0
_CLIENT = """
import http.client, json, select, sys, time
host, address, path, patience = sys.argv[1:]
counts = {"answered": 0, "again": 0, "failed": 0}
troubles = []
def ask():
    connection = http.client.HTTPConnection(address, 80, timeout=float(patience))
    try:
        connection.request("GET", path, headers={"Host": host, "Connection": "close"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise OSError("status %d" % answer.status)
    finally:
        connection.close()
def knock():
    end, word = time.monotonic() + float(patience), "answered"
    while True:
        try:
            ask()
            return word
        except (OSError, http.client.HTTPException) as error:
            troubles.append("%.1f %s" % (time.time(), error))
        if time.monotonic() > end:
            return "failed"
        word = "again"
        time.sleep(0.1)
print("knocking", flush=True)
while not select.select([sys.stdin], [], [], 0.02)[0]:
    counts[knock()] += 1
print(json.dumps({**counts, "troubles": troubles[:20]}))
"""
_POD = "knocker"


@dataclass
class Knocks:
    """How many requests were answered at once, how many when sent again within PATIENCE seconds, and how many not at all."""

    answered: int = 0
    again: int = 0
    failed: int = 0
    troubles: tuple[str, ...] = ()


@contextmanager
def knocking(cluster: Cluster, namespace: str, host: str, path: str = "/healthz", service: str = "deis-router", away_from: str = "") -> Iterator[Knocks]:
    """Ask the platform's edge from a pod (on another node than ``away_from``) until the block ends; the numbers are in the object that was yielded."""
    node = next(name for name in cluster.nodes if name != away_from)
    container = {"name": "client", "image": images.BASE, "command": ["sleep", "infinity"], "imagePullPolicy": "Never"}
    spec = {"nodeName": node, "containers": [container], "terminationGracePeriodSeconds": 0}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": _POD, "namespace": namespace}, "spec": spec}
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(pod))
    try:
        cluster.kubectl("wait", "pod", _POD, "-n", namespace, "--for=condition=Ready", "--timeout=180s")
        with _client(cluster, namespace, host, f"{service}.{namespace}.svc.cluster.local", path) as knocks:
            yield knocks
    finally:
        cluster.kubectl("delete", "pod", _POD, "-n", namespace, "--now")


@contextmanager
def _client(cluster: Cluster, namespace: str, host: str, address: str, path: str) -> Iterator[Knocks]:
    command = [str(cluster.binary("kubectl")), "exec", "-i", "-n", namespace, _POD, "--", "python3", "-c", _CLIENT, host, address, path, str(PATIENCE)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=cluster.environment())
    knocks = Knocks()
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "knocking\n"
        yield knocks
        # What a change breaks can break a moment after it.
        time.sleep(2)
        output, trouble = process.communicate(timeout=120)
        counted = json.loads(output or "{}")
        assert counted, trouble
        knocks.answered, knocks.again, knocks.failed = counted["answered"], counted["again"], counted["failed"]
        knocks.troubles = tuple(counted["troubles"])
    finally:
        process.kill()
        process.communicate()
