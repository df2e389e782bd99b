"""The few S3 requests that the lab's database and registry need: s3.py make-bucket BUCKET | put BUCKET/KEY | get BUCKET/KEY.

Environment: S3_ENDPOINT (URL), S3_CREDENTIALS (a folder with the files accesskey and secretkey). put reads stdin, get writes stdout.
Exit status 0 when done, 3 when the object is not there, 1 for anything else; make-bucket waits until the store answers.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

REGION = "us-east-1"


def secret(name):
    with open(os.path.join(os.environ["S3_CREDENTIALS"], name), encoding="utf-8") as file:
        return file.read()


def signed(method, path, body, moment):
    """The headers of a request with a signature of version 4."""
    host = urllib.parse.urlsplit(os.environ["S3_ENDPOINT"]).netloc
    digest = hashlib.sha256(body).hexdigest()
    stamp, day = moment.strftime("%Y%m%dT%H%M%SZ"), moment.strftime("%Y%m%d")
    names = "host;x-amz-content-sha256;x-amz-date"
    canonical = f"{method}\n{path}\n\nhost:{host}\nx-amz-content-sha256:{digest}\nx-amz-date:{stamp}\n\n{names}\n{digest}"
    scope = f"{day}/{REGION}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = b"AWS4" + secret("secretkey").encode()
    for part in (day, REGION, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    credential = f"{secret('accesskey')}/{scope}"
    authorization = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
    return {"x-amz-content-sha256": digest, "x-amz-date": stamp, "Authorization": authorization}


def send(method, path, body=b""):
    """(status, body) of one request. Raises OSError when the store cannot be reached."""
    headers = signed(method, path, body, datetime.datetime.now(datetime.UTC))
    request = urllib.request.Request(os.environ["S3_ENDPOINT"] + path, data=body or None, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, b""


def main(verb, target):
    path = "/" + urllib.parse.quote(target)
    if verb == "make-bucket":
        # 409: it is there already
        while send_or_wait("PUT", path)[0] not in (200, 409):
            time.sleep(0.5)
        return 0
    status, body = send("PUT", path, sys.stdin.buffer.read()) if verb == "put" else send("GET", path)
    if status == 404:
        return 3
    sys.stdout.buffer.write(body)
    return 0 if status == 200 else 1


def send_or_wait(method, path):
    """As send, but a store that is not there yet gives status 0."""
    try:
        return send(method, path)
    except OSError:
        return 0, b""


sys.exit(main(*sys.argv[1:3]))
