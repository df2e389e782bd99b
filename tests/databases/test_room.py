"""The connections that a server has left for a platform: without those it reserves, and those that others have now."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from ansible_collections.paas.hardening.plugins.module_utils._host.databases.inspect import Room, room
from tests.databases.postgres import Postgres


def test_others_count_and_the_platforms_own_do_not(new: Postgres) -> None:
    new.run('CREATE DATABASE "ours"')
    quiet = room(new.client, new.admin, ["ours"])
    assert quiet == Room(40, 3, quiet.others)
    with ExitStack() as open_sessions:
        for database in ("ours", "ours", new.admin.database, new.admin.database):
            open_sessions.enter_context(new.client.session(replace(new.admin, database=database)))
        assert room(new.client, new.admin, ["ours"]).others == quiet.others + 2
        assert room(new.client, replace(new.admin, database="ours"), ["ours"]).others == quiet.others + 2
