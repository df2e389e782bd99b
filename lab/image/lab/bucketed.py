"""Stands in for a component that keeps its things in a bucket, and is well only while it can list it: the builder, Quickwit.

Arguments as those of answer.py; PORT/PATH=bucket is 200 while the bucket S3_BUCKET is listed by the account that the process started with, else 503.
"""

from __future__ import annotations

import os
import sys
import threading

import answer
import s3


def watched(arguments, well):
    """What answer.py serves, with the function `well` where the bucket is meant."""
    plain = [argument.removesuffix("=bucket") for argument in arguments]
    ports = answer.parsed(plain)
    for argument, name in zip(arguments, plain, strict=True):
        if argument != name:
            port, _, path = name.partition("/")
            ports[int(port)][0]["/" + path] = well
    return ports


def main(arguments):
    store, bucket = s3.Store.of_environment(), os.environ["S3_BUCKET"]

    def well():
        try:
            return 200 if store.lists(bucket) else 503
        except OSError:
            return 503

    threading.Thread(target=s3.wait_for_bucket, args=(store, bucket), daemon=True).start()
    answer.serve(watched(arguments, well))


main(sys.argv[1:])
