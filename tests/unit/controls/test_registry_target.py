"""The options of workflow_registry: what is refused before anything is touched, and what becomes of credentials."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.registry_target import ARGUMENTS, live_target, target_of
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, NotFound
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS
from tests.unit.controls.registries import facts_of, secret

GIVEN = {"server": "registry.example.com", "organization": "paas", "account": "robot", "account_password": "canary"}
SERVICE_ACCOUNT = json.dumps({"project_id": "acme", "private_key": "canary"})


class Cluster:
    """A namespace with Secrets in it."""

    def __init__(self, *secrets: dict[str, Any]) -> None:
        self._secrets = {document["metadata"]["name"]: document for document in secrets}

    def get(self, _kind: Any, name: str, _namespace: str) -> dict[str, Any]:
        if name not in self._secrets:
            raise NotFound(f"Secret {name} does not exist.")
        return self._secrets[name]


class Place:
    """As much of a site as the options need."""

    def __init__(self, platform: str, *secrets: dict[str, Any]) -> None:
        self.platform, self.namespace, self.objects = PLATFORMS[platform], "paas", Cluster(*secrets)


def params(**given: Any) -> dict[str, Any]:
    return {**{name: option.get("default") for name, option in ARGUMENTS.items()}, **given}


def target(platform: str = "hephy", *secrets: dict[str, Any], **given: Any) -> Any:
    place: Any = Place(platform, *secrets)
    return target_of(place, facts_of(platform), params(**given))


@pytest.mark.parametrize("missing", sorted(GIVEN))
def test_what_is_missing_is_named(missing: str) -> None:
    with pytest.raises(Invalid, match=f"^{missing} is missing") as caught:
        target(**{name: text for name, text in GIVEN.items() if name != missing})
    assert caught.value.subject == missing


@pytest.mark.parametrize(
    ("given", "subject"),
    [
        ({"server": "https://registry.example.com"}, "server"),
        ({"server": "registry"}, "server"),
        ({"server": "registry.example.com/path"}, "server"),
        ({"server": "registry.example.com:port"}, "server"),
        ({"organization": "Paas"}, "organization"),
        ({"organization": "/paas"}, "organization"),
        ({"organization": "paas/"}, "organization"),
        ({"account": "robot:x"}, "account"),
        ({"location": "ecr"}, "server"),
        ({"location": "gcr", "server": None}, "organization"),
        ({"location": "ecr", "server": None, "organization": None}, "region"),
        ({"location": "ecr", "server": None, "organization": None, "region": "r", "access_key": "a"}, "access_key"),
        ({"location": "gcr", "server": None, "organization": None, "service_account": "{}"}, "service_account"),
        ({"location": "gcr", "server": None, "organization": None, "service_account": "canary"}, "service_account"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(given: dict[str, Any], subject: str) -> None:
    with pytest.raises(Invalid) as caught:
        target(**{**GIVEN, **given})
    assert caught.value.subject == subject
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("location", ["ecr", "gcr"])
@pytest.mark.parametrize("platform", ["drycc-1.8", "drycc-head"])
def test_what_only_a_manual_knows_is_refused_with_the_source(platform: str, location: str) -> None:
    with pytest.raises(Invalid, match="cannot use") as caught:
        target(platform, location=location)
    assert "drycc/builder" in caught.value.hint


@pytest.mark.parametrize("name", ["docker.io", "index.docker.io", "registry-1.docker.io"])
def test_the_hub_has_one_name(name: str) -> None:
    fields = target(**{**GIVEN, "server": name}).fields
    assert (fields["server"], fields["hostname"]) == ("docker.io", "")


def test_no_credential_ends_with_a_line(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("canary\n")
    given = {**GIVEN, "account_password": None, "account_password_file": str(file), "account": "robot\n"}
    fields = target(**given).fields
    assert (fields["account"], fields["account_password"]) == ("robot", "canary")
    assert target(**{**GIVEN, "account_password": "canary\r\n"}).fields["account_password"] == "canary"


@pytest.mark.parametrize("keys", [("account", "account_password"), ("username", "password")])
def test_credentials_out_of_a_secret_by_our_names_or_the_platforms(keys: tuple[str, str]) -> None:
    held = secret("mine", **{keys[0]: "robot\n", keys[1]: "canary\n"})
    fields = target("hephy", held, server="r.example.com", organization="paas", credentials_secret="mine").fields
    assert (fields["account"], fields["account_password"]) == ("robot", "canary")
    with pytest.raises(NotFound, match="mine"):
        target("hephy", server="r.example.com", organization="paas", credentials_secret="mine")


def test_drycc_takes_the_names_of_its_own_secret() -> None:
    held = secret("mine", **{"registry-username": "robot", "registry-password": "canary"})
    assert target("drycc-head", held, server="r.example.com", organization="paas", credentials_secret="mine").fields["account"] == "robot"


@pytest.mark.parametrize("text", [SERVICE_ACCOUNT, base64.b64encode(SERVICE_ACCOUNT.encode()).decode()])
def test_the_key_of_a_service_account_is_never_in_base64_twice(text: str) -> None:
    found = target(location="gcr", service_account=text)
    assert found.fields["service_account"] == SERVICE_ACCOUNT
    assert found.registry is None


def test_the_instance_role_has_no_keys() -> None:
    fields = target(location="ecr", region="eu-central-1").fields
    assert (fields["access_key"], fields["secret_key"], fields["region"]) == ("", "", "eu-central-1")


def test_what_the_platform_uses_now_is_read_out_of_its_secrets() -> None:
    location = facts_of("hephy").locations[0]
    held = secret("registry-secret", hostname="r.example.com", organization="paas", username="robot", password="canary")
    assert live_target(location, {"registry-secret": held}, params()).prefix == "r.example.com/paas/"
    hub = secret("registry-secret", hostname="", organization="paas", username="robot", password="canary")
    assert live_target(location, {"registry-secret": hub}, params()).fields["server"] == "docker.io"
    nothing = live_target(location, {}, params())
    assert (nothing.registry, nothing.prefix) == (None, "")


def test_no_text_of_a_target_shows_its_password() -> None:
    assert "canary" not in repr(target(**GIVEN).registry)
