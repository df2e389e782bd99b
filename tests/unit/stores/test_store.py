"""What a store may be called, what its credentials may look like, and that they go nowhere but into rclone's environment."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.store import Store

CANARY = "canary+secret/0123456789"
AZURE_KEY = base64.b64encode(bytes(range(200, 232))).decode()
ACCOUNT = {
    "type": "service_account",
    "client_email": "mover@example.iam.gserviceaccount.com",
    "private_key": f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n",
    "project_id": "example",
}
GIVEN: dict[str, dict[str, Any]] = {
    "s3": {"endpoint": "https://s3.example.com:9000", "access_key": "AKIDEXAMPLE", "secret_key": CANARY},
    "gcs": {"service_account": json.dumps(ACCOUNT)},
    "azure": {"account": "example", "account_key": AZURE_KEY},
    "swift": {"user": "mover", "key": CANARY, "auth_url": "https://swift.example.com/v3", "tenant": "example", "auth_version": 3, "region": "one"},
}


def store(provider: str, **changes: Any) -> Store:
    return Store(provider, **{**GIVEN[provider], **changes})


@pytest.mark.parametrize("provider", sorted(GIVEN))
def test_secrets_stand_in_the_environment_only(provider: str) -> None:
    good = store(provider)
    values = list(good.environment("old").values())
    secrets = [value for name, value in GIVEN[provider].items() if name in ("secret_key", "service_account", "account_key", "key")]
    for secret in secrets:
        assert any(secret in value or json.loads(secret) == json.loads(value) for value in values if value.startswith(secret[0]))
        assert secret not in repr(good)
        assert secret not in str(good)
    assert CANARY not in repr(good)
    assert all(name.startswith("RCLONE_CONFIG_OLD_") for name in good.environment("old"))
    assert set(secrets) <= set(good.secrets())


def test_the_inside_of_a_service_account_is_a_secret_in_both_spellings() -> None:
    found = store("gcs").secrets()
    assert ACCOUNT["private_key"] in found
    assert json.dumps(ACCOUNT["private_key"])[1:-1] in found
    assert len(found[0]) == max(map(len, found))


def test_s3_as_rclone_wants_it() -> None:
    assert store("s3").environment("new") == {
        "RCLONE_CONFIG_NEW_TYPE": "s3",
        "RCLONE_CONFIG_NEW_PROVIDER": "Other",
        "RCLONE_CONFIG_NEW_ENV_AUTH": "false",
        "RCLONE_CONFIG_NEW_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "RCLONE_CONFIG_NEW_SECRET_ACCESS_KEY": CANARY,
        "RCLONE_CONFIG_NEW_REGION": "us-east-1",
        "RCLONE_CONFIG_NEW_ENDPOINT": "https://s3.example.com:9000",
        "RCLONE_CONFIG_NEW_FORCE_PATH_STYLE": "true",
        "RCLONE_CONFIG_NEW_NO_CHECK_BUCKET": "true",
        "RCLONE_CONFIG_NEW_MIGHT_GZIP": "false",
        "RCLONE_CONFIG_NEW_DECOMPRESS": "false",
        "RCLONE_CONFIG_NEW_STORAGE_CLASS": "STANDARD",
    }


def test_amazon_and_the_role_of_the_machine() -> None:
    there = Store("s3", region="eu-central-1").environment("new")
    assert there["RCLONE_CONFIG_NEW_PROVIDER"] == "AWS"
    assert there["RCLONE_CONFIG_NEW_ENV_AUTH"] == "true"
    assert there["RCLONE_CONFIG_NEW_LOCATION_CONSTRAINT"] == "eu-central-1"
    assert there["RCLONE_CONFIG_NEW_FORCE_PATH_STYLE"] == "false"
    assert "RCLONE_CONFIG_NEW_ACCESS_KEY_ID" not in there
    assert "RCLONE_CONFIG_NEW_LOCATION_CONSTRAINT" not in Store("s3", region="us-east-1").environment("new")
    assert Store("s3", endpoint="https://s3.eu-west-1.amazonaws.com", region="eu-west-1").environment("x")["RCLONE_CONFIG_X_PROVIDER"] == "AWS"


@pytest.mark.parametrize(
    ("provider", "changes", "subject", "said"),
    [
        ("ftp", {}, "provider", "There is no provider 'ftp'"),
        ("s3", {"secret_key": f"{CANARY}\n"}, "secret_key", "newline before or after"),
        ("s3", {"secret_key": f" {CANARY}"}, "secret_key", "blank or a newline"),
        ("s3", {"access_key": "AKID\n"}, "access_key", "printf"),
        ("s3", {"access_key": "AK\nID"}, "access_key", "control character"),
        ("s3", {"secret_key": base64.b64encode(f"{CANARY}\n".encode()).decode()}, "secret_key", "base64 once too often"),
        ("s3", {"secret_key": base64.b64encode(CANARY.encode()).decode()}, "secret_key", "base64 once too often"),
        ("s3", {"secret_key": "c2hvcnQK"}, "secret_key", "base64 once too often"),
        ("s3", {"secret_key": ""}, "secret_key", "is empty, but its counterpart is not"),
        ("s3", {"access_key": ""}, "access_key", "is empty, but its counterpart is not"),
        ("s3", {"endpoint": "s3.example.com"}, "endpoint", "no scheme"),
        ("s3", {"endpoint": "s3.example.com:9000"}, "endpoint", "no scheme"),
        ("s3", {"endpoint": "ftp://s3.example.com"}, "endpoint", "no scheme"),
        ("s3", {"endpoint": "https://s3.example.com/bucket"}, "endpoint", "a path or a query"),
        ("s3", {"endpoint": "https://s3.example.com/?x=1"}, "endpoint", "a path or a query"),
        ("s3", {"endpoint": "https://:9000"}, "endpoint", "names no host"),
        ("s3", {"endpoint": "https://s3.example.com:port"}, "endpoint", "is not a URL"),
        ("s3", {"endpoint": f"https://me:{CANARY}@s3.example.com"}, "endpoint", "a user or a password"),
        ("s3", {"ca_file": "/nonexistent/ca.pem"}, "ca_file", "no file /nonexistent/ca.pem"),
        ("s3", {"account": "x"}, "account", "means nothing to s3"),
        ("gcs", {"service_account": ""}, "service_account", "gcs needs it"),
        ("gcs", {"service_account": "{"}, "service_account", "is not JSON"),
        ("gcs", {"service_account": "[]"}, "service_account", "not the key of a service account"),
        ("gcs", {"service_account": base64.b64encode(json.dumps(ACCOUNT).encode()).decode()}, "service_account", "is in base64"),
        ("gcs", {"service_account": json.dumps({**ACCOUNT, "private_key": ""})}, "service_account", "lacks private_key"),
        ("azure", {"account_key": CANARY + "!"}, "account_key", "is not base64"),
        ("azure", {"account_key": base64.b64encode(AZURE_KEY.encode()).decode()}, "account_key", "base64 once too often"),
        ("azure", {"account": ""}, "account", "azure needs it"),
        ("swift", {"auth_url": "swift.example.com"}, "auth_url", "no scheme"),
        ("swift", {"tenant": ""}, "tenant", "swift needs it"),
    ],
)
def test_what_cannot_be_is_refused(provider: str, changes: dict[str, Any], subject: str, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        Store(provider, **{**GIVEN.get(provider, {}), **changes})
    assert caught.value.subject == subject
    assert said in str(caught.value)
    assert caught.value.hint
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "secret",
    [
        "minioadmin",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "correct horse battery staple",
        "password",
        "c2hvcnQ=",
        "0123456789abcdef0123456789abcdef",
    ],
)
def test_ordinary_secrets_are_taken(secret: str) -> None:
    assert store("s3", secret_key=secret).secret_key == secret


def test_an_emulator_of_azure_has_a_path() -> None:
    assert store("azure", endpoint="http://127.0.0.1:10000/account").environment("a")["RCLONE_CONFIG_A_ENDPOINT"].endswith("/account")


def test_a_title_stands_for_an_address_that_changes() -> None:
    assert store("s3", title="minio in deis").name == "minio in deis"
    assert store("s3").name == "https://s3.example.com:9000"
    assert Store("s3").name == "AWS S3"


@pytest.mark.parametrize("bucket", ["git", "registry", "dbwal", "a-b-c", "1" * 63])
@pytest.mark.parametrize("provider", ["s3", "gcs", "azure", "swift"])
def test_good_buckets(provider: str, bucket: str) -> None:
    store(provider).check_bucket(bucket)


@pytest.mark.parametrize(
    ("provider", "bucket"),
    [
        ("s3", ""),
        ("s3", "ab"),
        ("s3", "a" * 64),
        ("s3", "Upper"),
        ("s3", "under_score"),
        ("s3", "dot.ted"),
        ("s3", "-begins"),
        ("s3", "ends-"),
        ("s3", "xn--name"),
        ("s3", "name-s3alias"),
        ("s3", "a/b"),
        ("s3", "name\n"),
        ("gcs", "goog-name"),
        ("gcs", "my-google"),
        ("gcs", "dot.ted"),
        ("azure", "two--hyphens"),
        ("azure", "under_score"),
        ("swift", "a/b"),
        ("swift", ""),
        ("swift", "ä" * 129),
    ],
)
def test_bad_buckets(provider: str, bucket: str) -> None:
    with pytest.raises(Invalid) as caught:
        store(provider).check_bucket(bucket, "buckets.registry")
    assert caught.value.subject == "buckets.registry"
    assert caught.value.hint


def test_the_file_of_an_authority(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("x")
    assert store("s3", ca_file=str(file)).ca_file == str(file)
