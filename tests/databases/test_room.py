"""The connections that a server has left for a platform: without those it reserves, and those that others have now."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.inspect import Room, room, visits
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


def test_who_comes_and_goes_is_counted_and_we_are_not(new: Postgres) -> None:
    new.run('CREATE DATABASE "visited"')
    inside = replace(new.admin, database="visited")
    with new.client.session(inside) as session:
        before = visits(session)
        assert before.now == 0
        # As the platform's own code comes: by another name, for one question.
        new.run("SET application_name = 'gunicorn'; SELECT 1", inside)
        deadline = Deadline(10)
        while visits(session).ever <= before.ever:
            assert deadline.pause(0.2)
