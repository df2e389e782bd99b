# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the errors of rclone mean: a table from its words, and those of the stores behind it, to our failures."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Sequence, Tuple, Type

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Forbidden, Invalid, NotFound, NotProven, Refused, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._core.redact import scrub

_LONGEST = 300
# Numbers of requests and hosts differ in every answer and help nobody but the store's own support.
_NOISE = re.compile(r"RequestID: \S*,? ?|HostID: \S*,? ?")
# What Go says of a request holds its address, signature included where the address was signed beforehand.
_QUERY = re.compile(r"(https?://[^\s\"?]+)\?[^\s\"]*")


@dataclass(frozen=True)
class Cause:
    """One kind of error. ``ends_all``: going on with other objects would only repeat it."""

    failure: Type[Failure]
    sentence: str
    hint: str
    ends_all: bool = True


@dataclass(frozen=True)
class Complaint:
    """One error that rclone logged: what it means, about which object (empty: none), and its text without secrets."""

    cause: Cause
    key: str
    text: str

    def as_failure(self, where: str) -> Failure:
        about = f" ({self.key})" if self.key else ""
        return self.cause.failure(f"{self.cause.sentence}: {where}{about}. rclone: {self.text}", self.cause.hint, self.key or where)


UNKNOWN_CAUSE = Cause(Failure, "rclone failed", "Its own words say more.")
NO_BUCKET = Cause(NotFound, "The bucket does not exist", "Create it, or ask for its creation.")
VANISHED = Cause(NotFound, "An object is gone", "It was deleted meanwhile, or has a name that cannot be asked for.", ends_all=False)
UNREACHABLE = Cause(
    Unavailable, "The store does not answer", "See that it runs and can be reached from here, then start again: what is done is kept.", ends_all=False
)
CORRUPT = Cause(NotProven, "What arrived is not what was sent", "Something between the stores changes content: a proxy, or the store itself.", ends_all=False)

# The first line that fits is taken: what is precise stands before what is general.
_TABLE: Tuple[Tuple[Tuple[str, ...], Cause], ...] = (
    (
        ("RequestTimeTooSkewed", "RequestExpired", "difference between the request time and"),
        Cause(Invalid, "The clocks are too far apart", "Set the clock of this host, or of the store: signed requests allow for 15 minutes."),
    ),
    (
        # rclone lays a file out before it writes it, on our side only.
        ("too big for remaining disk space",),
        Cause(Unavailable, "This host has no room for what is read from the store", "Make room where the work is done, then start again: nothing is lost."),
    ),
    (
        ("StorageFull", "no space left", "QuotaExceeded", "InsufficientStorage", "StatusCode: 507", "disk quota exceeded", "EDQUOT", "InsufficientCapacity"),
        Cause(Refused, "The store is full, or a quota is", "Make room or raise the quota, then start again: what is done is kept."),
    ),
    (
        (
            *("ParentIsFile", "ParentIsObject", "ParentIsDir", "DirectoryObject", "ExistsAsDirectory"),
            *("InvalidObjectName", "InvalidResourceName", "KeyTooLong", "NameTooLong", "file name too long"),
        ),
        Cause(Refused, "The target cannot hold an object of this name", "Take a target that can, or rename the object.", ends_all=False),
    ),
    (
        (
            *(
                "SignatureDoesNotMatch",
                "Server failed to authenticate the request",
                "InvalidAccessKeyId",
                "AuthFailure",
                "AuthenticationFailed",
                "ExpiredToken",
                "InvalidToken",
                "Authorization Failed",
            ),
            *("StatusCode: 401", "Error 401", "invalid_grant", "cannot fetch token"),
            *("no EC2 IMDS role", "refresh cached credentials", "NoCredentialProviders", "failed to retrieve credentials"),
        ),
        Cause(Invalid, "The store does not accept the credentials", "Check the key and its secret, or the role of this machine."),
    ),
    (
        ("AuthorizationHeaderMalformed", "PermanentRedirect", "StatusCode: 301", "BucketRegionError", "LocationConstraint"),
        Cause(Invalid, "The bucket is in another region", "Set the region that the bucket is in."),
    ),
    (("InvalidBucketName",), Cause(Invalid, "The store does not allow this name of a bucket", "Take another name.")),
    (
        ("BucketAlreadyExists", "BucketAlreadyOwnedByYou"),
        Cause(Refused, "A bucket of this name exists already", "It belongs to somebody else, or was made meanwhile: take another name, or start again."),
    ),
    (
        ("AccessDenied", "AllAccessDisabled", "PermissionMismatch", "InsufficientPermissions", "StatusCode: 403", "Error 403", "Forbidden"),
        Cause(Forbidden, "The identity may not do this", "Grant it to list the bucket, and to read, write and delete its objects."),
    ),
    (("NoSuchBucket", "ContainerNotFound", "Container Not Found", "bucket doesn't exist", "bucket does not exist"), NO_BUCKET),
    (
        ("x509", "certificate", "tls: ", "server gave HTTP response"),
        Cause(Invalid, "There is no trusted TLS connection to the store", "Give its authority as ca_file, or use the scheme that it speaks."),
    ),
    (
        (
            *("corrupted on transfer", "sizes differ", "hash differ", "hashes differ", "md5 differ", "BadDigest", "Content-MD5", "ContentSHA256Mismatch"),
            "with Body length",
        ),
        CORRUPT,
    ),
    (("directory not found",), NO_BUCKET),
    (("object not found", "NoSuchKey", "BlobNotFound", "Object Not Found", "StatusCode: 404"), VANISHED),
    (
        (
            *("StatusCode: 5", "StatusCode: 429", "StatusCode: 0", "Error 5", "SlowDown", "ServiceUnavailable", "InternalError", "ServerBusy"),
            *("connection refused", "connection reset", "no such host", "no route to host", "network is unreachable", "broken pipe"),
            *("timeout", "deadline exceeded", "EOF", "request send failed", "maximum number of attempts", "deserialization failed", "XML syntax"),
        ),
        UNREACHABLE,
    ),
)


def read_complaint(text: str, key: str, secrets: Sequence[str]) -> Complaint:
    """Return what an error text of rclone means, with every given secret hidden."""
    shown = _NOISE.sub("", _QUERY.sub(r"\1", scrub(text, secrets)))
    cause = next((cause for words, cause in _TABLE if any(word in text for word in words)), UNKNOWN_CAUSE)
    return Complaint(cause, scrub(key, secrets), shown if len(shown) <= _LONGEST else shown[:_LONGEST] + "...")
