"""A program that a user brings is put in its place only when it is the one that he named, and can become what it was."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, Refused
from ansible_collections.paas.hardening.plugins.module_utils._host import accounts, program, units

GOOD = b"#!/bin/sh\nexit 0\n"
DIGEST = hashlib.sha256(GOOD).hexdigest()


def wanted(folder: Path, content: bytes = GOOD, digest: str = DIGEST) -> program.Wanted:
    given = folder / "given"
    given.write_bytes(content)
    return program.Wanted(str(folder / "bin" / "server"), digest, str(given), "a server", "some_server")


def test_it_is_put_there_once_and_for_everybody_to_run(tmp_path: Path) -> None:
    one = wanted(tmp_path)
    program.put(one)
    assert program.look(one.path) == program.Seen(DIGEST, program.MODE)
    os.chmod(one.path, 0o777)
    (tmp_path / "given").unlink()
    program.put(one)
    assert program.look(one.path) == program.Seen(DIGEST, program.MODE)


def test_another_one_is_refused_and_leaves_what_there_is(tmp_path: Path) -> None:
    program.put(wanted(tmp_path))
    other = wanted(tmp_path, b"another", "0" * 64)
    for act in (lambda: program.require(other, DIGEST), lambda: program.put(other)):
        with pytest.raises(Refused) as raised:
            act()
        assert raised.value.subject == "binary_sha256"
    assert program.look(other.path).digest == DIGEST
    assert sorted(os.listdir(tmp_path / "bin")) == ["server"]


def test_what_was_there_before_comes_back_until_it_is_forgotten(tmp_path: Path) -> None:
    program.put(wanted(tmp_path))
    later = wanted(tmp_path, b"later", hashlib.sha256(b"later").hexdigest())
    program.put(later)
    program.put_back(later.path)
    assert program.look(later.path).digest == DIGEST
    program.put(later)
    program.forget_former(str(tmp_path / "bin"))
    program.put_back(later.path)
    assert program.look(later.path).digest == later.digest


def test_what_is_not_there_is_asked_for_by_the_option_s_name(tmp_path: Path) -> None:
    nowhere = wanted(tmp_path)._replace(given="")
    with pytest.raises(program.ProgramNeeded) as raised:
        program.put(nowhere)
    assert "some_server_binary" in raised.value.hint
    with pytest.raises(Refused):
        program.require(nowhere, "")
    program.require(nowhere, DIGEST)
    assert program.digest_given(f" {DIGEST.upper()}\n") == DIGEST
    with pytest.raises(Invalid):
        program.digest_given("abc")


def test_this_very_process_is_found_with_its_words() -> None:
    found = program.process_of("no-such-unit.service", os.getpid(), "/proc/self/exe")
    assert found
    assert (found.number, found.current, "PATH" in found.environment) == (os.getpid(), True, True)
    assert program.process_of("no-such-unit.service", 0, "/bin/true") is None


@pytest.mark.parametrize(("number", "shell", "harmless"), [(999, "/usr/sbin/nologin", True), (999, "/bin/sh", False), (0, "/usr/sbin/nologin", False)])
def test_an_account_is_harmless_when_nobody_logs_in_and_it_is_not_root(number: int, shell: str, harmless: bool) -> None:
    assert accounts.Account(number, shell).harmless == harmless


def test_drop_ins_of_the_distribution_are_for_all_units() -> None:
    listed = "/usr/lib/systemd/system/service.d/10-timeout.conf /etc/systemd/system/a.service.d/b.conf /run/systemd/system/a.service.d/c.conf"
    assert units.drop_ins(listed) == ("/etc/systemd/system/a.service.d/b.conf", "/run/systemd/system/a.service.d/c.conf")
