"""Which log-ins are tried from a host, what is expected of each, and what answers are right."""

from __future__ import annotations

from typing import Any

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_postgres_reach import attempts_of, judged, source_of
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.handshake import (
    ASKS_SCRAM,
    LET_IN,
    REFUSED,
    UNREACHED,
    UNTRUSTED,
    Answer,
    Door,
    knock,
)

SERVER: dict[str, Any] = {
    "name": "db1",
    "address": "10.0.0.1",
    "port": 5432,
    "authority": "",
    "access": [
        {"database": "app", "role": "app", "network": "10.0.0.0/28"},
        {"database": "app", "role": "app", "network": "10.1.0.0/28"},
        {"database": "app", "role": "reader", "network": "10.1.0.0/28"},
        {"database": "replication", "role": "replicator", "network": "10.0.0.2"},
        {"database": "app", "role": "root", "network": "local"},
    ],
}


def expected(source: str) -> list[tuple[str, bool, str]]:
    return [(attempt.role.rpartition("_")[2], attempt.encrypted, attempt.expected) for attempt in attempts_of([SERVER], {"10.0.0.1": source})]


def test_who_is_named_is_asked_and_everybody_else_refused() -> None:
    strangers = [("stranger", True, REFUSED), ("stranger", False, REFUSED)]
    assert expected("10.0.0.5") == [*strangers, ("app", True, ASKS_SCRAM), ("reader", True, REFUSED)]
    assert expected("10.1.0.5") == [*strangers, ("app", True, ASKS_SCRAM), ("reader", True, ASKS_SCRAM)]
    assert expected("10.9.9.9") == [*strangers, ("app", True, REFUSED), ("reader", True, REFUSED)]


def verdicts(source: str, kind: str) -> set[str]:
    return {check.verdict for check in judged([(attempt, Answer(kind, "", source)) for attempt in attempts_of([SERVER], {"10.0.0.1": source})])}


def test_a_firewall_may_keep_out_only_those_whom_nobody_named() -> None:
    assert verdicts("10.9.9.9", UNREACHED) == {"pass"}
    assert verdicts("10.0.0.5", UNREACHED) == {"fail"}
    assert verdicts("10.9.9.9", LET_IN) == {"fail"}
    assert verdicts("10.9.9.9", UNTRUSTED) == {"fail"}


def test_nobody_at_the_other_end_is_told_as_such() -> None:
    assert knock(Door("localhost", "127.0.0.1", 1, ""), "app", "app", True, 1.0).kind == UNREACHED
    assert source_of("127.0.0.1", 1) == "127.0.0.1"
