"""The edge router: nginx, with a configuration made of the Services that are labelled as routable.

Every few seconds it reads those Services of all namespaces and the annotations of its own Deployment with its service account, and reloads nginx
when something changed. While it cannot read them it keeps what it has: at first only the health port and a 404 for every host, as the real one does.
"""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
FOLDER = "/run/router"
PREFIX = "router.deis.io/"
INTERVAL = 3.0

FRAME = """
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
load_module modules/ngx_stream_module.so;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  server_names_hash_bucket_size 128;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  map $http_x_forwarded_proto $told_proto {{ default $http_x_forwarded_proto; '' $scheme; }}
  proxy_http_version 1.1;
  proxy_set_header Host $host;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  proxy_set_header X-Forwarded-Proto $told_proto;
  proxy_set_header Upgrade $http_upgrade;
  proxy_set_header Connection $connection_upgrade;
  ssl_certificate {folder}/own.crt;
  ssl_certificate_key {folder}/own.key;
  server {{
    listen 9090;
    location = /healthz {{ return 200 "ok\\n"; }}
    location / {{ return 404; }}
  }}
  server {{
    listen 8080 default_server;
    listen 6443 ssl http2 default_server;
    server_name _;
    location / {{ return 404; }}
  }}
{servers}}}
stream {{
{streams}}}
"""

SERVER = """  server {{
    listen 8080;
    listen 6443 ssl http2;
    server_name {names};
    location / {{
      proxy_connect_timeout {connect}s;
      proxy_read_timeout {read}s;
      proxy_send_timeout {read}s;
      proxy_pass http://{address};
    }}
  }}
"""

STREAM = """  server {{
    listen 2222;
    proxy_connect_timeout 10s;
    proxy_timeout 1200s;
    proxy_pass {address};
  }}
"""


def ask(path):
    """A GET at the API server with the pod's own account, as data."""
    with open(f"{ACCOUNT}/token", encoding="utf-8") as token:
        request = urllib.request.Request(
            f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}{path}",
            headers={"Authorization": f"Bearer {token.read()}"},
        )
    context = ssl.create_default_context(cafile=f"{ACCOUNT}/ca.crt")
    with urllib.request.urlopen(request, timeout=5, context=context) as answer:
        return json.load(answer)


def server_name(domain, platform_domain):
    """What nginx compares the Host with: a full name as it is, a short one under the platform's domain, or under any where none is set."""
    if "." in domain:
        return domain
    return f"{domain}.{platform_domain}" if platform_domain else f"~^{re.escape(domain)}\\."


def configuration(services, annotations):
    """The text of nginx.conf. Pure: Services as the API gives them, and the annotations of the router's Deployment."""
    platform_domain = annotations.get(f"{PREFIX}nginx.platformDomain", "")
    servers = ""
    for service in sorted(services, key=lambda s: (s["metadata"]["namespace"], s["metadata"]["name"])):
        notes = service["metadata"].get("annotations", {})
        domains = [domain.strip() for domain in notes.get(f"{PREFIX}domains", "").split(",") if domain.strip()]
        address = service["spec"].get("clusterIP")
        if not domains or address in (None, "", "None"):
            continue
        names = " ".join(f'"{server_name(domain, platform_domain)}"' for domain in domains)
        port = service["spec"]["ports"][0]["port"]
        servers += SERVER.format(
            names=names, address=f"{address}:{port}", connect=int(notes.get(f"{PREFIX}connectTimeout", 30)), read=int(notes.get(f"{PREFIX}tcpTimeout", 1300))
        )
    host = os.environ.get("DEIS_BUILDER_SERVICE_HOST")
    streams = STREAM.format(address=f"{host}:{os.environ['DEIS_BUILDER_SERVICE_PORT']}") if host else ""
    return FRAME.format(folder=FOLDER, servers=servers, streams=streams)


def observed():
    """Services and annotations as they are now."""
    services = ask(f"/api/v1/services?labelSelector={PREFIX}routable%3Dtrue")["items"]
    own = ask(f"/apis/apps/v1/namespaces/{os.environ['POD_NAMESPACE']}/deployments/deis-router")
    return services, own["metadata"].get("annotations", {})


def main():
    os.makedirs(FOLDER, exist_ok=True)
    subject = ["-subj", "/CN=default-vhost"]
    certificate = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "365"]
    subprocess.run([*certificate, *subject, "-keyout", f"{FOLDER}/own.key", "-out", f"{FOLDER}/own.crt"], check=True, capture_output=True)
    path = f"{FOLDER}/nginx.conf"
    current = configuration([], {})
    write(path, current)
    nginx = subprocess.Popen(["nginx", "-c", path, "-g", "daemon off;"])
    # before it has written this file, the signal to reload would end it
    while nginx.poll() is None and not os.path.exists(f"{FOLDER}/nginx.pid"):
        time.sleep(0.02)
    signal.signal(signal.SIGTERM, lambda *_: nginx.send_signal(signal.SIGQUIT))
    said = None
    while nginx.poll() is None:
        try:
            wanted, trouble = configuration(*observed()), None
        except (OSError, ValueError, KeyError) as error:
            wanted, trouble = current, f"Error building model; not modifying existing configuration: {error}"
        if trouble and trouble != said:
            print(trouble, file=sys.stderr, flush=True)
        said = trouble
        if wanted != current:
            write(path, wanted)
            if subprocess.run(["nginx", "-t", "-q", "-c", path], check=False).returncode == 0:
                nginx.send_signal(signal.SIGHUP)
                current = wanted
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


if __name__ == "__main__":
    main()
