"""What the registration control says in words, and what it notices beside its own setting, without ever repeating a secret."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.registration import CONTROL, Observed
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, Finding
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS
from ansible_collections.paas.hardening.plugins.module_utils._report.summary import summary
from tests.unit.controls.passports import Document, holder, workload

DOORS = ["SOCIAL_AUTH_GITHUB_KEY", "SOCIAL_AUTH_GOOGLE_KEY", "SOCIAL_AUTH_WEIXIN_KEY", "SOCIAL_AUTH_FEISHU_KEY"]


def seen(platform: str, document: Document) -> str:
    return CONTROL.describe(PLATFORMS[platform], {"mode": "admin_only"}, Observed(document, (), None))[2]


def beside(platform: str, document: Document, mode: str = "admin_only", inert: tuple[Document, ...] = ()) -> dict[str, Finding]:
    findings = CONTROL.beside(PLATFORMS[platform], {"mode": mode}, Observed(document, inert, None))
    return {finding.control.removeprefix("registration-"): finding for finding in findings}


@pytest.mark.parametrize(
    ("platform", "env", "more", "words"),
    [
        ("hephy", {"REGISTRATION_MODE": "disabled"}, {}, "REGISTRATION_MODE=disabled"),
        # Missing is not nothing: the code has a value of its own.
        ("hephy", {}, {}, "REGISTRATION_MODE=enabled"),
        ("drycc-head", {}, {}, "REGISTRATION_ENABLED=false"),
        ("drycc-head", {"REGISTRATION_ENABLED": "True"}, {}, "REGISTRATION_ENABLED=True"),
        # What stands elsewhere is not claimed to be known.
        ("hephy", {"REGISTRATION_MODE": None}, {}, "REGISTRATION_MODE=(from a reference)"),
        ("drycc-1.8", {}, {"envFrom": [{"configMapRef": {"name": "settings"}}]}, "REGISTRATION_ENABLED=(perhaps from envFrom)"),
        ("drycc-1.8", {"REGISTRATION_ENABLED": "false"}, {"envFrom": [{"configMapRef": {"name": "settings"}}]}, "REGISTRATION_ENABLED=false"),
    ],
)
def test_what_is_seen_is_what_the_code_obeys(platform: str, env: dict[str, str | None], more: dict[str, Any], words: str) -> None:
    assert seen(platform, holder(platform, env, **more)) == words


def test_the_last_of_several_is_the_one_that_counts() -> None:
    document = holder("hephy", {"REGISTRATION_MODE": "admin_only"})
    document["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": "REGISTRATION_MODE", "value": "enabled"})
    assert seen("hephy", document) == "REGISTRATION_MODE=enabled"


def test_subject_and_expectation() -> None:
    subject, expected, _seen = CONTROL.describe(PLATFORMS["drycc-head"], {"mode": "disabled"}, Observed(holder("drycc-head", {}), (), None))
    assert (subject, expected) == ("Deployment paas/drycc-passport-api", "REGISTRATION_ENABLED=false")


@pytest.mark.parametrize("platform", ["drycc-1.8", "drycc-head"])
@pytest.mark.parametrize("door", DOORS)
def test_a_social_log_in_is_a_door_that_stays_open(platform: str, door: str) -> None:
    for value in ("Ov23liXYZ", None):
        found = beside(platform, holder(platform, {"REGISTRATION_ENABLED": "false", door: value}))
        assert set(found) == {"side-door"}
        assert found["side-door"].status == FAIL
        assert found["side-door"].observed == door
        assert door in found["side-door"].hint


@pytest.mark.parametrize(
    "env",
    [
        dict.fromkeys(DOORS, ""),
        {"SOCIAL_AUTH_GITHUB_SECRET": "x"},
        {"SOCIAL_AUTH_GITLAB_KEY": "x"},
        {"MY_SOCIAL_AUTH_GITHUB_KEY": "x"},
        {"social_auth_github_key": "x"},
    ],
)
def test_what_is_no_door_is_not_called_one(env: dict[str, str | None]) -> None:
    assert beside("drycc-head", holder("drycc-head", env)) == {}


def test_a_door_in_another_container_is_not_this_ones() -> None:
    document = holder("drycc-head", {})
    document["spec"]["template"]["spec"]["initContainers"] = [{"name": "init", "env": [{"name": DOORS[0], "value": "x"}]}]
    document["spec"]["template"]["spec"]["containers"].append({"name": "other", "env": [{"name": DOORS[1], "value": "x"}]})
    assert beside("drycc-head", document) == {}


def test_all_doors_stand_in_one_finding() -> None:
    found = beside("drycc-head", holder("drycc-head", dict.fromkeys(DOORS, "x")))
    assert found["side-door"].observed == ", ".join(DOORS)


def test_doors_do_not_matter_when_registration_is_open_anyway() -> None:
    assert beside("drycc-head", holder("drycc-head", {DOORS[0]: "x"}), mode="enabled") == {}


def test_the_controller_has_no_such_doors() -> None:
    assert beside("hephy", holder("hephy", dict.fromkeys(DOORS, "x"))) == {}


@pytest.mark.parametrize("mode", ["admin_only", "disabled", "enabled"])
def test_the_well_known_administrator_is_named(mode: str) -> None:
    found = beside("drycc-head", holder("drycc-head", {"ADMIN_USERNAME": "admin", "ADMIN_PASSWORD": "admin"}), mode=mode)
    assert found["well-known-administrator"].status == FAIL
    assert found["well-known-administrator"].severity == "critical"


@pytest.mark.parametrize(
    "env",
    [
        {"ADMIN_USERNAME": "admin", "ADMIN_PASSWORD": "c4t-and-d0g"},
        {"ADMIN_USERNAME": "root", "ADMIN_PASSWORD": "admin"},
        {"ADMIN_USERNAME": "admin", "ADMIN_PASSWORD": None},
        {"ADMIN_USERNAME": "admin"},
        {"ADMIN_PASSWORD": "admin"},
        {"ADMIN_USERNAME": "Admin", "ADMIN_PASSWORD": "admin"},
        {},
    ],
)
def test_an_administrator_of_ones_own_is_not(env: dict[str, str | None]) -> None:
    assert beside("drycc-head", holder("drycc-head", env)) == {}


@pytest.mark.parametrize("platform", ["drycc-1.8", "drycc-head"])
def test_an_inert_setting_is_told_without_being_a_fault(platform: str) -> None:
    (inert,) = PLATFORMS[platform].registration.inert
    controller = workload(inert.workload, [{"name": "REGISTRATION_MODE", "value": "admin_only"}])
    found = beside(platform, holder(platform, {}), inert=(controller,))
    assert found["inert-setting"].status == PASS
    assert found["inert-setting"].observed == "REGISTRATION_MODE=admin_only"
    assert "passport.environment.REGISTRATION_ENABLED" in found["inert-setting"].hint


def test_an_inert_setting_that_is_not_there_is_not_told() -> None:
    (inert,) = PLATFORMS["drycc-head"].registration.inert
    assert beside("drycc-head", holder("drycc-head", {}), inert=(workload(inert.workload, []),)) == {}
    assert beside("drycc-head", holder("drycc-head", {})) == {}


def test_no_secret_is_repeated() -> None:
    canaries = {name: secrets.token_hex(12) for name in [*DOORS, "ADMIN_PASSWORD", "DRYCC_SECRET_KEY", "LDAP_BIND_PASSWORD", "SOCIAL_AUTH_GITHUB_SECRET"]}
    document = holder("drycc-head", {"ADMIN_USERNAME": "admin", **canaries})
    (inert,) = PLATFORMS["drycc-head"].registration.inert
    controller = workload(inert.workload, [{"name": "REGISTRATION_MODE", "value": "admin_only"}, {"name": "TOKEN", "value": canaries["ADMIN_PASSWORD"]}])
    platform, params, observed = PLATFORMS["drycc-head"], {"mode": "admin_only"}, Observed(document, (controller,), None)
    findings = [finding.as_data() for finding in CONTROL.beside(platform, params, observed)]
    assert len(findings) == 2
    text = json.dumps(findings) + "\n".join(summary([{"findings": findings}])) + " ".join(CONTROL.describe(platform, params, observed))
    assert [name for name, canary in canaries.items() if canary in text] == []


@pytest.mark.parametrize("platform", sorted(PLATFORMS))
def test_every_finding_of_it_has_its_source_and_an_identifier_of_its_own(platform: str) -> None:
    env = dict.fromkeys(DOORS, "x") | {"ADMIN_USERNAME": "admin", "ADMIN_PASSWORD": "admin"}
    findings = CONTROL.beside(PLATFORMS[platform], {"mode": "disabled"}, Observed(holder(platform, env), (), None))
    controls = [finding.control for finding in findings]
    assert len(controls) == len(set(controls))
    for finding in findings:
        assert finding.control.startswith(f"{CONTROL.recommendation.id}-")
        assert finding.source == CONTROL.recommendation.source
        assert finding.hint
