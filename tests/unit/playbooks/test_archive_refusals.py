"""The role postgres_archive stops on what it cannot use before it touches anything, and names the variable, its value and what would be right."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
STORE = {"endpoint": "s3.example.com", "bucket": "log", "key_file": "/nonexistent/keys"}
# As pg_lsclusters says it of a server that runs.
MAIN = ["17", "main", "5432", "online", "postgres", "/var/lib/postgresql/17/main"]


CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "half-a-bucket": ({"s3": {"endpoint": "s3.example.com"}}, ["postgres_archive_s3 needs endpoint, bucket and key_file"]),
    "scheme": ({"s3": {**STORE, "endpoint": "https://s3.example.com"}}, ["postgres_archive_s3.endpoint is https://s3.example.com", "without https://"]),
    "port": ({"s3": {**STORE, "endpoint": "s3.example.com:9000"}}, ["postgres_archive_s3.endpoint is s3.example.com:9000", "postgres_archive_s3.port"]),
    "folder": ({"s3": {**STORE, "bucket": "log/main"}}, ["postgres_archive_s3.bucket is log/main", "postgres_archive_path"]),
    "authority": ({"s3": {**STORE, "ca_file": "/nonexistent/ca.crt"}}, ["postgres_archive_s3.ca_file is /nonexistent/ca.crt", "chmod 644"]),
    "path": ({"path": "backups"}, ["postgres_archive_path is backups"]),
    "drops": ({"more": {"archive-push-queue-max": "1GiB"}}, ["postgres_archive_more.archive-push-queue-max is refused", "never dropped"]),
    "blind": ({"more": {"repo1-storage-verify-tls": "n"}}, ["postgres_archive_more.repo1-storage-verify-tls is refused", "always verified"]),
    "secret": ({"more": {"repo1-s3-key-secret": "x"}}, ["postgres_archive_more.repo1-s3-key-secret is refused"]),
    "own": ({"more": {"repo1-type": "posix"}}, ["postgres_archive_more.repo1-type is refused"]),
    "two-lines": ({"more": {"buffer-size": "1MiB\nrepo1-cipher-type=none"}}, ["postgres_archive_more.buffer-size is refused", "one line"]),
    "all-good-but-the-files": ({"s3": STORE, "more": {"buffer-size": "1MiB"}}, ["/nonexistent/pass has to be there, of root"]),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the role's preflight says of each case: one run, in which every case is a host of its own, and all are this machine. It only looks."""
    folder = tmp_path_factory.mktemp("preflight")
    given = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "__postgres_archive_mains": [MAIN]}
    given["postgres_archive_cipher_pass_file"] = "/nonexistent/pass"
    hosts = {name: {f"postgres_archive_{option}": value for option, value in variables.items()} for name, (variables, _words) in CASES.items()}
    inventory, book = folder / "inventory.yml", folder / "preflight.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    role = {"name": "paas.hardening.postgres_archive", "tasks_from": "preflight.yml"}
    book.write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [{"name": "Look", "ansible.builtin.include_role": role}]}]))
    settings = {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache"), "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8", "HOME": str(folder)}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    # Above the role's own.
    words = [pathlib.Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, "-e", json.dumps(given), book]
    answer = subprocess.run(words, env=kept | settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, check=False)
    assert answer.returncode == 2, answer.stdout
    said: dict[str, str] = {}
    for line in answer.stdout.splitlines():
        name = re.match(r"(?:fatal|failed): \[([a-z0-9-]+)\]", line)
        if name:
            # Each item of a loop has a line of its own.
            said[name[1]] = said.get(name[1], "") + line
    return said


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_used_is_refused(told: dict[str, str], case: str) -> None:
    assert [word for word in CASES[case][1] if word not in told[case]] == [], told[case]
