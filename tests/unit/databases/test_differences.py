"""Two fingerprints are compared in words. What notices a difference in a real database is in tests/databases."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Refused
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.content import Content, LargeObject
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.proof import Fingerprint, compare, remarks
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.settings import Before, read_mark
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.structure import Definition

ONE = Fingerprint(
    version=150018,
    encoding="UTF8",
    collation="C C",
    extensions={"plpgsql": "1.0"},
    settings={"work_mem": "64MB"},
    tables={"public.t": Content(3, "1:2"), "public.u": Content(0, "0:0")},
    sequences={"public.s": "last value 7"},
    large_objects={"7": LargeObject("old", 3, "abc")},
    definitions={("table", "public.t"): ("exact", "loose", "old"), ("index", "public.i"): ("exact", "loose", "")},
    privileges={"public.t": "{old=arwdDxt/old}"},
)


def change(**parts: Any) -> Fingerprint:
    return replace(ONE, **parts)


def test_the_same_is_the_same_and_survives_being_written_down() -> None:
    again = Fingerprint.from_data(json.loads(json.dumps(ONE.as_data())))
    assert again == ONE
    assert compare(ONE, again, same_privileges=True) == []
    assert remarks(ONE, again) == []
    assert ONE.rows == 3


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (change(encoding="LATIN1"), "encoding: UTF8 in the source, LATIN1 in the target"),
        (change(extensions={}), "extension plpgsql: not in the target"),
        (change(extensions={"plpgsql": "1.0", "hstore": "1.8"}), "extension hstore: only in the target"),
        (change(settings={}), "setting work_mem: not in the target"),
        (change(settings={"work_mem": "1MB"}), "setting work_mem: 64MB in the source, 1MB in the target"),
        (change(tables={"public.t": ONE.tables["public.t"]}), "table public.u: not in the target"),
        (change(tables={**ONE.tables, "public.t": Content(2, "1:2")}), "table public.t: 3 rows in the source, 2 in the target"),
        (change(tables={**ONE.tables, "public.t": Content(3, "1:3")}), "table public.t: 3 rows in both, but their content differs"),
        (change(sequences={"public.s": "last value 8"}), "sequence public.s: last value 7 in the source; last value 8 in the target"),
        (change(large_objects={}), "large object 7: not in the target"),
        (change(large_objects={"7": LargeObject("old", 3, "abd")}), "large object 7: 3 bytes in the source, 3 in the target, other content"),
        (change(definitions={("table", "public.t"): ("exact", "loose", "old")}), "index public.i: not in the target"),
        (change(definitions={**ONE.definitions, ("index", "public.i"): ("other", "loose", "")}), "index public.i: its definition differs"),
        (change(definitions={**ONE.definitions, ("table", "public.t"): ("exact", "loose", "new")}), "table public.t: belongs to new, not to old"),
    ],
)
def test_one_difference_is_one_sentence(other: Fingerprint, sentence: str) -> None:
    assert compare(ONE, other) == [sentence]


def test_everything_may_belong_to_the_new_owner() -> None:
    other = change(
        definitions={**ONE.definitions, ("table", "public.t"): ("exact", "loose", "new")},
        large_objects={"7": LargeObject("new", 3, "abc")},
    )
    assert compare(ONE, other, owner="new") == []
    assert compare(ONE, ONE, owner="new") == ["large object 7: belongs to old, not to new", "table public.t: belongs to old, not to new"]


def test_privileges_are_compared_when_asked_for_and_else_remarked() -> None:
    other = change(privileges={})
    assert compare(ONE, other) == []
    assert compare(ONE, other, same_privileges=True) == ["privileges on public.t: not in the target"]
    assert remarks(ONE, other) == ["Privileges are not as they were on 1 things: public.t."]


def test_between_major_versions_the_loose_form_counts() -> None:
    newer = change(version=180006, definitions={**ONE.definitions, ("index", "public.i"): ("other", "loose", "")})
    assert compare(ONE, newer) == []
    assert len(remarks(ONE, newer)) == 1
    assert compare(ONE, replace(newer, version=150001)) == ["index public.i: its definition differs"]


def test_what_may_differ_is_remarked() -> None:
    found = remarks(ONE, change(collation="de_DE.UTF-8 C", extensions={"plpgsql": "2.0"}))
    assert found == [
        "Texts are sorted by C C in the source and by de_DE.UTF-8 C in the target.",
        "Extension plpgsql is of version 1.0 in the source and 2.0 in the target.",
    ]


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (" SELECT t.a,\n    t.b\n   FROM public.t\n  WHERE (t.a > 1);", " SELECT a,\n    b\n   FROM public.t\n  WHERE (a > 1);"),
        ('SELECT "T 1"."a""b" FROM x."T 1"', 'SELECT "a""b" FROM "T 1"'),
        ("CREATE TRIGGER t EXECUTE PROCEDURE f()", "CREATE TRIGGER t EXECUTE FUNCTION f()"),
    ],
)
def test_the_loose_form_is_what_versions_have_in_common(older: str, newer: str) -> None:
    assert Definition("view", "v", older, "").loose == Definition("view", "v", newer, "").loose


@pytest.mark.parametrize(("one", "other"), [("a > 1", "a > 2"), ("a", "b"), ("x = '1.5'", "x = '2.5'"), ("1.5", "2.5"), ("SELECT a.b", "SELECT a.c")])
def test_the_loose_form_still_differs(one: str, other: str) -> None:
    assert Definition("view", "v", one, "").loose != Definition("view", "v", other, "").loose


@pytest.mark.parametrize(
    "mark",
    [
        "{",
        "{}",
        "[1]",
        '{"read_only": null, "limit": "1; DROP", "public": true}',
        '{"read_only": "on; DROP", "limit": 1, "public": true}',
        '{"read_only": null, "limit": 1}',
    ],
)
def test_a_mark_that_is_not_ours_is_not_obeyed(mark: str) -> None:
    with pytest.raises(Refused, match="was changed"):
        read_mark(mark)


@pytest.mark.parametrize("before", [Before(None, -1, True), Before("off", 7, False)])
def test_a_mark_is_read_again(before: Before) -> None:
    written = before.mark("a comment")
    assert written.endswith("\na comment")
    assert read_mark(written.partition("closed ")[2].partition("\n")[0]) == before
