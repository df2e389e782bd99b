"""The few S3 requests that the lab needs, in its images and on this machine.

    s3.py make-bucket BUCKET      makes the bucket unless it is there; waits as long as the store does not answer or does not let it
    s3.py put BUCKET/KEY          reads stdin
    s3.py get BUCKET/KEY          writes stdout
    s3.py list BUCKET[/PREFIX]    one key a line

Environment: S3_ENDPOINT (URL), S3_REGION (us-east-1 where it is missing), S3_CREDENTIALS (a folder with the files accesskey and secretkey, read once).
Exit status 0 when done, 3 when the object or bucket is not there, 1 for anything else.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import hmac
import http.client
import os
import shutil
import ssl
import sys
import tempfile
import time
import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO

REGION = "us-east-1"
# in a pod: the cluster's own authority, which in the lab is that of everything
ACCOUNT_CA = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
EMPTY = hashlib.sha256(b"").hexdigest()
SECONDS = 15


@dataclass(frozen=True)
class Answer:
    """What one request got."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Entry:
    """One object of a listing."""

    key: str
    size: int
    etag: str


def amazon_host(region: str) -> str:
    """The host that software derives from a region of Amazon's."""
    return "s3.amazonaws.com" if region == REGION else f"s3.{region}.amazonaws.com"


def trust(*files: str) -> ssl.SSLContext:
    """Certificates of the system, and of these files where they exist."""
    context = ssl.create_default_context()
    for file in files:
        if os.path.exists(file):
            context.load_verify_locations(file)
    return context


class Store:
    """One S3 endpoint and one account; bucket names go into the path. Every call opens its own connection and raises OSError when the store is away."""

    def __init__(self, endpoint: str, access_key: str, secret_key: str, region: str = REGION, trust: ssl.SSLContext | None = None) -> None:
        self.endpoint = urllib.parse.urlsplit(endpoint)
        self.access_key, self.secret_key = access_key, secret_key
        self.region = region
        self.trust = trust

    @classmethod
    def of_environment(cls) -> Store:
        """The store that the process is told of; OSError when a file is missing."""
        texts = []
        for name in ("accesskey", "secretkey"):
            with open(os.path.join(os.environ["S3_CREDENTIALS"], name), encoding="utf-8") as file:
                texts.append(file.read())
        return cls(os.environ["S3_ENDPOINT"], texts[0], texts[1], os.environ.get("S3_REGION") or REGION, trust(ACCOUNT_CA))

    def _connection(self) -> http.client.HTTPConnection:
        if self.endpoint.scheme == "https":
            return http.client.HTTPSConnection(self.endpoint.netloc, timeout=SECONDS, context=self.trust or trust())
        return http.client.HTTPConnection(self.endpoint.netloc, timeout=SECONDS)

    def _signed(self, method: str, path: str, query: str, digest: str) -> dict[str, str]:
        """The headers of a request with a signature of version 4."""
        moment = datetime.datetime.now(datetime.UTC)
        stamp, day = moment.strftime("%Y%m%dT%H%M%SZ"), moment.strftime("%Y%m%d")
        names = "host;x-amz-content-sha256;x-amz-date"
        canonical = f"{method}\n{path}\n{query}\nhost:{self.endpoint.netloc}\nx-amz-content-sha256:{digest}\nx-amz-date:{stamp}\n\n{names}\n{digest}"
        scope = f"{day}/{self.region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = b"AWS4" + self.secret_key.encode()
        for part in (day, self.region, "s3", "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        authorization = f"AWS4-HMAC-SHA256 Credential={self.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        return {"Host": self.endpoint.netloc, "x-amz-content-sha256": digest, "x-amz-date": stamp, "Authorization": authorization}

    @contextlib.contextmanager
    def _request(self, method: str, path: str, body: bytes | IO[bytes], digest: str, query: Mapping[str, str]) -> Iterator[http.client.HTTPResponse]:
        where = urllib.parse.quote(path, safe="/-_.~")
        asked = "&".join(f"{urllib.parse.quote(name, safe='-_.~')}={urllib.parse.quote(value, safe='-_.~')}" for name, value in sorted(query.items()))
        headers = self._signed(method, where, asked, digest)
        if not isinstance(body, bytes):
            headers["Content-Length"] = str(os.fstat(body.fileno()).st_size)
        connection = self._connection()
        try:
            connection.request(method, f"{where}?{asked}" if asked else where, body or None, headers)
            yield connection.getresponse()
        except http.client.HTTPException as error:
            raise ConnectionError(f"no HTTP: {error!r}") from error
        finally:
            connection.close()

    def send(self, method: str, path: str, body: bytes = b"", query: Mapping[str, str] | None = None) -> Answer:
        """One request, its answer held in memory."""
        with self._request(method, path, body, hashlib.sha256(body).hexdigest(), query or {}) as answer:
            return Answer(answer.status, dict(answer.getheaders()), answer.read())

    def ask(self, path: str) -> int:
        """The status of a request that says nothing of who asks."""
        connection = self._connection()
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except http.client.HTTPException as error:
            raise ConnectionError(f"no HTTP: {error!r}") from error
        finally:
            connection.close()

    def make_bucket(self, bucket: str) -> int:
        """Make a bucket unless it is there; 200 when it is there afterwards, else what the store said."""
        status = self.send("HEAD", f"/{bucket}").status
        if status == 404:
            status = self.send("PUT", f"/{bucket}").status
        return 200 if status == 409 else status

    def put(self, bucket: str, key: str, file: IO[bytes]) -> int:
        """Write an object out of a file, read twice from its beginning; the status."""
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # a real file reads into buffers
        file.seek(0)
        with self._request("PUT", f"/{bucket}/{key}", file, digest, {}) as answer:
            answer.read()
            return answer.status

    def get(self, bucket: str, key: str, file: IO[bytes]) -> int:
        """Write an object to a file; the status. Raises OSError when less came than was announced."""
        with self._request("GET", f"/{bucket}/{key}", b"", EMPTY, {}) as answer:
            if answer.status == 200:
                shutil.copyfileobj(answer, file, 1 << 20)
                if answer.length:
                    raise ConnectionError(f"{answer.length} bytes of {key} are missing")
            return answer.status

    def entries(self, bucket: str, prefix: str = "") -> Iterator[Entry]:
        """Every object whose key begins so, in order. Raises FileNotFoundError for a bucket that is not there, PermissionError for any other refusal."""
        query = {"list-type": "2", "prefix": prefix}
        while True:
            answer = self.send("GET", f"/{bucket}", query=query)
            if answer.status == 404:
                raise FileNotFoundError(f"no bucket {bucket}")
            if answer.status != 200:
                raise PermissionError(f"bucket {bucket}: {answer.status}")
            tree = ET.fromstring(answer.body)
            space = tree.tag.partition("}")[0] + "}" if tree.tag.startswith("{") else ""
            for item in tree.iter(f"{space}Contents"):
                texts = [item.findtext(f"{space}{name}") or "" for name in ("Key", "Size", "ETag")]
                yield Entry(texts[0], int(texts[1]), texts[2].strip('"'))
            more = tree.findtext(f"{space}NextContinuationToken")
            if tree.findtext(f"{space}IsTruncated") != "true" or not more:
                return
            query = {**query, "continuation-token": more}

    def lists(self, bucket: str) -> bool:
        """Whether the bucket can be listed by this account."""
        return self.send("GET", f"/{bucket}", query={"list-type": "2", "max-keys": "1"}).status == 200


def wait_for_bucket(store: Store, bucket: str) -> None:
    """Make a bucket, and wait as long as that fails: without it the component is of no use. Says once why."""
    said = None
    while True:
        try:
            status = str(store.make_bucket(bucket))
        except OSError as error:
            status = str(error)
        if status == "200":
            return
        if status != said:
            print(f"bucket {bucket}: {status}", file=sys.stderr, flush=True)
        said = status
        time.sleep(0.5)


def main(verb: str, target: str) -> int:
    store = Store.of_environment()
    bucket, _, key = target.partition("/")
    if verb == "make-bucket":
        wait_for_bucket(store, bucket)
        return 0
    if verb == "list":
        try:
            for entry in store.entries(bucket, key):
                print(entry.key)
        except FileNotFoundError:
            return 3
        return 0
    if verb not in ("put", "get"):
        sys.exit(f"no such verb: {verb}")
    with tempfile.TemporaryFile() as copy:
        if verb == "put":
            shutil.copyfileobj(sys.stdin.buffer, copy)
            status = store.put(bucket, key, copy)
        else:
            status = store.get(bucket, key, copy)
            copy.seek(0)
            shutil.copyfileobj(copy, sys.stdout.buffer)
    if status == 404:
        return 3
    if status != 200:
        print(f"{verb} {target}: {status}", file=sys.stderr)
    return 0 if status == 200 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
