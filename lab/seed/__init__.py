"""Real data in a platform: images in its registry, slugs and logs in its buckets, an app that runs one, rows in its database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.installation import Installation, installation
from lab.progress import Report, Steps
from lab.seed import apps, live, objects, registry, rows
from lab.seed.apps import App
from lab.seed.objects import Ledger, Slug
from lab.seed.registry import PushedImage
from lab.seed.rows import Writer

if TYPE_CHECKING:
    from lab.cluster import Cluster

__all__ = ["App", "Ledger", "PushedImage", "Slug", "Sown", "Writer", "apps", "live", "objects", "registry", "rows", "sow"]

#: a bucket of the bundled store, by what it is for
BUCKETS = {"workflow": {"builder": "git", "database": "dbwal"}, "drycc": {"builder": "builder", "database": "database"}}


@dataclass(frozen=True)
class Sown:
    """What was put into a platform."""

    place: Installation
    images: list[PushedImage]
    slugs: list[Slug]
    ledgers: list[Ledger]
    apps: list[App]
    filled_rows: int

    def pull(self) -> int:
        """Read every image back from the platform's registry and compare it; the bytes read. Raises LabError, OSError."""
        source = registry.of_platform(self.place)
        return sum(source.pull(image) for image in self.images)


def sow(cluster: Cluster, platform: str, seed: int = 1, megabytes: int = 0, report: Report = print) -> Sown:
    """Put data into a platform that runs; the same seed gives the same data, and what is there already stays. Raises LabError."""
    place = installation(cluster, platform)
    steps = Steps(report)
    store = live.store(place)
    names = BUCKETS["drycc" if place.is_drycc else "workflow"]
    ledgers = [Ledger(names["builder"]), Ledger(names["database"])]
    with steps.step(f"{platform}: images pushed"):
        images = registry.push_images(registry.of_platform(place), seed=seed)
    with steps.step(f"{platform}: slugs and logs in their buckets"):
        slugs = objects.put_slugs(store, ledgers[0], [f"app-{number}" for number in range(3)], place.is_drycc, seed=seed)
        objects.put_write_ahead_log(store, ledgers[1], place.is_drycc, seed=seed)
    deployed = []
    if not place.is_drycc:
        with steps.step(f"{platform}: an app runs its slug"):
            deployed = [apps.deploy(place, slugs[0])]
    filled = 0
    if megabytes:
        with steps.step(f"{platform}: {megabytes} MiB of rows"):
            filled = rows.fill(live.database(place), megabytes)
    return Sown(place, images, slugs, ledgers, deployed, filled)


def command(cluster: Cluster, platform: str, seed: int, megabytes: int, report: Report) -> int:
    """What ``python -m lab seed`` does: put the data in, read everything back, say what there is."""
    sown = sow(cluster, platform, seed, megabytes, report)
    wrong = objects.copied(sown.ledgers, live.store(sown.place))
    if wrong:
        raise LabError(f"the store gives back {len(wrong)} objects wrong, the first: {wrong[0]}")
    count = sum(len(ledger.objects) for ledger in sown.ledgers)
    report(f"  {len(sown.images)} images ({sown.pull()} bytes pulled back), {count} objects, {len(sown.apps)} apps, {sown.filled_rows} rows")
    return 0
