"""workflow_object_storage on a real platform: looked at, moved to another S3 server, proved, moved again without a write, mended, and moved back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.contract.canaries import leaks
from tests.contract.installed import Installed
from tests.contract.playbook import Run
from tests.moves.conftest import Mover, file_with
from tests.perf.figures import at_most
from tests.proof import Measured

if TYPE_CHECKING:
    from lab.seed import Sown
    from lab.stores import ObjectStore

STAGES = ["prepare", "copy", "freeze", "back up", "copy the rest", "switch", "refresh copies", "thaw"]
KEYFILE = "objectstorage-keyfile"


@pytest.fixture(scope="module")
def mover(hephy: Installed, sown: Sown, store: ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> Mover:
    from lab.stores import WRITE

    folder = tmp_path_factory.mktemp("object-storage")
    store.make_bucket("registry", "git", "dbwal")
    account = store.add_user(dict.fromkeys(("registry", "git", "dbwal"), WRITE))
    options = {
        "endpoint": store.endpoint,
        "access_key_file": file_with(folder, account.access_key + "\n"),
        "secret_key_file": file_with(folder, account.secret_key),
        "work_folder": str(folder / "work"),
    }
    return Mover(hephy, folder, "workflow_object_storage", options)


class Told:
    """The runs of the move, in their order, each with what it wrote."""

    def __init__(self, mover: Mover, sown: Sown, store: ObjectStore) -> None:
        self.before = mover.platform.documents()
        self.checked = mover.result("--check")
        self.checked_writes = mover.writes
        self.untouched = mover.platform.documents() == self.before
        self.moved: Run = mover.run().ok()
        self.moved_writes = mover.writes
        self.again = mover.result()
        self.again_writes = mover.writes
        self.as_module = mover.result(as_module=True)
        self.in_store = [ledger.wrong(store.client()) for ledger in sown.ledgers]


@pytest.fixture(scope="module")
def told(mover: Mover, sown: Sown, store: ObjectStore) -> Told:
    return Told(mover, sown, store)


def stages(result: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(change["stage"] for change in result["plan"]))


def shape(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(change["stage"], change["object"], change["field"]) for change in result["plan"]]


def test_check_mode_shows_the_whole_move_and_touches_nothing(told: Told) -> None:
    assert stages(told.checked) == STAGES
    assert told.checked_writes == []
    assert told.untouched


def test_the_move_does_what_was_shown(told: Told) -> None:
    result = dict(told.moved.result("move"))
    assert shape(result) == shape(told.checked)
    assert result["proof"]["verdict"] == "pass"
    assert result["findings"][0]["status"] == "fixed"


def test_every_object_is_equal_by_sha_256_in_the_new_store(told: Told, sown: Sown, measured: Measured) -> None:
    count = sum(len(ledger.objects) for ledger in sown.ledgers)
    assert count > 10
    measured(at_most("objects that differ in the new store, by SHA-256", sum(map(len, told.in_store)), f"of {count}", 0))


def test_a_second_run_writes_nothing_and_changes_nothing(told: Told) -> None:
    assert told.again_writes == []
    assert not told.again["changed"]
    assert told.again["plan"] == []
    assert not told.as_module["changed"]
    assert told.as_module["findings"] == told.again["findings"]


def test_no_secret_is_seen(told: Told, mover: Mover, store: ObjectStore) -> None:
    secrets = {Path(mover.options[name]).read_text().strip() for name in ("access_key_file", "secret_key_file")} | {store.root.secret_key}
    assert not leaks(secrets, told.moved.output)
    assert not leaks(secrets, str(told.moved.records))


def test_images_and_apps_work_while_the_old_store_is_off(told: Told, mover: Mover, sown: Sown) -> None:
    cluster, namespace = mover.platform.cluster, mover.platform.namespace
    cluster.kubectl("scale", "deployment/deis-minio", "-n", namespace, "--replicas=0")
    try:
        cluster.kubectl("wait", "-n", namespace, "--for=delete", "pod", "-l", "app=deis-minio", "--timeout=60s")
        assert sown.pull() > 0
        (app,) = sown.apps
        app.restart()
        app.wait()
        assert app.serves()
    finally:
        # It has no volume: what it held is gone now, which is why it is not scaled down without being asked.
        cluster.kubectl("scale", "deployment/deis-minio", "-n", namespace, "--replicas=1")


@pytest.mark.proof
def test_a_credential_that_was_changed_outside_is_mended(told: Told, mover: Mover) -> None:
    patch = '{"data": {"secretkey": "c29tZWJvZHkgZWxzZQ=="}}'
    mover.platform.cluster.kubectl("patch", "secret", KEYFILE, "-n", mover.platform.namespace, "--type=merge", "-p", patch)
    result = mover.result()
    assert {change["object"] for change in result["plan"] if change["object"].startswith("Secret")} == {f"Secret {mover.platform.namespace}/{KEYFILE}"}
    assert "freeze" not in stages(result)
    assert mover.result()["plan"] == []


def test_a_wrong_secret_key_stops_before_anything_is_touched(told: Told, mover: Mover, tmp_path: Path) -> None:
    run = mover.run(secret_key_file=file_with(tmp_path, "not-the-secret-key"))
    assert run.status != 0
    assert mover.writes == []


def test_back_to_the_bundled_store(told: Told, mover: Mover, sown: Sown) -> None:
    result = mover.result(state="reverted")
    assert result["changed"]
    assert sown.pull() > 0
    after = mover.platform.documents(("Deployment",))
    for ref, document in told.before.items():
        if ref.kind == "Deployment":
            assert document["spec"]["template"]["spec"] == after[ref]["spec"]["template"]["spec"], ref
    assert not mover.result(state="reverted")["changed"]
