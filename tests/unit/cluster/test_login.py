"""Which log-ins need the client library, that these say so when it is not there, and that all others do without it.

Every case is a process of its own, since what a process has imported it keeps.
"""

from __future__ import annotations

import base64
import json
import pathlib
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import yaml

from ansible_collections.paas.hardening.plugins.module_utils._cluster.login import Settings
from tests.unit.cluster.conftest import Certificates

Kubeconfig = Callable[..., dict[str, Any]]
MISSING = "The Python package kubernetes is not installed. Install what is needed: pip install kubernetes openshift pyyaml"
WITHOUT_LIBRARY = """
import json, sys
sys.modules["kubernetes"] = None
from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import connect
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure
try:
    made = connect(json.loads(sys.argv[1]))
    print(json.dumps([made.host, made.authorization(), made.context.verify_mode.name, made.server_name, made.proxy.url, made.credential]))
except Failure as error:
    print(error)
"""
FORESEE = """
import sys, threading
from ansible_collections.paas.hardening.plugins.module_utils._cluster.login import foresee
foresee()
assert threading.active_count() == 1
print("kubernetes" in sys.modules)
"""


def run(code: str, *arguments: str, **environment: str) -> str:
    path = ":".join(entry for entry in sys.path if entry)
    env = {"PYTHONPATH": path, "LC_ALL": "C.UTF-8", "HOME": "/nowhere", **environment}
    done = subprocess.run([sys.executable, "-c", code, *arguments], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def seen(params: Mapping[str, Any], **environment: str) -> Any:
    return json.loads(run(WITHOUT_LIBRARY, json.dumps(params), **environment))


def test_plain_users_need_no_library(certificates: Certificates, kubeconfig: Kubeconfig, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-file\n")
    pair = {"client-certificate": certificates.crt("client"), "client-key": certificates.key("client")}
    for user, authorization, credential in (
        ({"token": "t"}, "Bearer t", "token"),
        ({"token": "t", "tokenFile": str(file), "username": "u", "password": "p"}, "Bearer t", "token"),
        ({"tokenFile": str(file)}, "Bearer from-file", "token"),
        ({"username": "u", "password": "pä"}, "Basic " + base64.b64encode("u:pä".encode()).decode(), "user name and password"),
        (pair, "", "client certificate"),
        ({}, "", "no credentials"),
    ):
        assert seen({"kubeconfig": kubeconfig("https://x:6443/", user)}) == ["https://x:6443", authorization, "CERT_REQUIRED", None, "", credential]


def test_what_the_kubeconfig_says_of_the_cluster(kubeconfig: Kubeconfig) -> None:
    said = {"insecure-skip-tls-verify": True, "tls-server-name": "api.example"}
    assert seen({"kubeconfig": kubeconfig("https://x", {"token": "t"}, **said)}) == ["https://x", "Bearer t", "CERT_NONE", "api.example", "", "token"]
    # Only a real "true" turns the verification off.
    assert seen({"kubeconfig": kubeconfig("https://x", {}, **{"insecure-skip-tls-verify": "false"})})[2] == "CERT_REQUIRED"


def test_a_token_file_that_is_not_there(kubeconfig: Kubeconfig, tmp_path: pathlib.Path) -> None:
    params = {"kubeconfig": kubeconfig("https://x", {"tokenFile": str(tmp_path / "none")})}
    assert run(WITHOUT_LIBRARY, json.dumps(params)).startswith("The token file of the kubeconfig cannot be read: No such file or directory.")


@pytest.mark.parametrize(
    "user",
    [
        pytest.param({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "true"}}, id="exec"),
        pytest.param({"auth-provider": {"name": "oidc", "config": {"id-token": "a.b.c"}}}, id="auth-provider"),
    ],
)
def test_log_ins_of_the_library_say_that_it_is_missing(user: dict[str, Any], kubeconfig: Kubeconfig) -> None:
    assert run(WITHOUT_LIBRARY, json.dumps({"kubeconfig": kubeconfig("https://x", user)})) == MISSING


def test_so_do_a_pod_and_a_proxy() -> None:
    assert run(WITHOUT_LIBRARY, "{}", KUBERNETES_SERVICE_HOST="10.0.0.1", KUBERNETES_SERVICE_PORT="443") == MISSING
    explicit = {"host": "https://x", "api_key": "k"}
    assert run(WITHOUT_LIBRARY, json.dumps({**explicit, "proxy": "http://p:3128"})) == MISSING
    assert run(WITHOUT_LIBRARY, json.dumps(explicit), HTTPS_PROXY="http://p:3128") == MISSING


@pytest.mark.parametrize(
    ("settings", "variables", "proxy"),
    [
        (Settings("https://x"), {}, ("", "")),
        (Settings("https://x"), {"HTTPS_PROXY": "http://p", "HTTP_PROXY": "http://q", "NO_PROXY": "a,b"}, ("http://p", "a,b")),
        (Settings("http://x"), {"HTTPS_PROXY": "http://p", "HTTP_PROXY": "http://q"}, ("http://q", "")),
        (Settings("https://x"), {"https_proxy": "", "HTTPS_PROXY": "http://p"}, ("", "")),
        (Settings("https://x"), {"ALL_PROXY": "socks5://s"}, ("socks5://s", "")),
        (Settings("https://x", proxy="http://own", no_proxy="own"), {"HTTPS_PROXY": "http://p", "NO_PROXY": "a"}, ("http://own", "own")),
        (Settings("https://x", proxy=""), {"HTTPS_PROXY": "http://p"}, ("", "")),
    ],
)
def test_the_environment_names_a_proxy_where_nothing_else_does(settings: Settings, variables: dict[str, str], proxy: tuple[str, str]) -> None:
    code = f"""
import sys
from ansible_collections.paas.hardening.plugins.module_utils._cluster.login import Settings
print(Settings({settings.host!r}, proxy={settings.proxy!r}, no_proxy={settings.no_proxy!r}).resolve_proxy())
"""
    assert run(code, **variables) == str(proxy)


@pytest.mark.parametrize("flow", [False, True], ids=["block", "flow"])
@pytest.mark.parametrize(("user", "expected"), [({"token": "t"}, "False"), ({"exec": {"command": "x"}}, "True"), ({"auth-provider": {"name": "oidc"}}, "True")])
def test_the_parent_of_workers_imports_what_they_will_need(
    user: dict[str, Any], expected: str, flow: bool, kubeconfig: Kubeconfig, tmp_path: pathlib.Path
) -> None:
    file = tmp_path / "config"
    document = kubeconfig("https://x", user)
    file.write_text(json.dumps(document) if flow else yaml.safe_dump(document))
    assert run(FORESEE, KUBECONFIG=str(file)) == expected
    assert run(FORESEE, K8S_AUTH_KUBECONFIG=str(file), KUBECONFIG="/none") == expected


def test_and_nothing_else() -> None:
    assert run(FORESEE) == "False"
    assert run(FORESEE, KUBECONFIG="/none") == "False"
    assert run(FORESEE, HTTPS_PROXY="http://p") == "True"
    assert run(FORESEE, KUBERNETES_SERVICE_HOST="10.0.0.1") == "True"
    assert run("import sys; sys.modules['kubernetes'] = None\n" + FORESEE, HTTPS_PROXY="http://p") == "True"
