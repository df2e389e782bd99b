"""What PostgreSQL complains about becomes a failure with a remedy, and shows neither rows nor passwords."""

from __future__ import annotations

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core import errors
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.failures import translate
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.server import Server

SERVER = Server("127.0.0.1", "app", "data", "canary-password")
PSQL = 'psql: error: connection to server at "127.0.0.1", port 5432 failed: '


@pytest.mark.parametrize(
    ("complaint", "failure"),
    [
        (PSQL + 'FATAL:  password authentication failed for user "app"', errors.Unauthorized),
        (PSQL + "fe_sendauth: no password supplied", errors.Unauthorized),
        (PSQL + "SCRAM authentication requires libpq version 10 or above: authentication method 10 not supported", errors.Unauthorized),
        (PSQL + 'FATAL:  role "app" does not exist', errors.Unauthorized),
        (PSQL + 'FATAL:  role "app" is not permitted to log in', errors.Forbidden),
        (PSQL + 'FATAL:  no pg_hba.conf entry for host "127.0.0.1", user "app", database "data", no encryption', errors.Forbidden),
        (PSQL + 'FATAL:  permission denied for database "data"\nDETAIL:  User does not have CONNECT privilege.', errors.Forbidden),
        (PSQL + 'FATAL:  database "data" does not exist', errors.NotFound),
        (PSQL + "FATAL:  sorry, too many clients already", errors.Unavailable),
        (PSQL + "FATAL:  remaining connection slots are reserved for non-replication superuser connections", errors.Unavailable),
        (PSQL + "FATAL:  the database system is starting up", errors.Unavailable),
        (PSQL + "Connection refused\n\tIs the server running on that host?", errors.Unavailable),
        ('psql: error: could not translate host name "nowhere" to address: Name or service not known', errors.Unavailable),
        (PSQL + "timeout expired", errors.TimedOut),
        (PSQL + "server does not support SSL, but SSL was required", errors.Invalid),
        (PSQL + "SSL error: certificate verify failed", errors.Invalid),
        (PSQL + 'server certificate for "other" does not match host name "127.0.0.1"', errors.Invalid),
        ("ERROR:  42501: permission denied for table t\nLOCATION:  aclcheck_error", errors.Forbidden),
        ("ERROR:  57014: canceling statement due to statement timeout", errors.TimedOut),
        ("ERROR:  55P03: canceling statement due to lock timeout", errors.TimedOut),
        ("ERROR:  53100: could not extend file: No space left on device", errors.Refused),
        ("ERROR:  25006: cannot execute INSERT in a read-only transaction", errors.Refused),
        ('ERROR:  42P04: database "data" already exists', errors.Conflict),
        ("ERROR:  40001: could not serialize access", errors.Conflict),
        ("ERROR:  XX001: invalid page in block 7 of relation base/1/2", errors.Refused),
        ("FATAL:  57P01: terminating connection due to administrator command", errors.Unavailable),
        ("pg_dump: error: could not write to output file: No space left on device", errors.Refused),
        ("pg_restore: error: could not execute query: ERROR:  must be owner of extension plpgsql", errors.Forbidden),
        ("pg_restore: error: server closed the connection unexpectedly", errors.Unavailable),
        ("psql: error: connection to server was lost", errors.Unavailable),
        ("ERROR:  could not compute MD5 hash: unsupported", errors.Refused),
        ("something that nobody has heard of", errors.Failure),
    ],
)
def test_each_complaint_has_its_failure(complaint: str, failure: type[errors.Failure]) -> None:
    found = translate(complaint, SERVER, "testing")
    assert type(found) is failure
    assert found.hint
    assert "while testing" in found.message
    assert "127.0.0.1:5432" in found.message


@pytest.mark.parametrize(
    "complaint",
    [
        'ERROR:  23505: duplicate key value violates unique constraint "mail_key"\nDETAIL:  Key (mail)=(canary-row) already exists.\nLOCATION:  x',
        'ERROR:  22P02: invalid input syntax for type integer: "canary-row"\nLINE 1: select canary-row',
        'pg_restore: error: COPY failed for table "t": ERROR:  invalid input syntax for type integer: "canary-row"\nCONTEXT:  COPY t, line 1: "canary-row"',
        'psql: error: FATAL:  password canary-password is wrong in "host=x password=canary-password"',
        "ERROR:  42601: syntax error at or near postgres://app:canary-password@127.0.0.1/data",
        "x" * 10000 + " canary-row",
    ],
)
def test_neither_rows_nor_passwords_are_shown(complaint: str) -> None:
    found = translate(complaint, SERVER, "testing")
    assert "canary" not in f"{found} {found.subject}"
    assert len(found.message) < 600
