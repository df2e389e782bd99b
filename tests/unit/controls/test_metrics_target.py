"""The store of metrics out of the options: what cannot work on a platform is refused, and says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.metrics import facts_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.metrics_target import target_of
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS

INFLUX: dict[str, Any] = {"url": "http://metrics.example.com:8086/", "account": "mover", "account_password": "canary-password"}
VICTORIA: dict[str, Any] = {"url": "http://metrics.example.com:8428", "write_url": "http://metrics.example.com:8428/api/v1/write"}


def target(platform: str, sends: bool = True, **options: Any) -> Any:
    return target_of(facts_of(PLATFORMS[platform]), options, sends and platform.startswith("drycc"))


def test_an_influxdb() -> None:
    found = target("hephy", **INFLUX)
    assert found.fields["url"] == "http://metrics.example.com:8086"
    assert found.fields["quoted_url"] == '"http://metrics.example.com:8086"'
    assert found.fields["database"] == "kubernetes"
    assert "canary" not in repr(found.store.server)


def test_a_password_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("canary-password\n")
    assert target("deis", url=INFLUX["url"], account="mover", account_password_file=str(file)).fields["password"] == "canary-password"


def test_a_store_of_prometheus_kind() -> None:
    found = target("drycc-head", **VICTORIA)
    assert found.store.writing.url == VICTORIA["write_url"]
    assert target("drycc-head", sends=False, url=VICTORIA["url"]).store.writing is None


@pytest.mark.parametrize(
    ("platform", "changes", "subject"),
    [
        ("hephy", {"url": None}, "url"),
        ("hephy", {"url": "metrics.example.com:8086"}, "url"),
        ("hephy", {"url": "http://me:canary@metrics.example.com"}, "url"),
        ("hephy", {"url": 'http://metrics.example.com:8086", "http://evil.example.com'}, "url"),
        ("hephy", {"url": "http://metrics.example.com:8086?db=x"}, "url"),
        ("hephy", {"write_url": "http://metrics.example.com:8086/write"}, "write_url"),
        ("hephy", {"account_password": None}, "account_password"),
        ("hephy", {"account": None}, "account"),
        ("hephy", {"account_password": 'canary"'}, "account_password"),
        ("hephy", {"database": "a\\b"}, "database"),
        ("drycc-1.8", {"account": "mover"}, "account"),
        ("drycc-head", {"database": "workflow"}, "database"),
        ("drycc-head", {"write_url": None}, "write_url"),
        ("drycc-head", {"write_url": "ftp://metrics.example.com"}, "write_url"),
    ],
)
def test_what_cannot_work_is_refused(platform: str, changes: dict[str, Any], subject: str) -> None:
    options = INFLUX if platform in ("deis", "hephy") else VICTORIA
    with pytest.raises(Invalid) as caught:
        target(platform, **{**options, **changes})
    assert caught.value.subject == subject
    assert caught.value.hint
    assert "canary" not in str(caught.value)


def test_a_place_to_write_to_without_an_agent_is_refused() -> None:
    with pytest.raises(Invalid) as caught:
        target("drycc-head", sends=False, **VICTORIA)
    assert caught.value.subject == "write_url"
