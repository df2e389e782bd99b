# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have a load balancer on a host, and a virtual address that outlives it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_load_balancer
short_description: Have a load balancer on a host, and a virtual address that outlives it
version_added: 0.1.0
description:
  - Makes the whole configuration of nginx from the options, and that of keepalived when there is a virtual address. Each is tried by the program itself, on a
    copy, before it replaces the old one; what the program does not take changes nothing, also in check mode, and is told with the option that it comes from.
  - nginx and keepalived read a new configuration while they run, so no connection and no address is lost. The running programs themselves say which
    configuration they have read; one that is in the file but not in force is seen.
  - The virtual address moves when the host, keepalived or nginx fails. It stays where it is when the failed host comes back.
  - The site that the distribution's package brings is not served.
extends_documentation_fragment:
  - paas.hardening.host_attributes
author:
  - the paas.hardening contributors (@paas-hardening)
requirements:
  - Debian or Ubuntu with systemd and iproute2
  - root
options:
  listeners:
    description: The ports, and what becomes of their connections.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: By what it is known in the configuration and in the report.
        type: str
        required: true
      port:
        description: The port, at every address of the host.
        type: int
        required: true
      mode:
        description:
          - V(tcp) passes connections on as they are, which suits the routers of a platform. V(http) reads requests, and ends TLS when it has a certificate.
        type: str
        choices: [tcp, http]
        default: tcp
      backends:
        description:
          - Where connections go, as address or address:port; without a port, that of the listener. Names are looked up when nginx reads its configuration.
          - Without any, O(backends).
        type: list
        elements: str
        default: []
      proxy_protocol:
        description:
          - Tell each backend the address of the client by the PROXY protocol. It has to be what the platform expects, on every port alike (its router's
            setting C(useProxyProtocol)), or nobody is served.
        type: bool
        default: false
      idle_timeout:
        description:
          - Seconds without a byte after which a connection is given up. The platforms recommend 1200, so that a long build is not cut off.
        type: int
        default: 1200
      connect_timeout:
        description: Seconds after which a backend that does not accept is passed over.
        type: int
        default: 3
      max_fails:
        description:
          - So many failures within O(listeners[].fail_timeout), and a backend gets nothing for as long. They are failures of clients' connections; checks
            without a client are not in the nginx of distributions. 0 switches it off.
        type: int
        default: 2
      fail_timeout:
        description: Seconds, as said there.
        type: int
        default: 10
      answers:
        description:
          - What its backends answer with, so that it can be seen from outside whether one does. V(banner) is what they say first, as SSH does, V(any) only
            that the connection stays. Without it, it is known from the port.
        type: str
        choices: [any, banner, http, tls]
      server_names:
        description:
          - The names of hosts that the listener is for; C(*.name) for all below one. Who asks for another gets no answer. Without any, it is for all.
        type: list
        elements: str
        default: []
      tls_certificate:
        description: Path on the host of the certificate, in PEM, its issuers behind it. Without it, the listener speaks HTTP in the clear.
        type: str
        default: ''
      tls_key:
        description: Path on the host of its private part. Only root will be able to read it.
        type: str
        default: ''
      hsts_max_age:
        description: Seconds for which browsers are told to come by TLS only. 0 tells them nothing.
        type: int
        default: 31536000
      body_limit:
        description: The largest body of a request, with k, m or g. nginx itself would stop at 1m. 0 is without limit.
        type: str
        default: 50m
      redirect:
        description: Send everybody to HTTPS instead of to a backend. It is for the listener at port 80.
        type: bool
        default: false
  backends:
    description: Where the connections of those listeners go that name no backends of their own.
    type: list
    elements: str
    default: []
  tls_minimum:
    description: The oldest version of TLS that is spoken.
    type: str
    choices: ['1.2', '1.3']
    default: '1.2'
  renew_before:
    description: Days before its end at which a certificate is reported.
    type: int
    default: 30
  status_port:
    description: The port of the loopback interface at which nginx tells keepalived that it is well.
    type: int
    default: 8099
  name:
    description: The name of this host.
    type: str
    required: true
  address:
    description: Its own address, of the network that the virtual address belongs to.
    type: str
    required: true
  virtual_addresses:
    description: Addresses that one of the hosts has at a time, with the length of their network, as C(192.0.2.10/24).
    type: list
    elements: str
    default: []
  peers:
    description: The own addresses of the other hosts that may have them. VRRP is spoken with those only.
    type: list
    elements: str
    default: []
  priority:
    description: Who has the highest gets the addresses when all start at once, 1 to 254. Each host needs another one.
    type: int
    default: 100
  router_id:
    description: The number of this group of hosts in VRRP, 1 to 255. Two groups in one network need two.
    type: int
    default: 51
  vrrp_password:
    description:
      - Eight letters and digits, the same on all hosts. With it VRRP 2 is spoken, which sends it in the clear and knows only whole seconds, so an address
        moves a second later. Without it VRRP 3 is spoken, which knows none; a firewall that lets in VRRP from the peers only protects better.
    type: str
    default: ''
  on_refusal:
    description: What to do when something must not be done. V(report) changes nothing and returns it as a finding, which is what an audit wants.
    type: str
    choices: [fail, report]
    default: fail
notes:
  - Backends are judged by the connections of clients (O(listeners[].max_fails)); nginx as the distributions have it makes no checks of its own.
  - A cloud often lets no host take an address by itself. There use its own load balancer, or this without a virtual address.
  - Of HTTP, connections that are kept open without a request are closed when nginx reads a new configuration, as clients have to expect at any time.
seealso:
  - module: paas.hardening.host_load_balancer_reach
"""

EXAMPLES = r"""
- name: Pass connections on to the routers of a platform
  paas.hardening.host_load_balancer:
    name: lb1
    address: 192.0.2.2
    virtual_addresses: [192.0.2.10/24]
    peers: [192.0.2.3]
    priority: 200
    backends: [198.51.100.51, 198.51.100.52, 198.51.100.53]
    listeners:
      - {name: web, port: 80, proxy_protocol: true}
      - {name: web-tls, port: 443, proxy_protocol: true}
      - {name: builder, port: 2222, proxy_protocol: true}

- name: End TLS here
  paas.hardening.host_load_balancer:
    name: lb1
    address: 192.0.2.2
    backends: ["198.51.100.51:30080"]
    listeners:
      - {name: plain, port: 80, mode: http, redirect: true}
      - name: portal
        port: 443
        mode: http
        server_names: ["*.example.org"]
        tls_certificate: /etc/ssl/example.org.crt
        tls_key: /etc/ssl/private/example.org.key
        body_limit: 100m
"""

RETURN = r"""
changed:
  description: Whether something was changed, or would be in check mode.
  returned: always
  type: bool
  sample: true
plan:
  description: Everything that was changed, or would be in check mode.
  returned: always, after a failure only what had been written
  type: list
  elements: dict
  contains:
    object:
      description: The object.
      type: str
      returned: always
      sample: File /etc/nginx/nginx.conf
    field:
      description: The part of it.
      type: str
      returned: always
      sample: listener web
    before:
      description: What was there, or null.
      type: raw
      returned: always
      sample: disabled
    after:
      description: What is wanted, or null when it goes.
      type: raw
      returned: always
      sample: started
    why:
      description: The reason.
      type: str
      returned: always
      sample: the inventory says so
waited:
  description: Seconds spent waiting.
  returned: success
  type: float
  sample: 0.0
balancer:
  description: What others need to look at it from outside, in the form that M(paas.hardening.host_load_balancer_reach) takes.
  returned: success
  type: dict
  contains:
    name:
      description: As the option.
      type: str
      returned: success
      sample: lb1
    address:
      description: As the option.
      type: str
      returned: success
      sample: 192.0.2.2
    virtual_addresses:
      description: The virtual addresses.
      type: list
      elements: str
      returned: success
      sample: [192.0.2.10]
    holds:
      description: Those of them that this host has now.
      type: list
      elements: str
      returned: success
      sample: [192.0.2.10]
    peers:
      description: As the option.
      type: list
      elements: str
      returned: success
      sample: [192.0.2.3]
    listeners:
      description: The listeners, as they are seen from outside.
      type: list
      elements: dict
      returned: success
      sample: []
findings:
  description: What was found, in the same form as that of the modules that look at a cluster.
  returned: success
  type: list
  elements: dict
  contains:
    control:
      description: Identifier of the recommendation.
      type: str
      returned: success
      sample: host-balancer-traffic
    title:
      description: What it says.
      type: str
      returned: success
      sample: Connections are distributed as the inventory says, and the running nginx has read that
    severity:
      description: One of critical, high, medium, low, info.
      type: str
      returned: success
      sample: high
    source:
      description: Document, section and sentence that it comes from.
      type: dict
      returned: success
      sample: {"document": "Deis Workflow, Configuring Load Balancers", "section": "Idle connection timeouts", "sentence": "..."}
    subject:
      description: What it is about.
      type: str
      returned: success
      sample: load balancer lb1
    status:
      description: One of pass, fail, fixed, would-fix, unknown, not-applicable. Unknown never counts as passed.
      type: str
      returned: success
      sample: pass
    expected:
      description: What is wanted.
      type: str
      returned: success
      sample: as it should be
    observed:
      description: What was there at the first look.
      type: str
      returned: success
      sample: as it should be
    after:
      description: What was there at the end.
      type: str
      returned: success
      sample: as it should be
    reasons:
      description: Why it has that status, where that is not plain.
      type: list
      elements: str
      returned: success
      sample: []
    hint:
      description: What to do.
      type: str
      returned: success
      sample: ""
    proof:
      description: What was seen from outside, with a verdict and its checks.
      type: dict
      returned: success
      sample: {"verdict": "pass", "checks": []}
    durability:
      description: Always empty; a host has no Helm release.
      type: list
      elements: dict
      returned: success
      sample: []
failure:
  description: What went wrong, in a form for programs.
  returned: failure
  type: dict
  contains:
    reason:
      description: The class of the failure.
      type: str
      returned: failure
      sample: NotProven
    code:
      description: Always null.
      type: int
      returned: failure
      sample: null
    object:
      description: The option or object that it is about.
      type: str
      returned: failure
      sample: db2
    hint:
      description: What to do.
      type: str
      returned: failure
      sample: Does a firewall stand between?
"""

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_load_balancer import VERB
from ansible_collections.paas.hardening.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(VERB)


if __name__ == "__main__":
    main()
