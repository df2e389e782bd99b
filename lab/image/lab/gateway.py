"""The proxy of Drycc's Gateway: nginx, with a configuration made of the HTTPRoutes and TCPRoutes of its namespace, and Istio's readiness port."""

from __future__ import annotations

import os

import edge

FRAME = """
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
load_module modules/ngx_stream_module.so;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_max_body_size 0;
  server_names_hash_bucket_size 128;
  resolver {resolver} valid=5s ipv6=off;
  resolver_timeout 5s;
  map $http_x_forwarded_proto $told_proto {{ default $http_x_forwarded_proto; '' $scheme; }}
  proxy_http_version 1.1;
  proxy_set_header Host $host;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  proxy_set_header X-Forwarded-Proto $told_proto;
  server {{
    listen 15021;
    location = /healthz/ready {{ return 200; }}
    location / {{ return 404; }}
  }}
  server {{
    listen 80 default_server;
    server_name _;
    location / {{ return 404; }}
  }}
{servers}}}
stream {{
  resolver {resolver} valid=5s ipv6=off;
  resolver_timeout 5s;
{streams}}}
"""

# the name in a variable is looked up again when it is too old: ends may come and go
SERVER = """  server {{
    listen 80;
    server_name {names};
    location / {{
      set $end {host};
      proxy_pass http://$end:{port};
    }}
  }}
"""

STREAM = """  map $remote_addr $end_{listen} {{ default {host}:{port}; }}
  server {{
    listen {listen};
    proxy_pass $end_{listen};
  }}
"""


def configuration(http_routes, tcp_routes, namespace, domain, resolver):
    """The text of nginx.conf. Pure; of every route the first backend of the first rule."""
    servers = streams = ""
    for route in sorted(http_routes, key=lambda r: r["metadata"]["name"]):
        backend = route["spec"]["rules"][0]["backendRefs"][0]
        names = " ".join(route["spec"]["hostnames"])
        servers += SERVER.format(names=names, host=f"{backend['name']}.{namespace}.svc.{domain}", port=backend["port"])
    for route in sorted(tcp_routes, key=lambda r: r["metadata"]["name"]):
        backend = route["spec"]["rules"][0]["backendRefs"][0]
        # the listener's name ends with its port, in both shapes: tcp-2222 and tcp-2222-0
        listen = route["spec"]["parentRefs"][0]["sectionName"].split("-")[1]
        streams += STREAM.format(listen=listen, host=f"{backend['name']}.{namespace}.svc.{domain}", port=backend["port"])
    return FRAME.format(folder=edge.FOLDER, resolver=resolver, servers=servers, streams=streams)


def resolv_conf():
    """(name server, domain of the cluster) as the kubelet wrote them for this pod."""
    with open("/etc/resolv.conf", encoding="utf-8") as file:
        lines = {words[0]: words[1:] for words in map(str.split, file) if words}
    service = next(suffix for suffix in lines["search"] if suffix.startswith("svc."))
    return lines["nameserver"][0], service.partition(".")[2]


def wanted():
    """The configuration as the routes are now."""
    namespace = os.environ["POD_NAMESPACE"]
    http = edge.ask(f"/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/httproutes")["items"]
    tcp = edge.ask(f"/apis/gateway.networking.k8s.io/v1alpha2/namespaces/{namespace}/tcproutes")["items"]
    resolver, domain = resolv_conf()
    return configuration(http, tcp, namespace, domain, resolver)


if __name__ == "__main__":
    edge.run(configuration([], [], "", "", resolv_conf()[0]), wanted)
