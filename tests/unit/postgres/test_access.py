"""Entries become lines of pg_hba.conf, one each; what would let in the world is refused in words; every line of somebody else's is found."""

from __future__ import annotations

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.access import differences, entries_of, lines_in, lines_of, render

ONE = {"database": "app", "role": "app", "network": "10.0.0.0/24"}


def test_each_entry_is_one_line_by_tls_and_scram() -> None:
    entries = entries_of(
        [ONE, {"database": "replication", "role": "replicator", "network": "10.0.0.7"}, {"database": "my-app", "role": "App", "network": "local"}]
    )
    assert lines_of(entries) == [
        "local all postgres peer",
        "hostssl app app 10.0.0.0/24 scram-sha-256",
        "hostssl replication replicator 10.0.0.7/32 scram-sha-256",
        'local "my-app" "App" peer',
    ]
    assert lines_in(render(entries)) == lines_of(entries)


def test_an_entry_given_twice_is_one_line() -> None:
    assert len(entries_of([ONE, dict(ONE)])) == 1


@pytest.mark.parametrize(
    ("entry", "field", "words"),
    [
        ({"network": "0.0.0.0/0"}, "access.network", "everybody"),
        ({"network": "::/0"}, "access.network", "everybody"),
        ({"network": "0.0.0.0/1"}, "access.network", "half of the world"),
        ({"network": "10.0.0.7/24"}, "access.network", "Give 10.0.0.0/24"),
        ({"network": "all"}, "access.network", "Give an address"),
        ({"network": "samenet"}, "access.network", "Give an address"),
        ({"database": "all"}, "access.database", "Name one database"),
        ({"role": "all"}, "access.role", "Name one role"),
        ({"role": "+admins"}, "access.role", "is no name"),
        ({"database": "@file"}, "access.database", "is no name"),
        ({"role": "a\nhost all all 0.0.0.0/0 trust"}, "access.role", "is no name"),
        ({"role": ""}, "access.role", "is no name"),
    ],
    ids=str,
)
def test_what_would_let_in_more_than_meant_is_refused(entry: dict[str, str], field: str, words: str) -> None:
    with pytest.raises(Invalid) as refused:
        entries_of([{**ONE, **entry}])
    assert refused.value.subject == field
    assert words in str(refused.value)


def test_a_name_cannot_become_more_than_a_name() -> None:
    (line,) = lines_of(entries_of([{**ONE, "role": 'a" all 0.0.0.0/0 trust #'}]))[1:]
    assert line == 'hostssl app "a"" all 0.0.0.0/0 trust #" 10.0.0.0/24 scram-sha-256'


def test_spelling_is_no_difference_and_every_other_line_is() -> None:
    wanted = lines_of(entries_of([ONE]))
    spelt = "# mine\nlocal   all\tpostgres peer # the owner\n\nhostssl app app \\\n 10.0.0.0/24 scram-sha-256\n"
    assert differences(spelt, wanted) == []
    trust = "host all all 127.0.0.1/32 trust"
    assert differences(f"{spelt}{trust}\n", wanted) == [(trust, trust, ABSENT)]
    assert differences("", wanted) == [(line, ABSENT, line) for line in wanted]
    assert differences(f"{spelt}include other.conf\n", wanted) == [("include other.conf", "include other.conf", ABSENT)]


def test_the_order_counts() -> None:
    wanted = lines_of(entries_of([ONE]))
    ((field, _before, _after),) = differences("\n".join(reversed(wanted)), wanted)
    assert field == "order of the lines"


def test_who_is_meant_by_an_entry() -> None:
    (entry,) = entries_of([ONE])
    assert (entry.lets_in("10.0.0.9"), entry.lets_in("10.0.1.9"), entry.lets_in("fd00::1")) == (True, False, False)
