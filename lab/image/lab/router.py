"""The edge router: nginx, with a configuration made of the Services that are labelled as routable.

Every few seconds it reads those Services of all namespaces and the annotations of its own Deployment with its service account, and reloads nginx
when something changed. While it cannot read them it keeps what it has: at first only the health port and a 404 for every host, as the real one does.
"""

from __future__ import annotations

import os
import re

import edge

PREFIX = "router.deis.io/"

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
    return FRAME.format(folder=edge.FOLDER, servers=servers, streams=streams)


def wanted():
    """The configuration as the Services and the Deployment are now."""
    services = edge.ask(f"/api/v1/services?labelSelector={PREFIX}routable%3Dtrue")["items"]
    own = edge.ask(f"/apis/apps/v1/namespaces/{os.environ['POD_NAMESPACE']}/deployments/deis-router")
    return configuration(services, own["metadata"].get("annotations", {}))


if __name__ == "__main__":
    edge.own_certificate()
    edge.run(configuration([], {}), wanted)
