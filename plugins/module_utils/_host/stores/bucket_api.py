# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of S3 buckets, each as a document that can be compared: read, written, and looked at without credentials. Needs botocore."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple, Type
from urllib.parse import urlsplit

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import (
    Failure,
    Forbidden,
    Invalid,
    MissingDependency,
    NotFound,
    Refused,
    Unauthorized,
    Unavailable,
)
from ansible_collections.paas.hardening.plugins.module_utils._core.redact import scrub
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.store import Store

API = "s3"
_SECONDS = {"connect": 10, "read": 60}
_ATTEMPTS = 4


class Subresource(NamedTuple):
    """One setting of a bucket: how it is read, written and taken away, and which answer of the store says that it is not there."""

    read: str
    write: str
    delete: str
    field: str
    absent: str


PUBLIC_ACCESS = "BucketPublicAccessBlock"
POLICY = "BucketPolicy"
VERSIONING = "BucketVersioning"
LIFECYCLE = "BucketLifecycle"
SUBRESOURCES: Dict[str, Subresource] = {
    PUBLIC_ACCESS: Subresource(
        "get_public_access_block",
        "put_public_access_block",
        "delete_public_access_block",
        "PublicAccessBlockConfiguration",
        "NoSuchPublicAccessBlockConfiguration",
    ),
    POLICY: Subresource("get_bucket_policy", "put_bucket_policy", "delete_bucket_policy", "Policy", "NoSuchBucketPolicy"),
    VERSIONING: Subresource("get_bucket_versioning", "put_bucket_versioning", "", "VersioningConfiguration", ""),
    LIFECYCLE: Subresource(
        "get_bucket_lifecycle_configuration",
        "put_bucket_lifecycle_configuration",
        "delete_bucket_lifecycle",
        "LifecycleConfiguration",
        "NoSuchLifecycleConfiguration",
    ),
}
_UNKNOWN_TO_THE_STORE = ("NotImplemented", "MethodNotAllowed", "XNotImplemented", "UnsupportedOperation")
_MEANING: Tuple[Tuple[Tuple[str, ...], Type[Failure], str, str], ...] = (
    (("NoSuchBucket",), NotFound, "The bucket does not exist", "Create it, or correct its name."),
    (
        ("AccessDenied", "AllAccessDisabled", "403"),
        Forbidden,
        "The credentials lack the right",
        "Grant it to the identity, or take another.",
    ),
    (
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "401"),
        Unauthorized,
        "The store does not accept the credentials",
        "Correct access_key and secret_key.",
    ),
    (("RequestTimeTooSkewed",), Invalid, "The clocks are too far apart", "Set the clock of this host, or of the store: signed requests allow for 15 minutes."),
    (("SlowDown", "ServiceUnavailable", "InternalError", "500", "503"), Unavailable, "The store cannot answer now", "Run again in a while."),
)


class Unsupported(Refused):
    """The store has no such setting."""


class BucketApi:
    """The buckets of one S3 store."""

    def __init__(self, store: Store) -> None:
        try:
            import botocore.config
            import botocore.exceptions
            import botocore.session
        except ImportError:
            raise MissingDependency(
                "The settings of buckets are reached through botocore, which is not installed here.",
                "Install it where the module runs: pip install botocore.",
                subject="botocore",
            ) from None
        self._store = store
        self._errors = botocore.exceptions
        self._config = botocore.config.Config
        self._session = botocore.session.Session()
        self._signed = self._client(store.endpoint, "s3v4")

    def _client(self, endpoint: str, signature: Any, attempts: int = _ATTEMPTS) -> Any:
        store = self._store
        config = self._config(
            signature_version=signature,
            connect_timeout=_SECONDS["connect"],
            read_timeout=_SECONDS["read"],
            retries={"total_max_attempts": attempts, "mode": "standard"},
            s3={"addressing_style": "path" if store.path_style and store.endpoint else "auto"},
            # Stores other than AWS do not know the newer checksums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        return self._session.create_client(
            "s3",
            region_name=store.region or "us-east-1",
            endpoint_url=endpoint or None,
            aws_access_key_id=store.access_key or None,
            aws_secret_access_key=store.secret_key or None,
            verify=store.ca_file or None,
            config=config,
        )

    def read(self, kind: str, bucket: str) -> Dict[str, Any]:
        """Return one setting of a bucket as a document with the parts in which the API gives it; without them when the bucket has no such setting.

        Raises Unsupported for a setting that the store does not know, NotFound, Forbidden, Unauthorized, Unavailable.
        """
        about = SUBRESOURCES[kind]
        document: Dict[str, Any] = {"apiVersion": API, "kind": kind, "metadata": {"name": bucket}}
        try:
            answer = self._ask(about.read, kind, bucket)
        except NotFound as failure:
            if failure.subject != about.absent:
                raise
            return document
        if kind == POLICY:
            return {**document, **_in_order(json.loads(answer["Policy"]))}
        found = answer.get(about.field, answer)
        return {**document, **{key: value for key, value in found.items() if key != "ResponseMetadata"}}

    def write(self, document: Mapping[str, Any]) -> None:
        """Make a bucket's setting what the document says. Without any part it is taken away."""
        kind, bucket = document["kind"], document["metadata"]["name"]
        about = SUBRESOURCES[kind]
        parts = {key: value for key, value in document.items() if key not in ("apiVersion", "kind", "metadata")}
        if kind == POLICY and not parts.get("Statement"):
            parts = {}
        if not parts and about.delete:
            self._ask(about.delete, kind, bucket)
            return
        self._ask(about.write, kind, bucket, **{about.field: json.dumps(parts) if kind == POLICY else parts})

    def some_key(self, bucket: str) -> Optional[str]:
        """Return the key of any one object, None for a bucket without objects."""
        contents = self._ask("list_objects_v2", "listing", bucket, MaxKeys=1).get("Contents") or ()
        return str(contents[0]["Key"]) if contents else None

    def anonymous(self, bucket: str, key: Optional[str]) -> List[Tuple[str, int]]:
        """Return the HTTP status that everybody gets, without credentials, for a listing and, where a key is given, for an object. Raises Unavailable."""
        import botocore

        client = self._client(self._store.endpoint, botocore.UNSIGNED)
        found = [("listing", self._status(client, "list_objects_v2", Bucket=bucket, MaxKeys=1))]
        if key is not None:
            found.append(("an object", self._status(client, "head_object", Bucket=bucket, Key=key)))
        return found

    def in_plain_text(self, bucket: str) -> Optional[int]:
        """Return the HTTP status for a listing with credentials but without TLS; None when nothing answers without TLS."""
        parts = urlsplit(self._store.endpoint or self._signed.meta.endpoint_url)
        port = f":{parts.port}" if parts.port else ""
        client = self._client(f"http://{parts.hostname}{port}", "s3v4", attempts=1)
        try:
            status = self._status(client, "list_objects_v2", Bucket=bucket, MaxKeys=1)
        except Unavailable:
            return None
        # What a server says that was spoken to in plain text where it expected TLS is no answer of the store.
        return None if status == 400 else status

    def _status(self, client: Any, operation: str, **given: Any) -> int:
        try:
            answer = getattr(client, operation)(**given)
        except self._errors.ClientError as error:
            answer = error.response
        except (self._errors.BotoCoreError, self._errors.HTTPClientError) as error:
            raise self._unreachable(error) from None
        return int(answer["ResponseMetadata"]["HTTPStatusCode"])

    def _ask(self, operation: str, kind: str, bucket: str, **given: Any) -> Dict[str, Any]:
        try:
            return dict(getattr(self._signed, operation)(Bucket=bucket, **given))
        except self._errors.ClientError as error:
            raise self._meaning(error.response, operation, kind, bucket) from None
        except self._errors.NoCredentialsError:
            raise Unauthorized(
                f"There are no credentials for {self._store.name}, and this machine has no role of its own.",
                "Give access_key and secret_key, or files with them.",
                subject="access_key",
            ) from None
        except self._errors.ParamValidationError as error:
            raise Invalid(f"{kind} of {bucket} cannot be written: {scrub(str(error))}.", "This is a defect of the collection: report it.", bucket) from None
        except (self._errors.BotoCoreError, self._errors.HTTPClientError) as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> Unavailable:
        said = scrub(str(error), self._store.secrets())
        return Unavailable(f"{self._store.name} does not answer: {said}.", "See that it runs and can be reached from here.", subject=self._store.name)

    def _meaning(self, answer: Mapping[str, Any], operation: str, kind: str, bucket: str) -> Failure:
        error, status = answer.get("Error") or {}, int((answer.get("ResponseMetadata") or {}).get("HTTPStatusCode") or 0)
        code = str(error.get("Code") or status)
        where = f"{bucket} at {self._store.name} ({operation}: {code})"
        if kind in SUBRESOURCES and code == SUBRESOURCES[kind].absent:
            return NotFound(f"{kind} is not set: {where}.", subject=code, status=status)
        if code in _UNKNOWN_TO_THE_STORE or status == 501:
            return Unsupported(f"The store has no {kind}: {where}.", "Leave the option out, or take a store that has it.", bucket, status)
        # The code says more than the status: a wrong signature is a 403, too.
        for word in (code, str(status)):
            for codes, failure, sentence, hint in _MEANING:
                if word in codes:
                    return failure(f"{sentence}: {where}.", hint, bucket, status)
        said = scrub(str(error.get("Message") or ""), self._store.secrets())
        return Invalid(f"The store refuses: {where}. {said}".strip(), "Look whether the store supports this setting.", bucket, status)


def _in_order(value: Any) -> Any:
    """Sort lists of texts: stores keep them as sets, and give them in another order each time."""
    if isinstance(value, dict):
        return {key: _in_order(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return sorted(value) if all(isinstance(entry, str) for entry in value) else [_in_order(entry) for entry in value]
    return value
