"""What an inventory may want of a member of etcd, and what is refused before anything is looked at."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host import certificates
from ansible_collections.paas.hardening.plugins.module_utils._host.etcd import access, cluster
from ansible_collections.paas.hardening.plugins.module_utils._host.etcd.wishes import ARGUMENTS, User, Wish, secrets_of, wish_of

PASSWORD = secrets.token_hex(16)


def peer(number: int, **more: Any) -> dict[str, Any]:
    return {"name": f"e{number}", "address": f"10.0.0.{number}", "authority": "", "present": True, "data": True, **more}


def options(**more: Any) -> dict[str, Any]:
    given = {name: option.get("default") for name, option in ARGUMENTS.items()}
    return {**given, "step": "member", "name": "e1", "address": "10.0.0.1", "binary_sha256": "0" * 64, **more}


def wish(**more: Any) -> Wish:
    return wish_of(options(**more))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "every address": ({"address": "0.0.0.0"}, "address"),
    "a name with a comma": ({"name": "e1,e2"}, "name"),
    "a port of root": ({"client_port": 80}, "client_port"),
    "the port of the metrics": ({"peer_port": 2381}, "client_port"),
    "one port for both": ({"peer_port": 2379}, "client_port"),
    "a quota that is none": ({"quota_backend_bytes": 1}, "quota_backend_bytes"),
    "an election too early": ({"election_timeout": 300}, "election_timeout"),
    "a period without a unit": ({"auto_compaction_retention": "1"}, "auto_compaction_retention"),
    "a time with a new line": ({"defragment": "Sun\nExecStart=x"}, "defragment"),
    "no checksum": ({"binary_sha256": "abc"}, "binary_sha256"),
    "a program without one": ({"binary": "/tmp/etcd", "binary_sha256": ""}, "binary_sha256"),
    "log-ins without a password": ({"authentication": True}, "root_password"),
    "a short password": ({"authentication": True, "root_password": "a" * 15}, "root_password"),
    "two passwords": ({"root_password": PASSWORD, "root_password_file": "/nowhere"}, "root_password"),
    "a file that is not there": ({"root_password_file": "/nowhere"}, "root_password_file"),
    "users without log-ins": ({"users": [{"name": "app", "prefix": "/", "rights": "read"}]}, "users"),
    "a user for all keys": ({"authentication": True, "root_password": PASSWORD, "users": [{"name": "a", "prefix": "", "rights": "read"}]}, "users.prefix"),
    "root as a user": ({"authentication": True, "root_password": PASSWORD, "users": [{"name": "root", "prefix": "/", "rights": "read"}]}, "users.name"),
    "a certificate for root": ({"clients": ["root"]}, "clients"),
    "a client that climbs": ({"clients": ["../server"]}, "clients"),
    "clients with a foreign authority": ({"clients": ["app"], "tls_certificate": "/a", "tls_key": "/b", "tls_authority": "/c"}, "clients"),
    "half a certificate": ({"tls_certificate": "/a"}, "tls_certificate"),
    "itself as a peer": ({"peers": [peer(1)]}, "peers"),
    "two peers at one address": ({"peers": [peer(2), peer(3, address="10.0.0.2")]}, "peers"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_cannot_be_meant_is_refused_by_the_option_s_name(case: str) -> None:
    given, option = REFUSED[case]
    with pytest.raises(Invalid) as raised:
        wish(**given)
    assert (raised.value.subject, bool(raised.value.hint), PASSWORD in str(raised.value)) == (option, True, False)


def test_the_command_line_does_not_tell_how_a_member_began_and_listens_where_it_is_told() -> None:
    words = wish(peers=[peer(2), peer(3)]).command
    assert words == wish(lead=True, lost=["e3"]).command
    assert not [word for word in words if word.startswith("--initial-cluster")]
    assert [word for word in words if word.startswith("--listen")] == [
        "--listen-client-urls=https://10.0.0.1:2379",
        "--listen-peer-urls=https://10.0.0.1:2380",
        "--listen-metrics-urls=http://127.0.0.1:2381",
    ]
    assert {"--client-cert-auth=true", "--peer-client-cert-auth=true"} <= set(words)
    assert "--listen-client-urls=https://[fd00::1]:2379" in wish(address="fd00::1").command


def test_the_member_s_certificate_is_for_both_ends_and_names_no_user_that_of_a_client_does() -> None:
    wanted = wish(clients=["writer"])
    assert (wanted.tls.usage, wanted.tls.subject) == (certificates.BOTH, "O")
    assert (wanted.clients[0].usage, wanted.clients[0].subject, wanted.clients[0].account) == (certificates.CLIENT, "CN", "root")


def test_the_password_is_in_no_text() -> None:
    given = options(authentication=True, root_password=PASSWORD)
    assert secrets_of(given) == [PASSWORD]
    assert PASSWORD not in repr(wish_of(given))
    assert secrets_of(options()) == []


@pytest.mark.parametrize(("prefix", "end"), [("/registry/", "/registry0"), ("a", "b"), ("z\udcff", "{")])
def test_a_right_ends_where_the_prefix_does(prefix: str, end: str) -> None:
    assert access.end_of(prefix) == end


def test_a_user_has_its_own_role_alone_and_that_one_right() -> None:
    user = User("app", "/app/", "write")
    good = access.rights_of(user)
    seen = cluster.Cluster((), {}, (), cluster.SHUT, {"root": ("root",), "app": ("app",), "old": ()}, {"app": (good,)})
    assert list(access.differences(user, seen)) == []
    assert access.strangers([user], seen) == ["old"]
    more = seen._replace(users={"app": ("app", "root")}, roles={"app": (good, ("READ", "", ""))})
    assert [field for field, _before, _after in access.differences(user, more)] == ["roles", "rights"]
    assert [field for field, _before, _after in access.differences(user, seen._replace(users={}, roles={}))] == ["user", "roles", "rights"]
