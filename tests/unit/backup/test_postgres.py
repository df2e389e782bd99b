"""Databases in a point: the one in use, sequences that move while a dump is made, programs and folders that will not do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.postgres.proof import between, digest_of, fingerprint_text, read_fingerprint
from ansible_collections.paas.hardening.plugins.module_utils._backup.postgres.source import elsewhere
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, MissingDependency, Refused
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.content import Content, LargeObject
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.proof import Fingerprint
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.scratch import account_of, find_server, private_folder
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS

REST = "start 1, step 1, from 1 to 9, cache 1, cycle f"


def sequence(value: int, handed: str = "t", rest: str = REST) -> str:
    return f"last value {value}, handed out {handed}, {rest}"


@pytest.mark.parametrize(
    ("before", "after", "found", "holds"),
    [
        (sequence(5), sequence(5), sequence(5), True),
        (sequence(5), sequence(5), sequence(4), False),
        (sequence(5), sequence(9), sequence(7), True),
        (sequence(5), sequence(9), sequence(9), True),
        (sequence(5), sequence(9), sequence(4), False),
        (sequence(5), sequence(9), sequence(10), False),
        (sequence(-5), sequence(-9), sequence(-7), True),
        (sequence(1, "f"), sequence(3), sequence(1, "f"), True),
        (sequence(5), sequence(9), sequence(7, rest="start 1, step 2"), False),
        ("torn", sequence(9), sequence(7), False),
    ],
)
def test_a_sequence_lies_where_it_can_have_been(before: str, after: str, found: str, holds: bool) -> None:
    assert between(before, after, found) is holds


def container(*env: dict[str, Any]) -> dict[str, Any]:
    return {"name": "one", "env": list(env)}


def refers(name: str, secret: str, key: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def test_a_platform_that_has_left_its_bundled_database_is_seen() -> None:
    texts = {("database-creds", "host"): "db.example.com", ("urls", "inside"): "postgres://u:p@drycc-database:5432/controller"}
    texts["urls", "outside"] = "postgres://u:p%40@db.example.com:5432/controller"
    facts = PLATFORMS["hephy"].database
    host = next(setting.variable for setting in facts.way.settings if setting.field == "host")

    def place(platform: str, *env: dict[str, Any]) -> str:
        known = PLATFORMS[platform].database
        user = known.users[0]
        settings = list(user.settings or known.way.settings)
        return elsewhere(user, settings, container(*env), known.bundled.name, lambda name, key: texts[name, key])

    assert place("hephy") == "", "what is not stated is derived from the Service"
    assert place("hephy", {"name": host, "value": "deis-database.deis.svc"}) == ""
    assert place("hephy", {"name": host, "value": "192.0.2.7"}) == "192.0.2.7"
    assert place("hephy", refers(host, "database-creds", "host")) == "db.example.com"
    drycc = PLATFORMS["drycc-head"].database
    url = next(setting.variable for setting in drycc.way.settings if setting.field.startswith("url"))
    assert place("drycc-head", refers(url, "urls", "inside")) == ""
    assert place("drycc-head", refers(url, "urls", "outside")) == "db.example.com"
    assert place("drycc-head", {"name": url, "value": texts["urls", "outside"]}) == "db.example.com"


def programs(folder: Path, version: str) -> str:
    folder.mkdir()
    for name in ("initdb", "postgres"):
        (folder / name).write_text(f'#!/bin/sh\necho "{name} (PostgreSQL) {version}"\n')
        (folder / name).chmod(0o755)
    return str(folder)


def test_server_programs_that_are_too_old_are_refused(tmp_path: Path) -> None:
    folder = programs(tmp_path / "11", "11.22")
    assert find_server(folder, 90426).version == 110022
    assert find_server(folder, 110001).folder == folder
    with pytest.raises(Refused, match="of PostgreSQL 11, the database of 15: too old"):
        find_server(folder, 150018)
    with pytest.raises(Refused, match=r"of PostgreSQL 11\.22, the database of 11\.23: too old") as refused:
        find_server(folder, 110023)
    assert "Install those of 11.23 or newer (Debian: postgresql-11" in refused.value.hint
    with pytest.raises(Refused, match=r"of PostgreSQL 9\.6, older than 10"):
        find_server(programs(tmp_path / "96", "9.6.24"))
    with pytest.raises(MissingDependency, match="initdb and postgres are not in"):
        find_server(str(tmp_path / "nowhere"))


def test_the_scratch_folder_is_ours_and_empty(tmp_path: Path) -> None:
    with private_folder(str(tmp_path), "one") as place:
        (Path(place) / "left").mkdir()
        with private_folder(str(tmp_path), "another") as other:
            assert other != place
        # The same purpose again is a run after one that was killed: what it left goes.
        with private_folder(str(tmp_path), "one") as again:
            assert (again, os.listdir(again)) == (place, [])
    assert os.listdir(tmp_path) == []


def test_a_link_in_place_of_the_scratch_folder_is_refused(tmp_path: Path) -> None:
    with private_folder(str(tmp_path), "one") as place:
        name = Path(place)
    (tmp_path / "kept").mkdir()
    name.symlink_to(tmp_path / "kept")
    with pytest.raises(Refused, match="is there already, and not ours"), private_folder(str(tmp_path), "one"):
        raise AssertionError
    assert (tmp_path / "kept").is_dir()


def test_the_server_never_runs_as_root() -> None:
    if os.geteuid() == 0:
        assert account_of().uid != 0
        with pytest.raises(Invalid, match="no account root that is not root's"):
            account_of("root")
        with pytest.raises(Invalid, match="no account nobody-there"):
            account_of("nobody-there")
    else:
        with pytest.raises(Invalid, match="only root can run programs as somebody else"):
            account_of("nobody")


def held(**changed: Any) -> Fingerprint:
    fields: dict[str, Any] = {
        "version": 150018,
        "encoding": "UTF8",
        "collation": "C C",
        "extensions": {"plpgsql": "1.0"},
        "settings": {},
        "tables": {"public.one": Content(3, "1:2")},
        "sequences": {"public.s": sequence(3)},
        "large_objects": {"17": LargeObject("me", 4, "ab")},
        "definitions": {("table", "public.one"): ("a", "b", "me")},
    }
    return Fingerprint(**{**fields, **changed})


def test_what_a_database_held_survives_as_a_file(tmp_path: Path) -> None:
    path = tmp_path / "held.json"
    path.write_bytes(fingerprint_text(held()))
    assert read_fingerprint(str(path)) == held()
    for text in ("{}", "[]", "torn", '{"version": 1}'):
        path.write_text(text)
        with pytest.raises(Refused, match="does not say what the dump holds"):
            read_fingerprint(str(path))


def test_one_number_for_all_rows() -> None:
    assert digest_of(held()) == digest_of(held(sequences={}))
    others = [held(tables={"public.one": Content(3, "1:3")}), held(tables={}), held(large_objects={"17": LargeObject("me", 4, "ac")})]
    assert len({digest_of(entry) for entry in [held(), *others]}) == 4
