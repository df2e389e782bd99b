"""Runs the verbs of the modules as Ansible would, with the options checked and the defaults filled in."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.paas.hardening.plugins.module_utils._backup import drill, reading, recovery_point
from ansible_collections.paas.hardening.plugins.module_utils._backup.restore import job
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Verb, run


def parameters(verb: Verb, options: Mapping[str, Any]) -> dict[str, Any]:
    validation = ArgumentSpecValidator(verb.arguments).validate(dict(options))
    assert not validation.error_messages, validation.error_messages
    checked: dict[str, Any] = validation.validated_parameters
    return checked


def key_file(folder: Path, name: str = "key") -> str:
    """A new key in a file."""
    path = folder / name
    if not path.exists():
        path.touch(0o600)
        path.write_text(secrets.token_hex(32) + "\n")
    return str(path)


def options_for(folder: Path, etcd: Mapping[str, Any], **changed: Any) -> dict[str, Any]:
    given = {"repository": str(folder / "repository"), "signing_key_file": key_file(folder), "kinds": ["etcd"], "etcd": dict(etcd)}
    return {**given, **changed}


def backup(folder: Path, etcd: Mapping[str, Any], check: bool = False, **changed: Any) -> dict[str, Any]:
    """Run workflow_backup."""
    return run(recovery_point.VERB.begin, parameters(recovery_point.VERB, options_for(folder, etcd, **changed)), check=check, diff=True)


def look(folder: Path, **changed: Any) -> dict[str, Any]:
    """Run workflow_backup_info."""
    given = {"repository": str(folder / "repository"), "signing_key_file": key_file(folder), **changed}
    return run(reading.VERB.begin, parameters(reading.VERB, given), check=False, diff=False)


def drilled(folder: Path, **changed: Any) -> dict[str, Any]:
    """Run workflow_restore_drill."""
    given = {"repository": str(folder / "repository"), "signing_key_file": key_file(folder), **changed}
    return run(drill.VERB.begin, parameters(drill.VERB, given), check=False, diff=False)


def brought_back(folder: Path, check: bool = False, **changed: Any) -> dict[str, Any]:
    """Run workflow_restore."""
    given = {"repository": str(folder / "repository"), "signing_key_file": key_file(folder), **changed}
    return run(job.VERB.begin, parameters(job.VERB, given), check=check, diff=True)


def refused(result: dict[str, Any]) -> tuple[str, str]:
    assert result.get("failed"), result
    return result["failure"]["reason"], result["msg"]
