"""The role postgres_archive stops on what it cannot use before it touches anything, and names the variable, its value and what would be right."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
STORE = {"endpoint": "s3.example.com", "bucket": "log", "key_file": "/nonexistent/keys"}
# As pg_lsclusters says it of a server that runs.
MAIN = ["17", "main", "5432", "online", "postgres", "/var/lib/postgresql/17/main"]


def preflight(folder: pathlib.Path, **variables: Any) -> str:
    """Run the role's preflight on this machine, which only looks. Returns what it printed, in one line."""
    book = folder / "preflight.yml"
    role = {"name": "paas.hardening.postgres_archive", "tasks_from": "preflight.yml"}
    tasks = [{"name": "Look", "ansible.builtin.include_role": role}]
    book.write_text(yaml.safe_dump([{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}]))
    given = {
        "__postgres_archive_mains": [MAIN],
        "postgres_archive_cipher_pass_file": str(folder / "none"),
        **{f"postgres_archive_{name}": value for name, value in variables.items()},
    }
    settings = {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache"), "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8", "HOME": str(folder)}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    program = pathlib.Path(sys.executable).with_name("ansible-playbook")
    words = [program, "-i", "localhost,", "-e", json.dumps(given), "-e", f"ansible_python_interpreter={sys.executable}", book]
    answer = subprocess.run(words, env=kept | settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
    assert answer.returncode == 2, answer.stdout
    return " ".join(answer.stdout.split())


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"s3": {"endpoint": "s3.example.com"}}, ["postgres_archive_s3 needs endpoint, bucket and key_file"]),
        ({"s3": {**STORE, "endpoint": "https://s3.example.com"}}, ["postgres_archive_s3.endpoint is https://s3.example.com", "without https://"]),
        ({"s3": {**STORE, "endpoint": "s3.example.com:9000"}}, ["postgres_archive_s3.endpoint is s3.example.com:9000", "postgres_archive_s3.port"]),
        ({"s3": {**STORE, "bucket": "log/main"}}, ["postgres_archive_s3.bucket is log/main", "postgres_archive_path"]),
        ({"s3": {**STORE, "ca_file": "/nonexistent/ca.crt"}}, ["postgres_archive_s3.ca_file is /nonexistent/ca.crt", "chmod 644"]),
        ({"path": "backups"}, ["postgres_archive_path is backups"]),
        ({"more": {"archive-push-queue-max": "1GiB"}}, ["postgres_archive_more.archive-push-queue-max is refused", "never dropped"]),
        ({"more": {"repo1-storage-verify-tls": "n"}}, ["postgres_archive_more.repo1-storage-verify-tls is refused", "always verified"]),
        ({"more": {"repo1-s3-key-secret": "x"}}, ["postgres_archive_more.repo1-s3-key-secret is refused"]),
        ({"more": {"buffer-size": "1MiB\nrepo1-cipher-type=none"}}, ["postgres_archive_more.buffer-size is refused", "one line"]),
        ({"s3": STORE, "more": {"buffer-size": "1MiB"}}, ["none has to be there, of root"]),
    ],
    ids=["half a bucket", "scheme", "port", "folder", "authority", "path", "drops", "blind", "secret", "two lines", "all good but the files"],
)
def test_what_cannot_be_used_is_refused(tmp_path: pathlib.Path, variables: dict[str, Any], words: list[str]) -> None:
    output = preflight(tmp_path, **variables)
    assert [word for word in words if word not in output] == [], output
