# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects of one bucket of an S3 store, with their versions and locks: listed, put without ever replacing one, read, locked longer, deleted. Needs botocore."""

from __future__ import annotations

import base64
import hashlib
import os
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Conflict, Failure, Forbidden, NotFound, NotProven, Unauthorized, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.bucket_api import VERSIONING, BucketApi, Unsupported
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.store import Store

GOVERNANCE, COMPLIANCE = "GOVERNANCE", "COMPLIANCE"
_KIND = "objects"
# Bytes. A larger file goes in parts, of which no store takes more than 10,000 and one lies in memory.
_PART, _MOST_PARTS = 16 << 20, 10_000
_CHUNK = 1 << 20
_DAY = 86400.0
_THERE = ("PreconditionFailed", "ConditionalRequestConflict")
_GONE = ("NoSuchKey", "NoSuchVersion", "NoSuchUpload", "404")
_FULL = ("XMinioStorageFull", "QuotaExceeded", "InsufficientCapacity", "XMinioAdminBucketQuotaExceeded", "507")
_REVOKED = ("NoSuchUser", "UserDisabled", "AccountProblem", "InvalidAccessKeyId", "XMinioInvalidIAMCredentials")


class Version(NamedTuple):
    """One version of an object: its size in bytes and when it was written, in seconds since 1970. ``marker``: it only hides the versions before it."""

    key: str
    size: int
    written: float
    name: str
    marker: bool


class Lock(NamedTuple):
    """Until when (seconds since 1970, 0 for never) a version cannot be deleted, in which mode, and whether somebody holds it beyond that."""

    mode: str = ""
    until: float = 0.0
    held: bool = False


class Protection(NamedTuple):
    """What a bucket does for its objects: it keeps versions, it can lock them, and how long it locks each by itself (seconds, 0 for not at all)."""

    versions: bool
    locks: bool
    mode: str = ""
    seconds: float = 0.0


class Upload(NamedTuple):
    """Parts of an object that somebody began to write, in seconds since 1970."""

    key: str
    name: str
    began: float


class Content(NamedTuple):
    """What an object said of itself when it was read."""

    size: int
    sha256: str


class ObjectApi(BucketApi):
    """The objects of one bucket."""

    def __init__(self, store: Store, bucket: str) -> None:
        super().__init__(store)
        store.check_bucket(bucket)
        self.bucket = bucket
        self.where = f"{bucket} at {store.name}"
        # The store's clock at the last answer, in seconds since 1970.
        self.now = 0.0
        self._conditional = self._takes("PutObject", "IfNoneMatch") and self._takes("CompleteMultipartUpload", "IfNoneMatch")

    def _takes(self, operation: str, member: str) -> bool:
        return member in self._signed.meta.service_model.operation_model(operation).input_shape.members

    def _ask(self, operation: str, kind: str, bucket: str, **given: Any) -> Dict[str, Any]:
        answer = super()._ask(operation, kind, bucket, **given)
        date = ((answer.get("ResponseMetadata") or {}).get("HTTPHeaders") or {}).get("date")
        if date:
            self.now = parsedate_to_datetime(date).timestamp()
        return answer

    def _do(self, operation: str, **given: Any) -> Dict[str, Any]:
        return self._ask(operation, _KIND, self.bucket, **given)

    def _meaning(self, answer: Mapping[str, Any], operation: str, kind: str, bucket: str) -> Failure:
        status = int((answer.get("ResponseMetadata") or {}).get("HTTPStatusCode") or 0)
        code = str((answer.get("Error") or {}).get("Code") or status)
        where = f"{self.where} ({operation}: {code})"
        if code in _THERE or status == 412:
            return Conflict(f"The object is there already: {where}.", "Run again.", bucket, status)
        if code in _FULL or status == 507:
            return Unavailable(f"The store is full: {where}.", "Make room there; what was copied before is untouched.", bucket, status)
        if code in _REVOKED:
            return Unauthorized(f"The store does not accept the credentials: {where}.", "Give a keys_file with keys that it knows.", bucket, status)
        if code == "InvalidRequest" and operation == "delete_object":
            return Forbidden(f"The store refuses to delete what is locked: {where}.", "Wait until its lock has run out.", bucket, status)
        if code in _GONE and operation in ("get_object", "head_object", "put_object_retention"):
            return NotFound(f"An object is not there: {where}.", "Somebody deleted it.", bucket, status)
        return super()._meaning(answer, operation, kind, bucket)

    def protection(self) -> Protection:
        """Return how the bucket keeps what is in it. Raises NotFound for a bucket that is not there, and what else the store says."""
        self._do("list_objects_v2", MaxKeys=1)
        try:
            versions = self.read(VERSIONING, self.bucket).get("Status") == "Enabled"
        except Unsupported:
            versions = False
        try:
            found = self._do("get_object_lock_configuration").get("ObjectLockConfiguration") or {}
        except Failure as failure:
            if isinstance(failure, (Unauthorized, Unavailable)) or failure.status == 403:
                raise
            return Protection(versions, False)
        rule = (found.get("Rule") or {}).get("DefaultRetention") or {}
        seconds = (int(rule.get("Days") or 0) + 366 * int(rule.get("Years") or 0)) * _DAY
        locks = found.get("ObjectLockEnabled") == "Enabled"
        return Protection(versions or locks, locks, str(rule.get("Mode") or ""), seconds)

    def entries(self, prefix: str, versions: bool) -> Iterator[Version]:
        """Yield what lies below a prefix, with every version where the bucket keeps them, the newest of a key first. A page of a thousand is one request."""
        if not versions:
            yield from self._plain_entries(prefix)
            return
        given: Dict[str, Any] = {}
        while True:
            page = self._do("list_object_versions", Prefix=prefix, **given)
            for name, marker in (("Versions", False), ("DeleteMarkers", True)):
                for entry in page.get(name) or ():
                    yield Version(entry["Key"], int(entry.get("Size") or 0), entry["LastModified"].timestamp(), str(entry.get("VersionId") or ""), marker)
            if not page.get("IsTruncated"):
                return
            given = {"KeyMarker": page["NextKeyMarker"]}
            if page.get("NextVersionIdMarker"):
                given["VersionIdMarker"] = page["NextVersionIdMarker"]

    def _plain_entries(self, prefix: str) -> Iterator[Version]:
        given: Dict[str, Any] = {}
        while True:
            page = self._do("list_objects_v2", Prefix=prefix, **given)
            for entry in page.get("Contents") or ():
                yield Version(entry["Key"], int(entry["Size"]), entry["LastModified"].timestamp(), "", False)
            if not page.get("IsTruncated"):
                return
            given = {"ContinuationToken": page["NextContinuationToken"]}

    def put(self, key: str, path: str, lock: Lock) -> str:
        """Put a file as a new object, whole or not at all; return the name of its version. Raises Conflict when there is such an object already."""
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > _PART:
                return self._put_in_parts(key, file, size, lock)
            return self.put_bytes(key, file.read(), lock)

    def put_bytes(self, key: str, content: bytes, lock: Lock) -> str:
        """Do the same with bytes."""
        given: Dict[str, Any] = {"Key": key, "Body": content, "ContentMD5": _md5(content), **_locked(lock)}
        return str(self._put_new("put_object", given).get("VersionId") or "")

    def _put_new(self, operation: str, given: Mapping[str, Any]) -> Dict[str, Any]:
        """Ask the store to refuse when the key is taken; one that does not know that condition is asked without it, as ``self._conditional`` then says."""
        if self._conditional:
            try:
                return self._do(operation, IfNoneMatch="*", **given)
            except Unsupported:
                self._conditional = False
        return self._do(operation, **given)

    def _put_in_parts(self, key: str, file: Any, size: int, lock: Lock) -> str:
        each = max(_PART, -(-size // _MOST_PARTS))
        upload = str(self._do("create_multipart_upload", Key=key, **_locked(lock))["UploadId"])
        try:
            parts: List[Dict[str, Any]] = []
            while True:
                content = file.read(each)
                if not content:
                    break
                answer = self._do("upload_part", Key=key, UploadId=upload, PartNumber=len(parts) + 1, Body=content, ContentMD5=_md5(content))
                parts.append({"PartNumber": len(parts) + 1, "ETag": answer["ETag"]})
            done = self._put_new("complete_multipart_upload", {"Key": key, "UploadId": upload, "MultipartUpload": {"Parts": parts}})
        except Failure as failure:
            try:
                self.abort(Upload(key, upload, 0.0))
            except Failure as second:
                failure.hint = f"{failure.hint} Parts stay there: {second.message}"
            raise
        return str(done.get("VersionId") or "")

    def fetch(self, key: str, version: str, take: Callable[[bytes], Any]) -> Content:
        """Read an object piece by piece, and return what came. Raises NotFound, NotProven when it broke off, Unavailable."""
        given = {"VersionId": version} if version else {}
        answer = self._do("get_object", Key=key, **given)
        summed, size = hashlib.sha256(), 0
        try:
            while True:
                chunk = answer["Body"].read(_CHUNK)
                if not chunk:
                    break
                summed.update(chunk)
                size += len(chunk)
                take(chunk)
        except (self._errors.BotoCoreError, self._errors.HTTPClientError) as error:
            raise self._unreachable(error) from None
        finally:
            answer["Body"].close()
        if size != int(answer["ContentLength"]):
            raise NotProven(f"{key} broke off after {size} bytes: {self.where}.", "Run again.", key)
        return Content(size, summed.hexdigest())

    def lock_of(self, key: str, version: str) -> Lock:
        """Return how an object is locked. Raises NotFound."""
        given = {"VersionId": version} if version else {}
        # Not every store says it to who reads the object.
        answer = self._do("head_object", Key=key, **given)
        until = answer.get("ObjectLockRetainUntilDate")
        return Lock(str(answer.get("ObjectLockMode") or ""), until.timestamp() if until else 0.0, answer.get("ObjectLockLegalHoldStatus") == "ON")

    def lock_longer(self, key: str, version: str, lock: Lock) -> None:
        """Lock a version until later than it is."""
        until = datetime.fromtimestamp(lock.until, timezone.utc)
        given = {"VersionId": version} if version else {}
        self._do("put_object_retention", Key=key, Retention={"Mode": lock.mode, "RetainUntilDate": until}, **given)

    def delete(self, key: str, version: str) -> None:
        """Delete one version for good. Raises Forbidden for one that is locked."""
        given = {"VersionId": version} if version else {}
        self._do("delete_object", Key=key, **given)

    def uploads(self, prefix: str) -> List[Upload]:
        """Return what was begun in parts and never came to its end; at most a thousand."""
        try:
            found = self._do("list_multipart_uploads", Prefix=prefix).get("Uploads") or ()
        except Unsupported:
            return []
        return [Upload(entry["Key"], entry["UploadId"], entry["Initiated"].timestamp()) for entry in found]

    def abort(self, upload: Upload) -> None:
        """Throw such parts away."""
        self._do("abort_multipart_upload", Key=upload.key, UploadId=upload.name)


def _md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def _locked(lock: Lock) -> Dict[str, Any]:
    if not lock.mode:
        return {}
    return {"ObjectLockMode": lock.mode, "ObjectLockRetainUntilDate": datetime.fromtimestamp(lock.until, timezone.utc)}
