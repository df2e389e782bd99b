"""A move to a server of the inventory is refused before anything is touched where that server is not declared as the platform needs it."""

from __future__ import annotations

import pathlib
import secrets
from typing import Any

import yaml

from tests.unit.playbooks.test_variables import FIRST_LOOK, play

SECRET = secrets.token_hex(20)
BUCKETS = ["dbwal", "git", "registry"]
IDENTITY = {"access_key": "paas", "secret_key": "{{ vault_paas_store_secret }}", "buckets": BUCKETS}
GOOD: dict[str, Any] = {
    "object_store_server_plain_port": 9001,
    "object_store_server_buckets": [{"name": name} for name in BUCKETS],
    "object_store_server_identities": [IDENTITY],
    "vault_paas_store_secret": SECRET,
}
FIRST_PLAY, FIRST_TASK = "Guard the hosts", "Check every variable before anything is touched"


def moved(folder: pathlib.Path, store: dict[str, Any], **variables: Any) -> str:
    """Let harden.yml move the object storage to an inventory whose store has these variables; no host is ever reached."""
    inventory = folder / "inventory.yml"
    hosts = {"s3-1": {"ansible_host": "127.0.0.1", "ansible_port": 9, **store}}
    inventory.write_text(yaml.safe_dump({"all": {"children": {"object_store": {"hosts": hosts}}}}))
    # No host of the group is asked: the hosts' plays find nobody.
    nobody = {f"hosts_{name}": "localhost:!localhost" for name in ("pattern", "object_store", "baseline")}
    status, output = play(folder, {"harden_move": ["object_storage"], **nobody, **variables}, "-i", str(inventory))
    assert status == 2, output
    assert "Traceback" not in output
    assert SECRET not in output
    return output


def test_a_store_that_is_declared_as_the_platform_needs_it_passes_the_check(tmp_path: pathlib.Path) -> None:
    assert FIRST_LOOK in moved(tmp_path, GOOD)


def test_what_is_missing_there_is_refused_before_anything_is_touched(tmp_path: pathlib.Path) -> None:
    change = {"object_store_server_identities": [{**IDENTITY, "rights": "read"}], "object_store_server_plain_port": 0}
    output = moved(tmp_path, {**GOOD, **change})
    assert "s3-1 has no identity that may write in dbwal, git, registry" in output
    assert "give it object_store_server_plain_port" in output
    assert FIRST_LOOK not in output
    assert FIRST_PLAY not in output


def test_a_store_that_is_named_is_not_judged_by_the_inventory(tmp_path: pathlib.Path) -> None:
    assert FIRST_LOOK in moved(tmp_path, {}, object_storage_endpoint="http://127.0.0.1:9", object_storage_access_key="x", object_storage_secret_key=SECRET)
