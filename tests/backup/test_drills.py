"""The drill cannot lie: a catalogue of defects of a real point of all kinds, each drilled as it is drilled in earnest, and points without any."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.etcd.programs import find
from ansible_collections.paas.hardening.plugins.module_utils._backup.postgres.kind import kept
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.databases.move import Dump, dump, restore
from tests.backup import defects, forgeries
from tests.backup.apiserver import empty_server
from tests.backup.asking import drilled
from tests.backup.copies import Copy, copied
from tests.backup.defects import Defect, Material
from tests.backup.member import Etcd, left_running, member_of
from tests.backup.offsite import catalogue_of
from tests.backup.rows import DEFECTS
from tests.backup.shop import KINDS, Shop, opened
from tests.backup.whole import Identity, identity
from tests.databases import postgres
from tests.perf import figures
from tests.proof import Measured

SEED = 120
# Two of each kind, and of the documents.
FEW = 14
# What a failure may be for; anything else would be a drill that came to nothing.
REASONS = {"Failed", "Invalid", "NotFound", "NotProven", "Refused", "Unavailable"}
# What becomes of the live etcd before it is asked for a snapshot that is not the one of the point.
CHANGES = {
    "a later moment": ("put", "later", "1"),
    "a value changed": ("put", "/registry/secrets/default/000003", "1"),
    "a key less": ("del", "/registry/secrets/default/000007"),
    "a key renamed": ("put", "/registry/secrets/default/0000070", "1"),
}
EMPTY = "an empty cluster"
SNAPSHOTS = ("yesterday", *CHANGES, "another cluster", EMPTY)
SAME = "nothing changed"
CATALOGUE = [
    *defects.files(),
    *defects.documents(),
    *forgeries.etcd(SNAPSHOTS),
    *forgeries.postgres(tuple(DEFECTS)),
    *forgeries.buckets(),
    *forgeries.objects(),
    *forgeries.custody(),
    *forgeries.volumes(),
    *forgeries.lies(),
]
Share = Callable[[int, int], int]


@dataclass(frozen=True)
class Bench:
    """A repository of two points, what copies of it are spoilt with, and the options of every drill."""

    folder: Path
    material: Material
    options: Mapping[str, Any]

    def drill(self, copy: Copy, kinds: list[str], **options: Any) -> dict[str, Any]:
        return drilled(copy.folder, kinds=kinds, **{**self.options, **options})


def snapshot(shop: Shop, folder: Path, yesterday: Path, name: str) -> Path:
    """A whole snapshot of etcd that is not the one of the point."""
    target = folder / f"snapshot of {name}"
    programs = find(str(shop.member.programs), Deadline(60))

    def saved(member: Etcd) -> Path:
        member_of(member, programs).save(str(target), Deadline(60))
        return target

    if name == "yesterday":
        return yesterday
    if name in CHANGES:
        shop.member.ctl(*CHANGES[name])
        return saved(shop.member)
    with Etcd(folder / f"member of {name}").running() as other:
        if name != EMPTY:
            other.fill(300, 400)
        return saved(other)


def dumped(shop: Shop, folder: Path, made: Dump, name: str) -> Path:
    """A whole dump of a database that differs in one thing from the one of the point."""
    copy = replace(shop.database.admin, database=f"copy {name}")
    shop.database.run(f'CREATE DATABASE "{copy.database}" TEMPLATE template0')
    restore(shop.database.client, made, copy)
    shop.database.run({SAME: "SELECT 1", **DEFECTS}[name], copy)
    changed = dump(shop.database.client, copy, str(folder / f"dump with {name}"))
    shop.database.run(f'DROP DATABASE "{copy.database}"')
    return Path(changed.folder)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, keys: list[Identity], report: Callable[[str], None]) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("bench")
    with postgres.binaries() as binaries, ExitStack() as stack:
        # Not below ours: the account of a scratch server has to get there.
        scratch = Path(tempfile.mkdtemp(prefix="paas-hardening-drills-", dir="/var/tmp"))
        stack.callback(shutil.rmtree, scratch)
        scratch.chmod(0o755)
        place = binaries[min(binaries)]
        shop = stack.enter_context(opened(folder / "shop", place, [key.recipient for key in keys], report))
        catalogue = catalogue_of(folder)
        earlier = shop.take(catalogue)
        # Nothing but its age tells that it is yesterday's.
        Copy(folder, earlier, earlier).sign(instant=earlier.instant - 86400)
        shop.trade()
        point = shop.take(catalogue)
        made = kept(str(Path(catalogue.folder_of(point)) / "postgres"))["controller"][0]
        yesterday = Path(catalogue.folder_of(earlier)) / "etcd/snapshot.db"
        material = Material(
            cache(lambda name: snapshot(shop, folder, yesterday, name)),
            cache(lambda name: dumped(shop, folder, made, name)),
            shop.exports,
            shop.secret,
            [identity(folder, f"stranger {number}").recipient for number in range(2)],
            shop.member.programs,
            place,
            shop.restic,
        )
        keys[1].file.chmod(0o600)
        programs = {"etcd_programs": str(shop.member.programs), "restic": shop.restic}
        yield Bench(folder, material, {**programs, "identity_file": str(keys[1].file), "scratch_folder": str(scratch)})
        assert os.listdir(scratch) == []


def chosen(share: Share) -> list[Defect]:
    """All of the catalogue, or some: of each kind as many, the same ones each time."""
    count = share(FEW, len(CATALOGUE))
    shuffled = random.Random(SEED).sample(CATALOGUE, len(CATALOGUE))
    rank: Counter[str] = Counter()
    ranked = []
    for defect in shuffled:
        # A server takes longer than all else.
        ranked.append((rank[defect.kind] + (100 if defect.empty else 0), defect))
        rank[defect.kind] += 1
    ranked.sort(key=lambda entry: entry[0])
    return [defect for _rank, defect in ranked[:count]]


def judged(bench: Bench, defect: Defect, number: int, folder: Path) -> str:
    """What is wrong with the judgement of a drill: nothing, when it is red, and says why."""
    copy = copied(bench.folder, folder / f"copy{number}")
    defect.spoil(copy, bench.material, random.Random(SEED + number))
    with ExitStack() as stack:
        options = dict(defect.options(copy))
        if defect.empty:
            options["empty_server"] = str(stack.enter_context(empty_server(folder / f"server{number}")))
        told = bench.drill(copy, defect.kinds, **options)
    shutil.rmtree(copy.folder)
    if not told.get("failed"):
        return "green"
    reason = told["failure"]["reason"]
    return "" if reason in REASONS and not told["msg"].startswith("Unexpected") else f"{reason}: {told['msg']}"


def test_the_catalogue_is_long_and_says_everything_once() -> None:
    names = Counter((defect.kind, defect.name) for defect in CATALOGUE)
    assert [name for name, count in names.items() if count > 1] == []
    assert len(CATALOGUE) >= 120
    assert {defect.kind for defect in CATALOGUE} == {"point", *KINDS}


@pytest.mark.timeout(5400)
def test_every_defect_is_red(bench: Bench, tmp_path: Path, share: Share, measured: Measured, report: Callable[[str], None]) -> None:
    tried = chosen(share)
    wrong = []
    for number, defect in enumerate(tried):
        said = judged(bench, defect, number, tmp_path)
        if said:
            wrong.append(f"{defect.kind}, {defect.name}: {said}")
        if number % 40 == 39:
            report(f"{number + 1} of {len(tried)} defects drilled")
    assert left_running(tmp_path) == []
    note = ", ".join(f"{kind} {count}" for kind, count in sorted(Counter(defect.kind for defect in tried).items()))
    measured(
        figures.at_most("seeded defects of a recovery point that a drill does not find", len(wrong), f"of {len(tried)}", 0, "; ".join(wrong), seed=SEED),
        figures.at_least("seeded defects of a recovery point that it finds", len(tried) - len(wrong), f"of {len(tried)}", share(FEW, 120), note, seed=SEED),
    )


@pytest.mark.timeout(5400)
def test_a_clean_point_never_is_red(bench: Bench, tmp_path: Path, share: Share, measured: Measured, report: Callable[[str], None]) -> None:
    """Whole points as they are, and what the defects are made by, without the defect."""
    controls = forgeries.controls(SAME)
    drills, whole = share(7, 100), 0
    red = []
    for number in range(drills):
        control = controls[number % len(controls)]
        copy = copied(bench.folder, tmp_path / f"copy{number}")
        control.spoil(copy, bench.material, random.Random(number))
        options: dict[str, Any] = {"max_age": "12h"}
        if number % 3 == 2:
            options = {"point": copy.earlier.identifier}
        with ExitStack() as stack:
            if control.kind == "objects":
                options["empty_server"] = str(stack.enter_context(empty_server(tmp_path / f"server{number}")))
            told = bench.drill(copy, control.kinds, **options)
        if told.get("failed") or told["proof"]["verdict"] != "pass":
            red.append(f"{control.kind}: {told.get('msg')}")
        whole += control.kind == "point"
        shutil.rmtree(copy.folder)
        if number % 20 == 19:
            report(f"{number + 1} of {drills} clean drills")
    assert whole
    note = "; ".join([f"{whole} of them of all kinds at once", *red])
    measured(figures.at_most("clean drills that are red", len(red), f"of {drills}", 0, note, seed=SEED))
