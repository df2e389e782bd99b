"""Rows of points that do not hang together, and those that do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.continuity import etcd_problems, hours, schedule_problems
from ansible_collections.paas.hardening.plugins.module_utils._backup.duration import seconds_of
from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import Manifest, read_manifest
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, NotProven

HOUR = 3600.0


def point(number: int, instant: float, cluster: str = "c1", revision: int = 0) -> Manifest:
    about = {"cluster": cluster, "revision": revision or number * 10}
    return Manifest(f"{number:08d}-00000000", "r", instant, instant, instant + 1, {"etcd": about}, (), {}, {}, {"etcd": {"verdict": "pass"}})


def test_a_row_without_trouble() -> None:
    points = [point(number, number * 6 * HOUR) for number in range(1, 9)]
    assert etcd_problems(points) == []
    assert schedule_problems(points, 6 * HOUR, points[-1].instant + HOUR) == []
    assert etcd_problems([]) == schedule_problems([], HOUR, 0.0) == []


def test_revision_that_ran_back_and_another_cluster() -> None:
    back = etcd_problems([point(1, 1, revision=100), point(2, 2, revision=99), point(3, 3, revision=99)])
    assert [problem.subject[:8] for problem in back] == ["00000002"]
    assert "without a bump" in back[0].what
    other = etcd_problems([point(1, 1), point(2, 2, "c2", 5), point(3, 3, "c2", 6)])
    assert [problem.subject[:8] for problem in other] == ["00000002"]


def test_missed_schedule_and_clocks_that_jump() -> None:
    points = [point(1, 0.0), point(2, 6 * HOUR), point(3, 20 * HOUR), point(4, 19 * HOUR)]
    found = [problem.what for problem in schedule_problems(points, 6 * HOUR, 60 * HOUR)]
    assert len(found) == 3
    assert "14.0 h without a point, until" in found[0]
    assert "a clock jumped" in found[1]
    assert "41.0 h without a point, until now" in found[2]
    # A quarter more than the interval is jitter.
    assert schedule_problems(points[:1], 6 * HOUR, 7.4 * HOUR) == []
    assert len(schedule_problems(points[:1], 6 * HOUR, 7.6 * HOUR)) == 1


@pytest.mark.parametrize(("seconds", "said"), [(59, "59 s"), (119, "119 s"), (120, "2.0 min"), (7200, "2.0 h"), (172800, "2.0 d")])
def test_lengths_of_time_as_people_say_them(seconds: float, said: str) -> None:
    assert hours(seconds) == said


@pytest.mark.parametrize(("text", "seconds"), [("30m", 1800.0), ("24h", 86400.0), ("7d", 604800.0), ("1s", 1.0), ("4w", 2419200.0)])
def test_durations_are_read(text: str, seconds: float) -> None:
    assert seconds_of(text, "max_age") == seconds


@pytest.mark.parametrize("text", ["", "24", "h", "-1h", "0h", "1.5h", "1y", "24 h", "9999999999h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="max_age"):
        seconds_of(text, "max_age")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("document", "repository"),
        ("format", 2),
        ("identifier", "latest"),
        ("kinds", {}),
        ("parents", ["../x"]),
        ("instant", "today"),
        ("files", [{"path": "../../etc/passwd", "size": 1, "sha256": "0" * 64}]),
        ("files", [{"path": "/etc/passwd", "size": 1, "sha256": "0" * 64}]),
        ("files", [{"path": "a", "size": -1, "sha256": "0" * 64}]),
        ("files", [{"path": "a", "size": 1, "sha256": "short"}]),
        ("files", [{"path": "a"}]),
    ],
)
def test_manifest_that_cannot_be_is_refused(key: str, value: Any) -> None:
    body = json.loads(point(1, 1.0).as_body())
    assert read_manifest(json.dumps(body).encode(), "it") == point(1, 1.0)
    with pytest.raises(NotProven):
        read_manifest(json.dumps({**body, key: value}).encode(), "it")
