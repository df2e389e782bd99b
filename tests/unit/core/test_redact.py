"""No secret leaves by a plan, a diff, a text or a summary, in whatever form and place it stands; what is not secret stays readable."""

from __future__ import annotations

import base64
import copy
import json
import pickle
import secrets
import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Item, Path, Plan, ref_of
from ansible_collections.paas.hardening.plugins.module_utils._core.redact import HIDDEN, Masked, mask, scrub, secret_name, show

# How a text can carry a secret. Each takes the canary and returns the text.
FORMS: dict[str, Callable[[str], str]] = {
    "shell": lambda canary: f"export DB_PASSWORD={canary}; run",
    "shell, quoted with spaces": lambda canary: f"PASSWORD='two {canary} words' run",
    "key file of an environment": lambda canary: f"USER=bob\nDEIS_SECRET_KEY={canary}\nPORT=1",
    "ini": lambda canary: f"[db]\npassword = {canary}\nport = 1",
    "yaml": lambda canary: f"user: bob\npassphrase: {canary}\n",
    "yaml, next line": lambda canary: f"password:\n  {canary}\n",
    "yaml, block": lambda canary: f"token: |-\n  first\n  {canary}\nuser: bob\n",
    "yaml, quoted": lambda canary: f'secret: "a {canary}, b"',
    "json": lambda canary: json.dumps({"user": "bob", "apiKey": f'x "{canary}" y'}),
    "json in json": lambda canary: json.dumps({"config": json.dumps({"password": f"a {canary}"})}),
    "json, compact": lambda canary: json.dumps({"access_token": canary, "n": 1}, separators=(",", ":")),
    "docker configuration": lambda canary: json.dumps({"auths": {"r.example.org": {"auth": canary}}}),
    "xml": lambda canary: f"<password>{canary}</password>",
    "ruby": lambda canary: f"{{:password => '{canary}'}}",
    "bearer": lambda canary: f"curl -H 'Authorization: Bearer {canary}' host",
    "basic": lambda canary: f'Authorization: "Basic {canary}"',
    "query": lambda canary: f"GET /x?a=1&token={canary}&b=2",
    "url": lambda canary: f"postgres://bob:{canary}@db:5432/x",
    "url without user": lambda canary: f"redis://:{canary}@cache:6379/0",
    "url, slash in the password": lambda canary: f"postgres://bob:a/{canary}@db/x",
    "url, at sign in the password": lambda canary: f"amqp+ssl://bob:a@{canary}@mq//",
    "two urls": lambda canary: f"http://a:b@one,http://a:{canary}@two",
    "dsn": lambda canary: f"host=db password={canary} user=bob",
    "flag": lambda canary: f"tool --db-password {canary} --port 1",
    "flag with equals sign": lambda canary: f"tool --client-secret={canary} --port 1",
    "key": lambda canary: f"-----BEGIN RSA PRIVATE KEY-----\nMII{canary}\n-----END RSA PRIVATE KEY-----",
    "key, cut off": lambda canary: f"-----BEGIN OPENSSH PRIVATE KEY-----\nb3B{canary}",
    "pgp": lambda canary: f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{canary}\n-----END PGP PRIVATE KEY BLOCK-----",
    "key in base64": lambda canary: "LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVktLS0t" + canary,
    "web token": lambda canary: f"eyJhbGciOiJIUzI1NiJ9.eyJ{canary}.sig{canary}",
    "kubeconfig": lambda canary: f"users:\n- user:\n    client-key-data: {canary}\n",
}


def deployment(env: Any = (), **container: Any) -> dict[str, Any]:
    entry = {"name": "web", "image": "w:1", "env": list(env), **container}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "resourceVersion": "1"},
        "spec": {"template": {"spec": {"containers": [entry]}}},
    }


def secret(**more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "creds", "namespace": "shop"}, **more}


def base64_of(canary: str) -> str:
    return base64.b64encode(canary.encode()).decode()


def last_applied(canary: str) -> dict[str, Any]:
    document = secret(data={"user": canary})
    document["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(document)}
    return document


ENV: Path = ("spec", "template", "spec", "containers", Item("name", "web"), "env")

# Places of objects that hold a secret as it is: (object or its kind, path, value).
PLACES: dict[str, Callable[[str], tuple[dict[str, Any], Path, Any]]] = {
    "Secret, one key": lambda canary: (secret(), ("data", "user"), canary),
    "Secret, all data": lambda canary: (secret(), ("data",), {"user": canary}),
    "Secret, plain data": lambda canary: (secret(), ("stringData", "config"), canary),
    "Secret, whole": lambda canary: (secret(), (), secret(stringData={"user": canary}, data={"host": canary})),
    "Secret, as kubectl remembers it": lambda canary: (secret(), (), last_applied(canary)),
    "Secret, inside of something else": lambda canary: ({**secret(), "kind": "Template"}, ("spec", "objects"), [secret(data={"user": canary})]),
    "variable": lambda canary: (deployment(), (*ENV, Item("name", "ADMIN_PASSWORD"), "value"), canary),
    "variable, whole entry": lambda canary: (deployment(), (*ENV, Item("name", "ADMIN_PASSWORD")), {"name": "ADMIN_PASSWORD", "value": canary}),
    "variable, whole list": lambda canary: (deployment(), ENV, [{"name": "A", "value": "1"}, {"name": "API_TOKEN", "value": canary}]),
    "variable, whole object": lambda canary: (deployment(), (), deployment([{"name": "BUILDER_KEY", "value": canary}])),
    "variable that is called a reference": lambda canary: (deployment(), (*ENV, Item("name", "PASSWORD")), {"name": "PASSWORD", "key": canary}),
    "word after a flag": lambda canary: (deployment(), (), deployment(args=["serve", "--password", canary, "--port", "1"])),
    "number": lambda canary: (deployment(), ("spec", "pinToken"), int(canary, 16)),
    "mapping under a secret name": lambda canary: (deployment(), ("spec", "auth"), {"user": "bob", "phrase": canary}),
    "value under a secret name": lambda canary: (deployment(), ("password", "value"), canary),
    "list under a secret name": lambda canary: (deployment(), ("spec", "passwords"), ["a", canary]),
    "entry named by key": lambda canary: (deployment(), ("spec", "parameters"), [{"key": "db-password", "value": canary}]),
    "ConfigMap, key that tells": lambda canary: ({**secret(), "kind": "ConfigMap"}, ("data", "private-key.pem"), canary),
}


@pytest.fixture
def canary() -> str:
    # Hexadecimal, so that it can stand as a number and inside of an encoded text too.
    return secrets.token_hex(12)


def shown(plan: Plan) -> str:
    """Everything that a person or a program may get to see of a plan."""
    return json.dumps(plan.as_data()) + json.dumps(plan.as_diff())


def leaks(text: str, canary: str) -> bool:
    return canary in text or base64_of(canary).rstrip("=") in text or str(int(canary, 16)) in text


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("side", ["before", "after"])
def test_no_place_of_an_object_leaks(place: str, side: str, canary: str) -> None:
    document, path, value = PLACES[place](canary)
    assert leaks(str(value), canary), "the sample carries no canary"
    change = Change(ref_of(document), path, value if side == "before" else ABSENT, ABSENT if side == "before" else value, "")
    assert not leaks(shown(Plan((change,))), canary)


@pytest.mark.parametrize("form", FORMS)
def test_no_form_of_a_text_leaks(form: str, canary: str) -> None:
    text = FORMS[form](canary)
    assert canary in text, "the sample carries no canary"
    assert canary not in scrub(text)


@pytest.mark.parametrize("form", FORMS)
def test_no_form_leaks_from_a_place_with_a_harmless_name(form: str, canary: str) -> None:
    text = FORMS[form](canary)
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "shop"}, "data": {"file": text}}
    changes = [
        Change(ref_of(config), ("data", "file"), text, ABSENT, ""),
        Change(ref_of(config), (), ABSENT, config, ""),
        Change(ref_of(deployment()), (*ENV, Item("name", "SETTINGS"), "value"), ABSENT, text, ""),
        Change(ref_of(deployment()), (), ABSENT, deployment([{"name": "SETTINGS", "value": text}], args=["-c", text]), ""),
        Change(ref_of(deployment()), ("metadata", "annotations"), {"note": text}, ABSENT, ""),
    ]
    assert not leaks(shown(Plan(tuple(changes))), canary)


def test_sixty_four_canaries_in_one_object() -> None:
    canaries = [secrets.token_hex(12) for _number in range(64)]
    makers = list(FORMS.values())
    env = [{"name": f"SETTING_{number}", "value": makers[number % len(makers)](canary)} for number, canary in enumerate(canaries[:32])]
    env += [{"name": f"{'TOKEN' if number % 2 else 'PASSWORD'}_{number}", "value": canary} for number, canary in enumerate(canaries[32:48])]
    document = deployment(env, args=[word for canary in canaries[48:64] for word in ("--secret", canary)])
    plan = Plan((Change(ref_of(document), (), document, ABSENT, ""), Change(ref_of(document), ("spec",), ABSENT, document["spec"], "")))
    text = shown(plan)
    assert [canary for canary in canaries if canary not in str(document)] == []
    assert [canary for canary in canaries if canary in text] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "replicas"), 2),
        (("spec", "automountServiceAccountToken"), False),
        (("spec", "tokenReviewed"), True),
        (("spec", "volumes"), [{"name": "v", "secret": {"secretName": "creds"}}][0]["name"]),
        (("spec", "secretName"), "creds"),
        (("spec", "secretRef"), {"name": "creds"}),
        (("spec", "tokenExpirationSeconds"), 3600),
        (("spec", "topologyKey"), "kubernetes.io/hostname"),
        (("spec", "image"), "registry.example.org/a/b:v1@sha256:0123456789abcdef"),
        ((*ENV, Item("name", "REGISTRATION_MODE"), "value"), "admin_only"),
        ((*ENV, Item("name", "DEIS_REGISTRY_SECRET_PREFIX"), "value"), "private-registry"),
        ((*ENV, Item("name", "URL"), "value"), "https://versions.example.org/v2?a=1"),
        ((*ENV, Item("name", "GREETING"), "value"), "the author: John; secret agents; a token of love"),
    ],
)
def test_what_is_not_secret_stays_readable(path: Path, value: Any) -> None:
    assert show(mask("Deployment", path, value)) == (json.dumps(value, sort_keys=True) if isinstance(value, (dict, list)) else value)


def test_a_reference_to_a_secret_stays_readable() -> None:
    entry = {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "creds", "key": "user"}}}
    assert json.loads(show(mask("Deployment", (*ENV, Item("name", "PASSWORD")), entry))) == entry
    assert json.loads(show(mask("Deployment", ENV, [entry]))) == [entry]


def test_a_given_value_is_hidden_wherever_it_stands(canary: str) -> None:
    assert scrub(f"odd text with {canary} in it", [canary, ""]) == f"odd text with {HIDDEN} in it"


def test_scrubbing_keeps_what_stands_around() -> None:
    assert scrub("postgres://bob:x@db:5432/shop and password=x, then more") == f"postgres://{HIDDEN}@db:5432/shop and password={HIDDEN} then more"
    assert scrub('MountVolume failed: secret "creds" not found') == 'MountVolume failed: secret "creds" not found'


@pytest.mark.parametrize("name", ["PASSWORD", "PGPASSFILE", "token", "S3_ACCESS_KEY", "privateKey", "DEIS_BUILDER_KEY", "ssh-key", "cookie", "HMAC", "DSN"])
def test_names_that_tell_of_secrets(name: str) -> None:
    assert secret_name(name)


@pytest.mark.parametrize("name", ["REGISTRATION_MODE", "topologyKey", "key", "name", "imagePullSecrets", "secretKeyRef", "IMAGE", "keyed", "monkey"])
def test_names_that_do_not(name: str) -> None:
    assert not secret_name(name)


@pytest.mark.parametrize(
    "send",
    [
        pytest.param(json.dumps, id="json"),
        pytest.param(yaml.safe_dump, id="yaml"),
        pytest.param(yaml.dump, id="yaml with any Python object"),
        pytest.param(pickle.dumps, id="pickle"),
        pytest.param(copy.deepcopy, id="copy"),
    ],
)
def test_a_masked_value_cannot_be_sent(send: Callable[[Any], Any]) -> None:
    for value in (Masked(), {"spec": [{"password": Masked()}]}):
        with pytest.raises((TypeError, yaml.representer.RepresenterError)):
            send(value)


def test_a_masked_value_equals_nothing_and_shows_nothing() -> None:
    masked = Masked()
    assert (masked == masked, masked == Masked(), str(masked), repr(masked), show(masked)) == (False, False, HIDDEN, HIDDEN, HIDDEN)
    assert len({masked, Masked()}) == 2
    assert vars(masked) == {}


@pytest.mark.parametrize("piece", ["a", "token", "://", "password: ", "-", "eyJ", "--password ", "password: |\n", '"', "\\"])
def test_long_texts_take_no_time(piece: str) -> None:
    """A hostile or merely large text must not stall a run: linear, with a wide margin for a busy machine."""
    started = time.process_time()
    scrub(piece * (500_000 // len(piece)))
    assert time.process_time() - started < 5
