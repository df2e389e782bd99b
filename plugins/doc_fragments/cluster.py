# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the modules reach a cluster. Names and environment variables are those of kubernetes.core, so that nothing has to be learnt twice."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  kubeconfig:
    description:
      - Path of a kubeconfig file, or its content as a dictionary.
      - Without it, and without O(host), E(KUBECONFIG) and the default kubeconfig are tried, then the service account of the pod.
      - Can be given by the environment variable E(K8S_AUTH_KUBECONFIG). One that logs in with a command (C(exec)) is quicker given by a variable, since
        the client library is then imported once a playbook.
    type: raw
  context:
    description:
      - The context of the kubeconfig to use; its current one by default.
      - Can be given by the environment variable E(K8S_AUTH_CONTEXT).
    type: str
  host:
    description:
      - URL of the API server.
      - Can be given by the environment variable E(K8S_AUTH_HOST).
    type: str
  api_key:
    description:
      - Token to authenticate with.
      - Can be given by the environment variable E(K8S_AUTH_API_KEY).
    type: str
  username:
    description:
      - User name for the OpenShift log-in.
      - Can be given by the environment variable E(K8S_AUTH_USERNAME).
    type: str
  password:
    description:
      - Password for the OpenShift log-in.
      - Can be given by the environment variable E(K8S_AUTH_PASSWORD).
    type: str
  client_cert:
    description:
      - Path of a client certificate in PEM form.
      - Can be given by the environment variable E(K8S_AUTH_CERT_FILE).
    type: path
    aliases: [cert_file]
  client_key:
    description:
      - Path of the key of the client certificate in PEM form.
      - Can be given by the environment variable E(K8S_AUTH_KEY_FILE).
    type: path
    aliases: [key_file]
  ca_cert:
    description:
      - Path of the certificate of the authority that signed the API server's certificate.
      - Can be given by the environment variable E(K8S_AUTH_SSL_CA_CERT).
    type: path
    aliases: [ssl_ca_cert]
  validate_certs:
    description:
      - Whether the API server's certificate must be valid.
      - Can be given by the environment variable E(K8S_AUTH_VERIFY_SSL).
    type: bool
    aliases: [verify_ssl]
  proxy:
    description:
      - URL of an HTTP proxy to reach the API server through.
      - Can be given by the environment variable E(K8S_AUTH_PROXY).
    type: str
  no_proxy:
    description:
      - Comma-separated names that are reached without the proxy.
      - Can be given by the environment variable E(K8S_AUTH_NO_PROXY).
    type: str
  proxy_headers:
    description: Headers for the proxy.
    type: dict
    suboptions:
      proxy_basic_auth:
        description:
          - User name and password for the proxy, joined by a colon.
          - Can be given by the environment variable E(K8S_AUTH_PROXY_HEADERS_PROXY_BASIC_AUTH).
        type: str
      basic_auth:
        description:
          - User name and password for the server behind the proxy, joined by a colon.
          - Can be given by the environment variable E(K8S_AUTH_PROXY_HEADERS_BASIC_AUTH).
        type: str
      user_agent:
        description:
          - User agent to present.
          - Can be given by the environment variable E(K8S_AUTH_PROXY_HEADERS_USER_AGENT).
        type: str
  impersonate_user:
    description:
      - User to act as.
      - Can be given by the environment variable E(K8S_AUTH_IMPERSONATE_USER).
    type: str
  impersonate_groups:
    description:
      - Groups to act as.
      - Can be given by the environment variable E(K8S_AUTH_IMPERSONATE_GROUPS), separated by commas.
    type: list
    elements: str
  retry_timeout:
    description:
      - Seconds during which a request is repeated while the API server is away or busy. Only what is safe to repeat is repeated.
      - A pod that gives no clear answer, for example because its database is away for a moment, is asked again for as long.
    type: int
    default: 20
  platform:
    description:
      - The platform, in its shape. Found out, with evidence, when it is not given.
      - With O(namespace) given too, nothing has to be found out.
    type: str
    choices: [deis, drycc-1.8, drycc-head, hephy]
  namespace:
    description: Namespace of the platform. Found out when it is not given.
    type: str
requirements:
  - kubernetes >= 31.0.0
attributes:
  action_group:
    description: Use C(group/paas.hardening.workflow) in C(module_defaults) to set the options that the modules share.
    membership:
      - paas.hardening.workflow
    support: full
"""
