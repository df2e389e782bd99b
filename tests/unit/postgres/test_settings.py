"""Settings: what means the same is the same, whatever overrides ours is found, the level of the log is never lowered, and nothing is restarted without need."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.layout import Layout
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.live import Line, Live, Setting
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.settings import adjusted, differences, given_settings, raised, render
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.tuning import Size, derived
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.values import canonical, line

PLACE = Layout(15)
OURS, MAIN, AUTO = PLACE.settings_file, PLACE.main_file, f"{PLACE.data}/postgresql.auto.conf"
PAGES, WORK, FSYNC, LEVEL = (
    Setting("16384", "8kB", "integer", "postmaster", "configuration file"),
    Setting("4096", "kB", "integer", "user", "configuration file"),
    Setting("on", None, "bool", "sighup", "configuration file"),
    Setting("replica", None, "enum", "postmaster", "configuration file"),
)


def live(settings: dict[str, Setting], *lines: Line) -> Live:
    return Live("15.13", False, 0.0, settings, (), lines, (), {}, {}, {}, (), "")


@pytest.mark.parametrize(
    ("value", "kind", "unit", "expected"),
    [
        ("128MB", "integer", "8kB", "16384"),
        ("131072kB", "integer", "8kB", "16384"),
        ("16384", "integer", "8kB", "16384"),
        ("1GB", "integer", "kB", "1048576"),
        ("1GB", "integer", "MB", "1024"),
        ("30s", "integer", "ms", "30000"),
        ("5min", "integer", "s", "300"),
        ("-1", "integer", "MB", "-1"),
        ("0.90", "real", None, "0.9"),
        ("0.9", "real", None, "0.9"),
        ("2ms", "real", "ms", "2"),
        ("YES", "bool", None, "on"),
        ("0", "bool", None, "off"),
        ("Replica", "enum", None, "replica"),
        ("true", "enum", None, "on"),
        ("localhost,10.0.0.1", "string", None, "localhost,10.0.0.1"),
        ("lots", "integer", "8kB", "lots"),
        ("3 parsecs", "integer", "ms", "3 parsecs"),
    ],
)
def test_values_that_mean_the_same_are_the_same(value: str, kind: str, unit: str | None, expected: str) -> None:
    assert canonical(value, kind, unit) == expected


def test_a_value_cannot_end_its_quotes() -> None:
    assert line("search_path", r"it's \ here") == r"search_path = 'it''s \\ here'"


def test_what_is_written_and_in_force_is_left_alone() -> None:
    there = live({"shared_buffers": PAGES}, Line(MAIN, 10, "shared_buffers", "64MB"), Line(OURS, 2, "shared_buffers", "128MB"))
    assert differences({"shared_buffers": "131072kB"}, PLACE, 100, there, True).fields == ()


def test_alter_system_and_later_lines_override() -> None:
    wanted = {"shared_buffers": "128MB", "fsync": "on", "work_mem": "4MB"}
    lines = [Line(OURS, number, name, value) for number, (name, value) in enumerate(wanted.items(), 2)]
    later = f"{PLACE.config}/conf.d/zzz.conf"
    there = live(
        {"shared_buffers": PAGES, "fsync": FSYNC._replace(value="off"), "work_mem": WORK},
        *lines,
        Line(later, 1, "work_mem", "4MB"),
        Line(MAIN, 200, "fsync", "off"),
        Line(AUTO, 3, "shared_buffers", "1GB"),
    )
    found = differences(wanted, PLACE, 100, there, True)
    assert [(name, before, why) for name, before, _after, why in found.fields] == [
        ("shared_buffers", "1GB", "ALTER SYSTEM overrides it"),
        ("fsync", "off", f"{MAIN}, line 200, overrides it"),
        ("work_mem", "4MB", f"{later}, line 1, overrides it"),
    ]
    assert found.forget == ("shared_buffers",)
    assert [(entry.file, entry.number) for entry in found.lines] == [(MAIN, 200), (later, 1)]
    assert found.restart == ()


def test_what_waits_for_a_restart_is_told_and_a_restart_may_be_forbidden() -> None:
    there = live({"shared_buffers": PAGES}, Line(OURS, 2, "shared_buffers", "256MB"))
    allowed, never = (differences({"shared_buffers": "256MB"}, PLACE, 100, there, restart) for restart in (True, False))
    assert (allowed.restart, allowed.waiting) == (("shared_buffers",), ())
    assert allowed.fields == (("shared_buffers", "16384 x 8kB", "256MB", "needs a restart"),)
    assert (never.fields, never.restart, never.waiting) == ((), (), ("shared_buffers",))


def test_a_server_without_our_file_gets_all_of_it() -> None:
    found = differences({"work_mem": "4MB"}, PLACE, 100, live({"work_mem": WORK}), True)
    assert found.fields == (("work_mem", ABSENT, "4MB", "set by nothing that lasts"),)


@pytest.mark.parametrize(
    ("lines", "level"),
    [((), "replica"), ((Line(AUTO, 1, "wal_level", "logical"),), "logical"), ((Line(MAIN, 1, "wal_level", "minimal"),), "replica")],
)
def test_the_level_of_the_log_is_never_lowered(lines: tuple[Line, ...], level: str) -> None:
    assert adjusted({"wal_level": "replica"}, {}, OURS, live({"wal_level": LEVEL}, *lines))["wal_level"] == level
    assert adjusted({"wal_level": "replica"}, {}, OURS, live({"wal_level": LEVEL._replace(value="logical")}))["wal_level"] == "logical"


def test_a_derived_value_that_is_near_enough_stays_and_one_of_the_users_does_not() -> None:
    there = live({"shared_buffers": PAGES, "wal_level": LEVEL}, Line(OURS, 2, "shared_buffers", "128MB"))
    wanted = {"wal_level": "replica", "shared_buffers": "136MB"}
    assert adjusted(wanted, {"shared_buffers": "136MB"}, OURS, there)["shared_buffers"] == "128MB"
    assert adjusted({**wanted, "shared_buffers": "160MB"}, {"shared_buffers": "160MB"}, OURS, there)["shared_buffers"] == "160MB"
    assert adjusted(wanted, {"shared_buffers": "512MB"}, OURS, there)["shared_buffers"] == "136MB"


def test_a_standby_has_as_much_as_its_primary() -> None:
    control = {"max_connections setting": "300", "max_worker_processes setting": "4", "max_prepared_xacts setting": "0", "max_locks_per_xact setting": "64"}
    assert raised({"max_connections": "200", "max_worker_processes": "8"}, control) == {"max_connections": "300", "max_worker_processes": "8"}
    assert raised({"max_connections": "200"}, {"max_prepared_xacts setting": "20"})["max_prepared_transactions"] == "20"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"listen_addresses": "*"}, "It follows from addresses"),
        ({"ssl": False}, "TLS is always on"),
        ({"fsync": False}, "power cut"),
        ({"wal_level": "minimal"}, "replica or logical"),
        ({"Work Mem": 1}, "is no name"),
        ({"work_mem": None}, "is no value"),
        ({"work_mem": "1MB\nssl = off"}, "is no value"),
    ],
    ids=str,
)
def test_settings_that_are_not_for_choice_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        given_settings(given)


def test_values_of_an_inventory_become_those_of_a_file() -> None:
    assert given_settings({"jit": False, "max_wal_size": "2GB", "random_page_cost": 1.1}) == {"jit": "off", "max_wal_size": "2GB", "random_page_cost": "1.1"}
    assert render({"jit": "off"}).splitlines()[1:] == ["jit = 'off'"]


def test_derived_values_grow_with_the_host_and_stay_within_reason() -> None:
    mb = 1 << 20
    small, large = derived(Size(512 * mb, 1, 1024 * mb), 100), derived(Size(256 * 1024 * mb, 64, 4096 * 1024 * mb), 200)
    assert (small["shared_buffers"], large["shared_buffers"]) == ("128MB", "16384MB")
    assert (small["max_wal_size"], small["max_slot_wal_keep_size"], small["min_wal_size"]) == ("128MB", "256MB", "32MB")
    assert (small["wal_keep_size"], large["wal_keep_size"]) == ("32MB", "4096MB")
    assert large["max_parallel_workers_per_gather"] == "4"
    assert large["max_worker_processes"] == "64"


def test_a_few_pages_more_or_less_change_nothing() -> None:
    assert derived(Size(8192 << 20, 4, 1 << 40), 200) == derived(Size((8192 << 20) + 5 * 4096, 4, 1 << 40), 200)
