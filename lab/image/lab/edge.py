"""nginx as the edge of a platform: keeps its configuration as the API server's objects say, and reloads it when they change."""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.request

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
FOLDER = "/run/edge"
INTERVAL = 3.0


def ask(path, method="GET", data=None, kind="application/json"):
    """A request to the API server with the pod's own account, its answer as data. Raises OSError, also for a refusal."""
    with open(f"{ACCOUNT}/token", encoding="utf-8") as token:
        headers = {"Authorization": f"Bearer {token.read()}", "Content-Type": kind}
    url = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}{path}"
    body = None if data is None else json.dumps(data).encode()
    context = ssl.create_default_context(cafile=f"{ACCOUNT}/ca.crt")
    with urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method), timeout=5, context=context) as answer:
        return json.load(answer)


def own_certificate():
    """A self-signed certificate for hosts that have none: own.crt and own.key in the folder."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "365", "-subj", "/CN=default-vhost"]
    subprocess.run([*command, "-keyout", f"{FOLDER}/own.key", "-out", f"{FOLDER}/own.crt"], check=True, capture_output=True)


def run(first, wanted):
    """Runs nginx with the configuration `first`, then with what wanted() gives, asked every few seconds; while that fails, nothing is changed."""
    path = f"{FOLDER}/nginx.conf"
    write(path, first)
    nginx = subprocess.Popen(["nginx", "-c", path, "-g", "daemon off;"])
    # before it has written this file, the signal to reload would end it
    while nginx.poll() is None and not os.path.exists(f"{FOLDER}/nginx.pid"):
        time.sleep(0.02)
    signal.signal(signal.SIGTERM, lambda *_: nginx.send_signal(signal.SIGQUIT))
    current, said = first, None
    while nginx.poll() is None:
        try:
            fresh, trouble = wanted(), None
        except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
            fresh, trouble = current, f"Error building model; not modifying existing configuration: {error}"
        if trouble and trouble != said:
            print(trouble, file=sys.stderr, flush=True)
        said = trouble
        if fresh != current:
            write(path, fresh)
            if subprocess.run(["nginx", "-t", "-q", "-c", path], check=False).returncode == 0:
                nginx.send_signal(signal.SIGHUP)
            current = fresh
        try:
            nginx.wait(INTERVAL)
        except subprocess.TimeoutExpired:
            continue
    sys.exit(abs(nginx.returncode))


def write(path, text):
    """Replaces the file in one step, so that nginx never reads half of it."""
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(f"{path}.new", path)


os.makedirs(FOLDER, exist_ok=True)
