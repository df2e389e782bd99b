"""What of a dump is restored, and how stored settings are written again."""

from __future__ import annotations

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._host.databases.move import setting_value, wanted_entries

ENTRIES = [
    "8; 2615 2200 SCHEMA - public pg_database_owner",
    "3480; 0 0 COMMENT - SCHEMA public pg_database_owner",
    "7; 2615 16391 SCHEMA - extra app",
    "2; 3079 16392 EXTENSION - hstore ",
    "3481; 0 0 COMMENT - EXTENSION hstore ",
    "3; 3079 16393 EXTENSION - hstore_plpython3u ",
    "217; 1259 16401 TABLE public hstore app",
    "3470; 0 16401 TABLE DATA public hstore app",
    "3482; 0 0 COMMENT public TABLE hstore app",
    "3483; 0 0 ACL - SCHEMA public pg_database_owner",
]


def test_what_the_target_has_already_is_left_out() -> None:
    left = wanted_entries(ENTRIES, {"hstore", "plpgsql"}, {"public"})
    assert [entry.split(";")[0] for entry in left] == ["7", "3", "217", "3470", "3482", "3483"]


def test_in_a_bare_target_everything_is_made() -> None:
    assert wanted_entries(ENTRIES, set(), set()) == ENTRIES


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [
        ("search_path", '"$user", public', '"$user", public'),
        ("search_path", '"a""b", x', '"a""b", x'),
        ("search_path", "public; DROP TABLE x", ":'value'"),
        ("search_path", "", ":'value'"),
        ("search_path", "a,b", ":'value'"),
        ("DateStyle", "ISO, DMY", ":'value'"),
        ("work_mem", "64MB", ":'value'"),
        ("app.note", "it's", ":'value'"),
    ],
)
def test_only_lists_of_names_are_written_as_they_are(name: str, value: str, written: str) -> None:
    assert setting_value(name, value) == written
