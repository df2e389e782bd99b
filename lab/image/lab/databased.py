"""Stands in for Grafana: it is well while its database answers, to which it keeps a connection.

Arguments as those of answer.py; PORT/PATH=database is 200 while the database of GF_DATABASE_URL answers, else 503.
"""

from __future__ import annotations

import os
import sys

import answer

sys.path.append("/lab/standin")
import accounts
import psycopg2


def main(arguments):
    url = os.environ["GF_DATABASE_URL"].replace("postgres://", "postgresql://", 1)
    # It has no table of users here: only the question and the kept connection are wanted.
    database = accounts.Accounts({"dsn": url}, table="", anonymous=False)

    def well():
        try:
            database.ask()
        except psycopg2.Error:
            return 503
        return 200

    ports = answer.parsed([argument.removesuffix("=database") for argument in arguments])
    for argument in arguments:
        port, _, path = argument.partition("/")
        if path.endswith("=database"):
            ports[int(port)][0]["/" + path.removesuffix("=database")] = well
    answer.serve(ports)


main(sys.argv[1:])
