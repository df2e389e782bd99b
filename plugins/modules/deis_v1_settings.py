# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Audit a Deis v1 platform, and set what its keys in etcd can still mend."""

from __future__ import annotations

DOCUMENTATION = r"""
module: deis_v1_settings
short_description: Audit a Deis v1 platform, and set what its keys in etcd can still mend
version_added: 0.1.0
description:
  - Works on the first generation of Deis (CoreOS, fleet, etcd 2), whose components read their settings from keys of etcd. Those keys are read and written by
    etcd's second API, from any host with Python that reaches etcd; CoreOS itself has none.
  - Options that are not given leave their keys alone, and so does everything that has no option. Each write is one compare-and-swap on the index that was
    observed; when somebody else wrote meanwhile, it looks and plans again.
  - Whatever the options, it judges the platform by its document for production, and tells what is not as advised.
  - Nobody corrects Deis v1, CoreOS or fleet any more, so leave it. What the document advises beyond these keys (isolating planes and etcd on a live platform,
    running without Ceph, preseeding, upgrades) is not done by this module, and told.
  - A firewall of its hosts is not made by this collection, either, since they have iptables and no Python. O(closed_hosts) sees whether there is one.
extends_documentation_fragment:
  - paas.hardening.attributes
author:
  - the paas.hardening contributors (@paas-hardening)
options:
  endpoints:
    description: URLs of members of etcd with their port for clients. The first one that answers is asked.
    type: list
    elements: str
    required: true
  ca_file:
    description: Certificates by which the members are verified.
    type: path
  client_certificate_file:
    description: Certificate to come with, where etcd wants one.
    type: path
  client_key_file:
    description: Private part of that certificate.
    type: path
  etcd_user:
    description: Account to come with, where etcd wants one.
    type: str
  etcd_password_file:
    description: File that holds the password of that account and nothing else.
    type: path
  timeout:
    description: Seconds that a member may take for an answer.
    type: int
    default: 10
  registration_mode:
    description:
      - Who may register an account.
      - Unlike later generations this one has no exception for the first account, so an administrator has to be there before it is closed;
        see O(administrator_exists).
      - Read since release 1.6; V(enabled) holds without the key.
    type: str
    choices: [enabled, disabled, admin_only]
  administrator_exists:
    description: Your word that an administrator is registered and can log in. Without it, or the answer of O(administrator_token_file), closing is refused.
    type: bool
    default: false
  administrator_token_file:
    description: File with the token of an administrator, by which the controller at O(controller_url) is asked whether there is one.
    type: path
  web_enabled:
    description: Whether the controller has a web interface. It has none without the key.
    type: bool
  controller_workers:
    description: Number of the controller's processes. Twice the number of cores and one more without the key.
    type: int
  unit_hostname:
    description: What containers are called inside.
    type: str
    choices: [default, application, server]
  tls_certificate:
    description: Certificate of the routers in PEM, those between it and its authority behind it. One for all names of the platform's domain.
    type: str
  tls_certificate_file:
    description: File that holds the certificate.
    type: path
  tls_key:
    description: Private part of the certificate, without a passphrase. It lies in etcd in clear text, for everybody who reaches that.
    type: str
  tls_key_file:
    description: File that holds the private part.
    type: path
  tls_dhparam:
    description: Group for Diffie-Hellman in PEM, of 2048 bits or more. Read since 1.8; without it nginx takes one of 1024 bits.
    type: str
  tls_dhparam_file:
    description: File that holds the group.
    type: path
  tls_protocols:
    description:
      - Releases of TLS that the routers accept. V(TLSv1.2) alone is advised; the nginx of the routers knows no newer one.
      - Read since 1.10; all three hold without the key.
    type: list
    elements: str
    choices: [TLSv1, TLSv1.1, TLSv1.2]
  tls_ciphers:
    description: Ciphers in OpenSSL's notation. Weak ones (RC4, DES, NULL, export, MD5, anonymous) are refused. Read since 1.8.
    type: str
  tls_session_cache:
    description: Where sessions are kept, in nginx's notation, like V(shared:SSL:10m). Read since 1.10; they are not kept without the key.
    type: str
  tls_session_timeout:
    description: How long they are kept, like V(10m). Has an effect only with O(tls_session_cache). Read since 1.10.
    type: str
  tls_session_tickets:
    description: Whether sessions are given to clients as tickets. Read since 1.10; they are without the key.
    type: bool
  tls_buffer_size:
    description: Size of nginx's buffer for TLS, like V(4k). Read since 1.10.
    type: str
  enforce_https:
    description:
      - Whether requests without TLS are sent to HTTPS. Without the key it is as O(hsts_enabled) says. Read since 1.4.
      - Refused while the routers have no certificate, unless O(tls_ended_before) is set.
      - Nobody who asks the object store (C(deis-store)) is sent anywhere.
    type: bool
  tls_ended_before:
    description: Your word that a load balancer ends TLS before the routers, and sends C(X-Forwarded-Proto). Without that header the redirect never ends.
    type: bool
    default: false
  hsts_enabled:
    description: Whether browsers are told to come by HTTPS only. Read since 1.8, by these names of keys; older, flat names have no effect.
    type: bool
  hsts_max_age:
    description: For how many seconds they are told so.
    type: int
  hsts_include_subdomains:
    description: Whether that goes for names below, too.
    type: bool
  hsts_preload:
    description: Whether the domain may be put into the lists that browsers come with. There is hardly a way out of these.
    type: bool
  firewall_enabled:
    description: Whether the routers refuse requests that look like attacks (naxsi). Try it with your applications first.
    type: bool
  firewall_error_code:
    description: The status that such a request gets.
    type: int
  controller_whitelist:
    description: Networks that may reach the controller, IPv4 only, each with a label behind a colon if you like. Read since 1.11; all may without the key.
    type: list
    elements: str
  enforce_whitelist:
    description:
      - Whether nobody reaches anything whose whitelist does not name him. Read since 1.11.
      - Refused while the controller or an application has no whitelist, unless O(allow_lockout) is set.
    type: bool
  allow_lockout:
    description: Your word that nobody has to reach what has no whitelist.
    type: bool
    default: false
  body_size:
    description: Largest body of a request, like V(100m). V(1m) holds without the key.
    type: str
  default_timeout:
    description: Seconds that an application may take for an answer. Has to be longer than that of the load balancer. Read since 1.6.
    type: int
  proxy_protocol:
    description: Whether the routers are spoken to by the PROXY protocol. Has to be what the load balancer does, or nobody gets in.
    type: bool
  proxy_real_ip_cidr:
    description: Network of the load balancer, whose word about the client's address is believed.
    type: str
  server_tokens:
    description: Whether answers tell the release of nginx. Read since 1.13.1; they do without the key.
    type: bool
  nginx_status:
    description: Whether everybody may read the routers' figures. Read since 1.10; nobody may without the key.
    type: bool
  error_log_level:
    description: How much the routers log. Read since 1.6.
    type: str
    choices: [debug, info, notice, warn, error, crit, alert, emerg]
  worker_processes:
    description: Number of nginx's processes, or V(auto). Read since 1.5.
    type: str
  max_worker_connections:
    description: Connections of each process. Read since 1.5.
    type: int
  logs_drain:
    description:
      - Where the logs of all applications go, like V(tcp://logs.example.com:514). V(udp://), V(syslog://) (the same) and, since 1.11, V(tcp://).
      - They go in clear text, since it knows no TLS.
    type: str
  logs_storage:
    description: Where the logger keeps logs, V(file), V(memory) or V(memory:LINES). Read since 1.11.
    type: str
  placement_options:
    description:
      - Whether units are made for machines of their plane. Read since 1.10, by C(deisctl) when it makes units, so nothing changes before they are made anew.
      - Refused while fleet knows no machine of each plane.
    type: bool
  keys:
    description:
      - Other keys by their path below C(/deis), like V(registry/s3bucket), with their values; null takes a key away.
      - Their values are shown nowhere. Those whose names sound like a secret are hidden from Ansible's own output, too; give others by files and vaults.
    type: dict
  absent:
    description: Options whose keys are taken away, so that the default of the code holds.
    type: list
    elements: str
    choices:
      - registration_mode
      - web_enabled
      - controller_workers
      - unit_hostname
      - tls_key
      - tls_certificate
      - tls_dhparam
      - tls_protocols
      - tls_ciphers
      - tls_session_cache
      - tls_session_timeout
      - tls_session_tickets
      - tls_buffer_size
      - enforce_https
      - hsts_max_age
      - hsts_include_subdomains
      - hsts_preload
      - hsts_enabled
      - firewall_error_code
      - firewall_enabled
      - controller_whitelist
      - enforce_whitelist
      - body_size
      - default_timeout
      - proxy_protocol
      - proxy_real_ip_cidr
      - server_tokens
      - nginx_status
      - error_log_level
      - worker_processes
      - max_worker_connections
      - logs_drain
      - logs_storage
      - placement_options
    default: []
  backup_folder:
    description:
      - Folder, where the module runs, for files with all keys of etcd, before and after what this run changes. It has to be there.
      - A file is named after its content, so that the same keys make no second one. It has the mode 0600, and all secrets of the platform in it.
      - Left out are keys that go by themselves (components announce them anew), and hidden ones (fleet's own).
      - The database and the registry are not in etcd. Have them backed up, too.
    type: path
  controller_url:
    description: Where clients reach the controller. Then the door for new accounts is knocked at, without a name, so that no account is made.
    type: str
  controller_ca_file:
    description: Certificates by which the controller is verified.
    type: path
  router_address:
    description: Address of a router, or of what stands before them. Then it is seen which releases of TLS it takes, and whether it sends clients to HTTPS.
    type: str
  router_http_port:
    description: Its port for HTTP.
    type: int
    default: 80
  router_https_port:
    description: Its port for HTTPS.
    type: int
    default: 443
  closed_hosts:
    description: Hosts of the platform whose O(closed_ports) must not be reached from where the module runs. It is only told.
    type: list
    elements: str
    default: []
  closed_ports:
    description: Ports that only members may reach. Those of Docker and etcd without TLS by default.
    type: list
    elements: int
    default: [2375, 2379, 4001, 7001]
  wait_timeout:
    description: Seconds to wait until the effect is seen from outside. Components look at their keys each five seconds.
    type: int
    default: 60
  on_refusal:
    description:
      - What to do when something asked for would be dangerous, or when etcd cannot be read.
      - V(fail) stops with the reason, V(report) leaves that part alone, and returns it as a finding, which is what an audit wants.
    type: str
    choices: [fail, report]
    default: fail
seealso:
  - module: paas.hardening.workflow_registration
"""

EXAMPLES = r"""
- name: See how the platform stands
  paas.hardening.deis_v1_settings:
    endpoints: [http://10.21.1.10:2379, http://10.21.1.11:2379]
    closed_hosts: [10.21.1.10, 10.21.1.11, 10.21.1.12]
    controller_url: https://deis.example.com
    on_refusal: report
  check_mode: true

- name: Close it, with a backup of all keys
  paas.hardening.deis_v1_settings:
    endpoints: [http://10.21.1.10:2379, http://10.21.1.11:2379]
    backup_folder: /var/backups/deis
    registration_mode: admin_only
    administrator_exists: true
    tls_certificate_file: /etc/paas/deis.crt
    tls_key_file: /etc/paas/deis.key
    tls_protocols: [TLSv1.2]
    enforce_https: true
    hsts_enabled: true
    server_tokens: false
    logs_drain: tcp://logs.example.com:514
    controller_url: https://deis.example.com
    router_address: deis.example.com

- name: Give the database a password of one's own
  paas.hardening.deis_v1_settings:
    endpoints: [http://10.21.1.10:2379]
    keys:
      database/password: "{{ deis_database_password }}"
      database/adminPass: "{{ deis_database_admin_password }}"

- name: Roll back
  paas.hardening.deis_v1_settings:
    endpoints: [http://10.21.1.10:2379]
    absent: [registration_mode, tls_protocols, hsts_enabled, enforce_https]
"""

RETURN = r"""
changed:
  description: Whether something was changed, or would be in check mode.
  returned: always
  type: bool
  sample: true
waited:
  description: Always 0. What is waited for is seen from outside.
  returned: success
  type: float
  sample: 0.0
plan:
  description: Every key that was changed, or would be in check mode. Secrets are hidden; certificates are shown by a digest.
  returned: always, after a failure only what had been written
  type: list
  elements: dict
  contains:
    object:
      description: The key, or the file of a backup.
      type: str
      returned: always
      sample: Key /deis/controller/registrationMode
    field:
      description: V(value), V(data) of a secret, or V(content) of a file.
      type: str
      returned: always
      sample: value
    before:
      description: The value that was there, or null.
      type: raw
      returned: always
      sample: null
    after:
      description: The value that is wanted, or null when the key goes.
      type: raw
      returned: always
      sample: admin_only
    why:
      description: The option that asks for it.
      type: str
      returned: always
      sample: asked for by registration_mode
findings:
  description: What was found, for each recommendation.
  returned: success
  type: list
  elements: dict
  contains:
    control:
      description: Identifier of the recommendation.
      type: str
      returned: success
      sample: v1-registration
    title:
      description: What it says.
      type: str
      returned: success
      sample: Registration is closed to passers-by
    severity:
      description: One of critical, high, medium, low, info.
      type: str
      returned: success
      sample: high
    source:
      description: Document, section and sentence that it comes from.
      type: dict
      returned: success
      sample: {"document": "Deis v1, Production deployments", "section": "Change Registration Mode", "sentence": "..."}
    subject:
      description: What it is about.
      type: str
      returned: success
      sample: etcd at http://10.21.1.10:2379
    status:
      description: One of pass, fail, fixed, would-fix, unknown, not-applicable. Unknown never counts as passed.
      type: str
      returned: success
      sample: fixed
    expected:
      description: What is wanted.
      type: str
      returned: success
      sample: as the inventory says
    observed:
      description: What was there at the first look.
      type: str
      returned: success
      sample: "not as it should be: Key /deis/controller/registrationMode (value)"
    after:
      description: What was there at the end.
      type: str
      returned: success
      sample: as it should be
    reasons:
      description: What is not as advised, or was refused, and is left to you.
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
      description: Always empty. There is no Helm release.
      type: list
      elements: dict
      returned: success
      sample: []
proof:
  description: Everything that was seen from outside, in the form of the findings' proofs.
  returned: success
  type: dict
  sample: {"verdict": "pass", "checks": []}
platform_release:
  description: The release as the platform's own key tells it, or nothing.
  returned: success
  type: str
  sample: v1.13.4
machines:
  description: How many machines fleet knows.
  returned: success
  type: int
  sample: 5
settings:
  description: The values by which the code goes, by option, whether there is a key or not. Certificates and keys are not among them.
  returned: success
  type: dict
  sample: {"registration_mode": "admin_only", "tls_protocols": "TLSv1.2"}
failure:
  description: What went wrong, in a form for programs.
  returned: failure
  type: dict
  contains:
    reason:
      description: The class of the failure.
      type: str
      returned: failure
      sample: Refused
    code:
      description: The HTTP status, where there was one.
      type: int
      returned: failure
      sample: null
    object:
      description: The option, key or member that it is about.
      type: str
      returned: failure
      sample: administrator_exists
    hint:
      description: What to do.
      type: str
      returned: failure
      sample: Register the administrator first.
"""

from ansible_collections.paas.hardening.plugins.module_utils._controls.v1_settings import VERB
from ansible_collections.paas.hardening.plugins.module_utils._core.module import run_module


def main() -> None:
    run_module(VERB)


if __name__ == "__main__":
    main()
