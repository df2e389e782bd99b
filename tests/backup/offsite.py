"""A copy in another place: a real bucket with object lock, the verb that copies into it and brings back, and hands that do what nobody may."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.config
import botocore.session

from ansible_collections.paas.hardening.plugins.module_utils._backup.catalogue import Catalogue
from ansible_collections.paas.hardening.plugins.module_utils._backup.manifest import Manifest
from ansible_collections.paas.hardening.plugins.module_utils._backup.offsite.verb import VERB
from ansible_collections.paas.hardening.plugins.module_utils._backup.signature import read_keys
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._core.run import run
from tests.backup.asking import key_file, parameters
from tests.stores.servers import ObjectServer
from tests.unit.backup.points import manifest

BUCKET, PREFIX = "far-away", "recovery-points"


@dataclass
class Afar:
    """A bucket, as the module is told of it. ``endpoint`` may be that of something that stands before the server."""

    server: ObjectServer
    folder: Path
    bucket: str = BUCKET
    endpoint: str = ""

    def client(self, access: str = "", secret: str = "") -> Any:
        """A client that has nothing in common with what is tested but the library."""
        return botocore.session.Session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.server.endpoint,
            aws_access_key_id=access or self.server.access_key,
            aws_secret_access_key=secret or self.server.secret_key,
            verify=str(self.server.authority) if self.server.authority else None,
            config=botocore.config.Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
        )

    def make(self, lock: bool = True) -> Afar:
        self.client().create_bucket(Bucket=self.bucket, **({"ObjectLockEnabledForBucket": True} if lock else {}))
        return self

    def keys(self, below: str = "") -> dict[str, int]:
        """Every object that can be seen, with its size."""
        page = self.client().list_objects_v2(Bucket=self.bucket, Prefix=f"{PREFIX}/{below}")
        return {entry["Key"].removeprefix(f"{PREFIX}/"): entry["Size"] for entry in page.get("Contents", ())}

    def versions(self) -> int:
        """How many versions there are of everything, with what hides some."""
        page = self.client().list_object_versions(Bucket=self.bucket)
        return len(page.get("Versions", ())) + len(page.get("DeleteMarkers", ()))

    def options(self, folder: Path, **changed: Any) -> dict[str, Any]:
        keys = self.folder / "bucket-keys"
        keys.touch(0o600)
        keys.write_text(f"{self.server.access_key}\n{self.server.secret_key}\n")
        given = {
            "repository": str(folder / "repository"),
            "signing_key_file": key_file(folder),
            "bucket": self.bucket,
            "endpoint": self.endpoint or self.server.endpoint,
            "keys_file": str(keys),
            "scratch_folder": str(folder),
            **({"ca_file": str(self.server.authority)} if self.server.authority else {}),
        }
        return {**given, **changed}

    def copied(self, folder: Path, check: bool = False, **changed: Any) -> dict[str, Any]:
        """Run the module where the repository is."""
        return run(VERB.begin, parameters(VERB, self.options(folder, **changed)), check=check, diff=True)

    def fetched(self, folder: Path, check: bool = False, **changed: Any) -> dict[str, Any]:
        """Run the module where nothing is."""
        return self.copied(folder, check, **{"state": "fetched", **changed})


def catalogue_of(folder: Path) -> Catalogue:
    return Catalogue(str(folder / "repository"), read_keys(key_file(folder), [], str(folder / "repository")))


def point(folder: Path, files: Mapping[str, bytes], age: float = 60.0, **changed: Any) -> Manifest:
    """Publish a point of these files; those that an earlier point has are linked, as packs are."""
    catalogue = catalogue_of(folder)
    with catalogue.writing(Deadline(5)) as writer, writer.stage() as stage:
        for name, content in files.items():
            path = Path(stage.folder) / "etcd" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return writer.publish(stage, manifest(stage, catalogue.read().identity, time.time() - age, **changed))


def content(size: int) -> bytes:
    return secrets.token_bytes(size)


def good(result: dict[str, Any]) -> dict[str, Any]:
    assert not result.get("failed"), result
    return result


def same(one: Path, other: Path) -> bool:
    """Whether two repositories have the same points with the same bytes."""

    def told(folder: Path) -> dict[str, bytes]:
        points = folder / "repository/points"
        return {str(path.relative_to(points)): path.read_bytes() for path in points.rglob("*") if path.is_file()}

    return told(one) == told(other) and (one / "repository/repository").read_bytes() == (other / "repository/repository").read_bytes()
