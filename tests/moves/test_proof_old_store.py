"""After the move of a real Hephy: its old store is deleted, which asks for everything that makes it safe, and the platform goes on to yet another store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from lab import builds
from tests.backup import asking
from tests.backup.member import Etcd
from tests.contract.canaries import leaks
from tests.contract.installed import Installed
from tests.moves.conftest import Mover, file_with
from tests.stores.servers import Minio

if TYPE_CHECKING:
    from lab.seed import Sown
    from lab.stores import ObjectStore

BUCKETS = ("registry", "git", "dbwal")
OLD = "deis-minio"
pytestmark = pytest.mark.usefixtures("taken_away")


class Beside(Minio):
    """A MinIO on this machine, where the nodes and the pods see it."""

    def __init__(self, folder: Path, host: str) -> None:
        super().__init__(folder)
        self.host = host

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}:{self.port}"

    def command(self) -> Sequence[str | Path]:
        return [f"{self.host}:{self.port}" if word == f"127.0.0.1:{self.port}" else word for word in super().command()]


@pytest.fixture(scope="module")
def mover(hephy: Installed, sown: Sown, store: ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> Mover:
    """On the store outside, with the old one scaled down."""
    from lab.stores import WRITE

    folder = tmp_path_factory.mktemp("old-store")
    store.make_bucket(*BUCKETS)
    account = store.add_user(dict.fromkeys(BUCKETS, WRITE))
    options = {
        "endpoint": store.endpoint,
        "access_key_file": file_with(folder, account.access_key),
        "secret_key_file": file_with(folder, account.secret_key),
        "work_folder": str(folder / "work"),
        "overwrite": True,
    }
    mover = Mover(hephy, folder, "workflow_object_storage", options)
    mover.result()
    return mover


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The options that name a repository with a point of a real etcd, taken and restored a moment ago."""
    folder = tmp_path_factory.mktemp("backup")
    builds.ensure(["etcd", "etcdctl", "etcdutl"])
    with Etcd(folder / "member").running() as member:
        member.fill(50, 100)
        about = {"endpoints": [member.endpoint], "programs": str(member.programs)}
        certificates = {"ca_file": "ca.crt", "client_cert": "client.crt", "client_key": "client.key"}
        result = asking.backup(folder, {**about, **{name: str(member.folder / file) for name, file in certificates.items()}})
        assert not result.get("failed"), result
    return {"backup_repository": str(folder / "repository"), "backup_signing_key_file": asking.key_file(folder)}


def refusal(mover: Mover, **options: Any) -> tuple[str, str]:
    """What a run that is refused is about, and what it says. It has written nothing."""
    run = mover.run(old_store="deleted", **options)
    assert run.status != 0
    assert mover.writes == []
    result = run.result("move")
    return str(result["failure"]["object"]), str(result["msg"])


def there(mover: Mover) -> bool:
    return mover.platform.objects.find(KINDS["Deployment"], OLD, mover.platform.namespace) is not None


def test_a_store_that_runs_is_not_deleted(mover: Mover, backup: dict[str, str]) -> None:
    subject, said = refusal(mover, confirm_old_store_deletion=OLD, **backup)
    assert (subject, "still runs" in said) == (OLD, True)


def test_a_store_that_was_scaled_down_asks_for_all_that_makes_it_safe(mover: Mover, backup: dict[str, str], store: ObjectStore, tmp_path: Path) -> None:
    mover.result(old_store="scaled_down", confirm_old_store_loss=True)
    mover.platform.cluster.kubectl("wait", "-n", mover.platform.namespace, "--for=delete", "pod", "-l", f"app={OLD}", "--timeout=90s")
    assert refusal(mover, **backup)[0] == "confirm_old_store_deletion"
    assert refusal(mover, confirm_old_store_deletion="minio", **backup)[0] == "confirm_old_store_deletion"
    assert refusal(mover, confirm_old_store_deletion=OLD)[0] == "backup_repository"
    assert "has no proved point" in refusal(mover, confirm_old_store_deletion=OLD, **{**backup, "backup_kinds": ["etcd", "buckets"]})[1]
    assert "nobody knows" in refusal(mover, confirm_old_store_deletion=OLD, work_folder=str(tmp_path / "elsewhere"), **backup)[1]
    # An object that the new store has lost since is counted and named.
    client = store.client()
    key = next(entry.key for entry in client.entries("git"))
    content = client.send("GET", f"/git/{key}").body
    assert client.send("DELETE", f"/git/{key}").status in (200, 204)
    try:
        subject, said = refusal(mover, confirm_old_store_deletion=OLD, **backup)
        assert (subject, key in said) == ("forgo_objects", True)
        assert "1 gone" in said
    finally:
        assert client.send("PUT", f"/git/{key}", content).status == 200
    assert there(mover)


def test_check_mode_says_what_goes_and_then_it_goes(mover: Mover, backup: dict[str, str], sown: Sown) -> None:
    # The object that was put back has another time, and the database replaces what is its own all the time.
    given: dict[str, Any] = {"old_store": "deleted", "confirm_old_store_deletion": OLD, "forgo_objects": 10, **backup}
    checked = mover.result("--check", **given)
    assert mover.writes == []
    assert [(change["stage"], change["object"], change["field"]) for change in checked["plan"]] == [
        ("delete", f"Deployment {mover.platform.namespace}/{OLD}", "(object)")
    ]
    run = mover.run(**given).ok()
    assert run.result("move")["plan"] == checked["plan"]
    assert not leaks({Path(backup["backup_signing_key_file"]).read_text().strip()}, run.output)
    assert not there(mover)
    # What is gone needs neither a confirmation nor a backup.
    again = mover.result(old_store="deleted")
    assert (again["plan"], mover.writes) == ([], [])
    assert sown.pull() > 0


def test_a_way_back_is_refused_once_the_old_store_is_gone(mover: Mover) -> None:
    run = mover.run(state="reverted")
    assert run.status != 0
    assert run.result("move")["failure"]["object"] == OLD
    assert mover.writes == []


def test_the_platform_goes_on_to_another_store_and_leaves_this_one_as_it_is(
    mover: Mover, sown: Sown, store: ObjectStore, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("another")
    before = {bucket: sorted((entry.key, entry.size) for entry in store.client().entries(bucket)) for bucket in BUCKETS[:2]}
    with Beside(folder, mover.platform.cluster.layout.addresses.host).running() as another:
        options: dict[str, Any] = {
            "endpoint": another.endpoint,
            "access_key_file": file_with(folder, another.access_key),
            "secret_key_file": file_with(folder, another.secret_key),
            "overwrite": False,
        }
        checked = mover.result("--check", **options)
        assert mover.writes == []
        run = mover.run(**options).ok()
        result = run.result("move")
        shape = [[(change["stage"], change["object"], change["field"]) for change in one["plan"]] for one in (checked, result)]
        assert shape[0] == shape[1]
        assert store.endpoint in result["findings"][0]["observed"]
        assert not leaks({another.secret_key, Path(mover.options["secret_key_file"]).read_text()}, run.output)
        assert mover.result(**options)["plan"] == []
        assert mover.writes == []
        assert [ledger.wrong(another.client()) for ledger in sown.ledgers] == [[], []]
        after = {bucket: sorted((entry.key, entry.size) for entry in store.client().entries(bucket)) for bucket in BUCKETS[:2]}
        assert after == before
        store.stop()
        try:
            assert sown.pull() > 0
        finally:
            store.start()
