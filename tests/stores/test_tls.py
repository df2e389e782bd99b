"""Stores behind TLS: whoever vouches for them has to be named, and naming one does not take the others away."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.listing import peek
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.rclone import Engine
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.transfer import transfer
from tests.stores.servers import Gateway


def encrypted(folder: Path) -> Gateway:
    server = Gateway(folder)
    server.speak_tls()
    return server


@pytest.fixture(scope="module")
def one(target: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with encrypted(tmp_path_factory.mktemp("one")).running() as server:
        yield server


@pytest.fixture(scope="module")
def other(target: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with encrypted(tmp_path_factory.mktemp("other")).running() as server:
        yield server


def test_with_its_authority(engine: Engine, one: Gateway, bucket: str) -> None:
    one.bucket(bucket, {"key": b"1"})
    found, _more = peek(engine, one.store(ca_file=str(one.authority)), bucket)
    assert [entry.key for entry in found] == ["key"]


def test_without_and_with_that_of_another(engine: Engine, one: Gateway, other: Gateway, bucket: str) -> None:
    for changes in ({}, {"ca_file": str(other.authority)}):
        with pytest.raises(Invalid, match="no trusted TLS connection") as caught:
            peek(engine, one.store(**changes), bucket)
        assert "ca_file" in caught.value.hint


def test_two_stores_with_two_authorities(engine: Engine, one: Gateway, other: Gateway, bucket: str, work: str) -> None:
    one.bucket(bucket, {"key": b"1"})
    other.bucket(bucket)
    done = transfer(engine, one.store(ca_file=str(one.authority)), bucket, other.store(ca_file=str(other.authority)), bucket, work)
    assert done.proved_objects == 1


def test_one_authority_is_the_systems(engine: Engine, one: Gateway, other: Gateway, bucket: str, work: str) -> None:
    # What the machine trusts is stood for by the variable that names it.
    one.bucket(bucket, {"key": b"1"})
    other.bucket(bucket)
    before = os.environ.get("SSL_CERT_FILE")
    os.environ["SSL_CERT_FILE"] = str(one.authority)
    try:
        done = transfer(engine, one.store(), bucket, other.store(ca_file=str(other.authority)), bucket, work)
    finally:
        del os.environ["SSL_CERT_FILE"]
        if before is not None:
            os.environ["SSL_CERT_FILE"] = before
    assert done.proved_objects == 1
