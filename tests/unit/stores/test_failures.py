"""What rclone's errors mean. The texts are those that rclone 1.75 logged before real stores."""

from __future__ import annotations

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Forbidden, Invalid, NotFound, NotProven, Refused, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.failures import read_complaint

ANSWER = "operation error S3: PutObject, https response error StatusCode: {}, RequestID: 18EA2362289344DD, HostID: 61f2fc82, api error {}: said the store"


@pytest.mark.parametrize(
    ("text", "kind", "ends_all"),
    [
        (ANSWER.format(403, "SignatureDoesNotMatch"), Invalid, True),
        (ANSWER.format(403, "InvalidAccessKeyId"), Invalid, True),
        (ANSWER.format(403, "RequestTimeTooSkewed"), Invalid, True),
        (ANSWER.format(400, "AuthorizationHeaderMalformed"), Invalid, True),
        (ANSWER.format(403, "AccessDenied"), Forbidden, True),
        (ANSWER.format(404, "NoSuchBucket"), NotFound, True),
        (ANSWER.format(404, "NoSuchKey"), NotFound, False),
        (ANSWER.format(507, "XMinioStorageFull"), Refused, True),
        ("Failed to copy: preallocate: file too big for remaining disk space", Unavailable, True),
        (ANSWER.format(507, "InsufficientStorage"), Refused, True),
        (ANSWER.format(403, "QuotaExceeded"), Refused, True),
        (ANSWER.format(400, "XMinioInvalidObjectName"), Refused, False),
        (ANSWER.format(503, "SlowDown"), Unavailable, False),
        (ANSWER.format(500, "InternalError"), Unavailable, False),
        ('request send failed, Get "http://127.0.0.1:1/b?prefix=": dial tcp 127.0.0.1:1: connect: connection refused', Unavailable, False),
        ("corrupted on transfer: md5 hashes differ src(S3 bucket a) and dst(S3 bucket b)", NotProven, False),
        ("corrupted on transfer: sizes differ src(S3 bucket a) 10 and dst(S3 bucket b) 5", NotProven, False),
        ("failed to open source object: object not found", NotFound, False),
        ("error listing: directory not found", NotFound, True),
        ("tls: failed to verify certificate: x509: certificate signed by unknown authority", Invalid, True),
        ("something that nobody has seen yet", Failure, True),
    ],
)
def test_meaning(text: str, kind: type[Failure], ends_all: bool) -> None:
    complaint = read_complaint(text, "folder/key", ())
    failure = complaint.as_failure("https://s3.example.com")
    assert type(failure) is kind
    assert complaint.cause.ends_all is ends_all
    assert failure.hint
    assert "folder/key" in failure.message


def test_secrets_and_signatures_are_hidden() -> None:
    text = 'Get "https://s3.example.com/b/k?X-Amz-Signature=abcdef&X-Amz-Credential=x": canary-0123 said: secret_access_key=another'
    complaint = read_complaint(text, "k/canary-0123", ("canary-0123",))
    shown = str(complaint.as_failure("x"))
    for hidden in ("canary-0123", "abcdef", "another"):
        assert hidden not in shown


def test_long_texts_are_cut() -> None:
    assert len(read_complaint("x" * 10_000, "", ()).text) < 400
