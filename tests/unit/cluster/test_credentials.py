"""How a connection is found: options, environment variables, kubeconfigs. Nothing is sent here but to a scripted server."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import AUTH_ARGUMENTS, RETRY_ARGUMENTS, connect, secret_values
from ansible_collections.paas.hardening.plugins.module_utils._cluster.credentials import selected
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, Unauthorized
from tests.unit.cluster.conftest import Certificates
from tests.unit.cluster.scripted_server import Reply, ScriptedServer

Kubeconfig = Callable[..., dict[str, Any]]
CANARY = "c4n4ry-hunter2"
# Runs code in a process of its own, whose environment is the test's.
FRESH = [sys.executable, "-c"]


def run(code: str, environment: dict[str, str], *arguments: str) -> str:
    path = ":".join(entry for entry in sys.path if entry)
    done = subprocess.run([*FRESH, code, *arguments], env={"PYTHONPATH": path, "LC_ALL": "C.UTF-8", **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_secret_option_is_hidden_and_every_option_decided() -> None:
    hidden = {name for name, spec in AUTH_ARGUMENTS.items() if spec["no_log"]}
    inner = {name for name, spec in AUTH_ARGUMENTS["proxy_headers"]["options"].items() if spec["no_log"]}
    assert hidden == {"api_key", "password"}
    assert inner == {"proxy_basic_auth", "basic_auth"}
    assert all("no_log" in spec for spec in {**AUTH_ARGUMENTS, **RETRY_ARGUMENTS}.values())


def test_environment_variables_are_those_of_the_field() -> None:
    code = """
import json
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.paas.hardening.plugins.module_utils._cluster.credentials import AUTH_ARGUMENTS
result = ArgumentSpecValidator(AUTH_ARGUMENTS).validate({})
assert not result.error_messages, result.error_messages
print(json.dumps(result.validated_parameters))
"""
    variables = {
        "KUBECONFIG": "/k",
        "CONTEXT": "c",
        "HOST": "https://h",
        "API_KEY": "t",
        "USERNAME": "u",
        "PASSWORD": "p",
        "CERT_FILE": "/cert",
        "KEY_FILE": "/key",
        "SSL_CA_CERT": "/ca",
        "VERIFY_SSL": "no",
        "PROXY": "http://p",
        "NO_PROXY": "n",
        "PROXY_HEADERS_PROXY_BASIC_AUTH": "a:b",
        "IMPERSONATE_USER": "i",
        "IMPERSONATE_GROUPS": "g1,g2",
    }
    params = json.loads(run(code, {f"K8S_AUTH_{name}": value for name, value in variables.items()}))
    assert {name: params[name] for name in ("kubeconfig", "context", "host", "api_key", "username", "password")} == {
        "kubeconfig": "/k",
        "context": "c",
        "host": "https://h",
        "api_key": "t",
        "username": "u",
        "password": "p",
    }
    assert (params["client_cert"], params["client_key"], params["ca_cert"], params["validate_certs"]) == ("/cert", "/key", "/ca", False)
    assert (params["proxy"], params["no_proxy"], params["proxy_headers"]["proxy_basic_auth"]) == ("http://p", "n", "a:b")
    assert (params["impersonate_user"], params["impersonate_groups"]) == ("i", ["g1", "g2"])


def test_aliases_are_those_of_the_field() -> None:
    result = ArgumentSpecValidator(AUTH_ARGUMENTS).validate({"cert_file": "/c", "key_file": "/k", "ssl_ca_cert": "/a", "verify_ssl": False})
    assert not result.error_messages
    params = result.validated_parameters
    assert (params["client_cert"], params["client_key"], params["ca_cert"], params["validate_certs"]) == ("/c", "/k", "/a", False)


def write(folder: pathlib.Path, name: str, document: Any) -> str:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return str(folder / name)


def test_files_of_a_kubeconfig_are_relative_to_it(certificates: Certificates, kubeconfig: Kubeconfig, tmp_path: pathlib.Path) -> None:
    (tmp_path / "ca.crt").write_bytes(pathlib.Path(certificates.crt("ca")).read_bytes())
    (tmp_path / "tok").write_text("from-a-file\n")
    document = kubeconfig("https://x", {"tokenFile": "tok", "client-certificate": certificates.crt("client"), "client-key": certificates.key("client")})
    del document["clusters"][0]["cluster"]["certificate-authority-data"]
    document["clusters"][0]["cluster"]["certificate-authority"] = "ca.crt"
    path = write(tmp_path, "config", document)
    chosen = selected(path, None)
    assert chosen is not None
    assert chosen.identity.ca == pathlib.Path(certificates.crt("ca")).read_bytes()
    assert chosen.identity.key == pathlib.Path(certificates.key("client")).read_bytes()
    assert connect({"kubeconfig": path}).authorization() == "Bearer from-a-file"
    assert "BEGIN" not in repr(chosen)


def test_of_several_kubeconfigs_the_first_wins(kubeconfig: Kubeconfig, tmp_path: pathlib.Path) -> None:
    first, second = kubeconfig("https://first", {"token": "1"}), kubeconfig("https://second", {"token": "2"})
    second["current-context"] = "other"
    second["contexts"].append({"name": "other", "context": {"cluster": "c2", "user": "u"}})
    second["clusters"].append({"name": "c2", "cluster": {"server": "https://third"}})
    paths = f"{write(tmp_path, 'a', first)}:{tmp_path}/missing:{write(tmp_path, 'b', second)}"
    assert connect({"kubeconfig": paths}).host == "https://first"
    other = connect({"kubeconfig": paths, "context": "other"})
    assert (other.host, other.authorization()) == ("https://third", "Bearer 1")


def test_options_override_the_kubeconfig(certificates: Certificates, kubeconfig: Kubeconfig) -> None:
    document = kubeconfig("https://x", {"token": "1"})
    made = connect({"kubeconfig": document, "host": "https://y/", "api_key": "2", "validate_certs": False})
    assert (made.host, made.authorization(), made.context.check_hostname) == ("https://y", "Bearer 2", False)


@pytest.mark.parametrize(
    ("document", "context", "text"),
    [
        ("a: [", None, "not valid YAML"),
        (f"token: {CANARY}\n  bad: {CANARY}: {CANARY}", None, "not valid YAML (line 2)"),
        ("", None, "empty or not a mapping"),
        ("- a", None, "empty or not a mapping"),
        ("{}", None, "has no current context"),
        ("{current-context: a}", None, "has no context named 'a'"),
        ("{contexts: [{name: a, context: {cluster: c}}, {name: b}]}", "x", "It has: a, b."),
        ("{current-context: a, contexts: [{name: a, context: {cluster: c}}]}", None, "has no cluster named 'c'"),
        ("{current-context: a, contexts: [{name: a, context: {cluster: c}}], clusters: [{name: c, cluster: {}}]}", None, "has no server"),
        (
            "{current-context: a, contexts: [{name: a, context: {cluster: c}}], clusters: [{name: c, cluster: {server: x, certificate-authority: /no/such}}]}",
            None,
            "/no/such cannot be read",
        ),
        (
            "{current-context: a, contexts: [{name: a, context: {cluster: c}}], clusters: [{name: c, cluster: {server: x, certificate-authority-data: '~'}}]}",
            None,
            "is not base64",
        ),
        ("{current-context: a, contexts: [{name: a, context: {cluster: c}}], clusters: [{name: c, cluster: {server: no-url}}]}", None, "not a URL"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_says_why(document: str, context: str | None, text: str, tmp_path: pathlib.Path) -> None:
    path = write(tmp_path, "config", document)
    with pytest.raises(Invalid) as caught:
        connect({"kubeconfig": path, "context": context})
    assert text in str(caught.value)
    assert CANARY not in str(caught.value)


def test_a_kubeconfig_that_is_not_there(tmp_path: pathlib.Path) -> None:
    with pytest.raises(Invalid, match="There is no kubeconfig at"):
        connect({"kubeconfig": str(tmp_path / "none")})


def test_without_anything_there_is_a_sentence(tmp_path: pathlib.Path) -> None:
    code = """
from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import connect
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
try:
    connect({})
except Invalid as error:
    print(error)
"""
    assert run(code, {"HOME": str(tmp_path)}).startswith("There is no way to a cluster: no connection option, no kubeconfig, and this is not a pod.")


def test_the_usual_places(kubeconfig: Kubeconfig, tmp_path: pathlib.Path) -> None:
    code = "from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import connect; print(connect({}).host)"
    write(tmp_path / ".kube", "config", kubeconfig("https://home", {"token": "1"}))
    other = write(tmp_path, "other", kubeconfig("https://variable", {"token": "1"}))
    assert run(code, {"HOME": str(tmp_path)}).strip() == "https://home"
    assert run(code, {"HOME": str(tmp_path), "KUBECONFIG": other}).strip() == "https://variable"


def plugin(folder: pathlib.Path, script: str) -> dict[str, Any]:
    path = folder / "plugin.sh"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(path), "args": [], "interactiveMode": "Never"}}


def credential(**status: str) -> str:
    return json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status})


def test_log_in_command_gives_a_token(kubeconfig: Kubeconfig, tmp_path: pathlib.Path) -> None:
    user = plugin(tmp_path, f"echo '{credential(token='issued')}'")
    assert connect({"kubeconfig": kubeconfig("https://x", user)}).authorization() == "Bearer issued"


def test_log_in_command_gives_a_certificate(certificates: Certificates, kubeconfig: Kubeconfig, tmp_path: pathlib.Path) -> None:
    pair = credential(
        clientCertificateData=pathlib.Path(certificates.crt("client")).read_text(), clientKeyData=pathlib.Path(certificates.key("client")).read_text()
    )
    (tmp_path / "answer").write_text(pair)
    with ScriptedServer([Reply()], certificates.server_context(clients=True)) as server:
        made = connect({"kubeconfig": kubeconfig(server.url, plugin(tmp_path, f"cat {tmp_path}/answer"))})
        assert made.request("GET", "/version").status == 200


def test_a_log_in_command_that_fails_is_named_and_not_quoted(
    kubeconfig: Kubeconfig, tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Unauthorized) as caught:
        connect({"kubeconfig": kubeconfig("https://x", plugin(tmp_path, f"echo {CANARY} >&2; exit 1"))})
    shown = f"{caught.value}{capfd.readouterr()}{caplog.text}"
    assert "plugin.sh" in shown
    assert CANARY not in shown


def test_impersonation_needs_a_user() -> None:
    with pytest.raises(Invalid, match="impersonate_groups needs impersonate_user"):
        connect({"host": "https://x", "api_key": "k", "impersonate_groups": ["g"]})


@pytest.mark.parametrize("token", [f"{CANARY}\nX-Injected: yes", f"{CANARY}é"])
def test_a_token_with_a_line_break_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(Invalid) as caught:
        connect({"host": "https://127.0.0.1:1", "api_key": token}).request("GET", "/version")
    assert CANARY not in str(caught.value)


def test_secrets_inside_a_kubeconfig_are_found(kubeconfig: Kubeconfig) -> None:
    user = {
        "token": "s-token",
        "client-key-data": "s-key",
        "password": "s-password",
        "username": "admin",
        "client-certificate-data": "public",
        "auth-provider": {"name": "oidc", "config": {"id-token": "s-id", "refresh-token": "s-refresh", "client-secret": "s-client", "client-id": "public"}},
        "exec": {"command": "aws", "env": [{"name": "AWS_SECRET_ACCESS_KEY", "value": "s-aws"}, {"name": "AWS_PROFILE", "value": "public"}]},
    }
    found = secret_values({"kubeconfig": kubeconfig("https://x", user)})
    assert sorted(found) == ["s-aws", "s-client", "s-id", "s-key", "s-password", "s-refresh", "s-token"]
    assert secret_values({"kubeconfig": "/a/path"}) == []


def test_no_key_and_no_token_becomes_a_file(certificates: Certificates, kubeconfig: Kubeconfig, tmp_path: pathlib.Path) -> None:
    """Python tells its own audit hook of every file that is opened; the library's C code opens only what it is given a path of."""
    certificate, key = certificates.data(certificates.crt("client")), certificates.data(certificates.key("client"))
    user = {"token": "x", "client-certificate-data": certificate, "client-key-data": key}
    path = write(tmp_path, "config", kubeconfig("https://x", user))
    code = """
import sys
opened = []
from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import connect
sys.addaudithook(lambda event, arguments: opened.append((event, arguments)) if event in ("open", "tempfile.mkstemp") else None)
connect({"kubeconfig": sys.argv[1]})
for event, arguments in opened:
    if event != "open" or (isinstance(arguments[1], str) and set(arguments[1]) & set("wax+") and not isinstance(arguments[0], int)):
        print(event, arguments[0])
"""
    assert run(code, {"HOME": str(tmp_path)}, path) == ""
