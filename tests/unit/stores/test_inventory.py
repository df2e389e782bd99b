"""What the listings and what was proved before leave to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host.stores import ordered
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.inventory import Inventory, Pair, verdict_of
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.listing import Listing, seconds_of

EARLY, LATE = "2026-01-01T10:00:00.000000000Z", "2026-01-01T11:00:00.000000000Z"
SEEN = seconds_of(LATE) + 3600
EQUAL, OTHER = b"e" * 64, b"o" * 64


class Desk:
    """Two listings and an inventory, written by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inventory = Inventory(str(folder / "proved"))

    def listing(self, name: str, objects: dict[str, tuple[int, str]]) -> Listing:
        sorter = ordered.Sorter(str(self.folder / name))
        for key, (size, modified) in objects.items():
            sorter.add(key.encode(), b"%d" % size, modified.encode(), b"")
        sorter.finish()
        return Listing(str(self.folder / name), len(objects), sum(size for size, _when in objects.values()), SEEN)

    def prove(self, key: str, mine: bytes = EQUAL, theirs: bytes = EQUAL, size: int = 1, written: str = EARLY, copied: str = LATE) -> None:
        pair = Pair(key.encode(), b"%d" % size, (written.encode(), b""), (copied.encode(), b""))
        sorter = ordered.Sorter(str(self.folder / "verdicts"))
        sorter.add(*verdict_of(pair, mine, theirs, SEEN))
        sorter.finish()
        self.inventory.record(str(self.folder / "verdicts"))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_without_an_inventory_everything_is_copied_or_read(desk: Desk) -> None:
    source = desk.listing("source", {"both": (1, EARLY), "longer": (2, EARLY), "missing": (3, EARLY)})
    target = desk.listing("target", {"both": (1, LATE), "longer": (1, LATE), "extra": (9, LATE)})
    plan = desk.inventory.plan(source, target, str(desk.folder / "copy"))
    assert (plan.objects, plan.bytes, plan.copies, plan.copy_bytes, plan.unread, plan.extra) == (3, 6, 2, 5, 1, 1)
    assert plan.extra_keys == ["extra"]
    assert plan.doubts == ["both (not read yet)", "longer (of another size)", "missing (missing in the target)"]
    assert (desk.folder / "copy").read_bytes() == b"longer\nmissing\n"
    assert [pair.key for pair in desk.inventory.unread(source, target)] == [b"both"]
    assert not plan.settled


def test_what_the_target_lost_is_read_again_though_its_copy_is_made_in_the_same_tick(desk: Desk) -> None:
    for key in ("gone", "cut", "kept"):
        desk.prove(key)
    source, whole = (desk.listing(name, dict.fromkeys(("gone", "cut", "kept"), (1, when))) for name, when in (("source", EARLY), ("whole", LATE)))
    target = desk.listing("target", {"cut": (0, LATE), "kept": (1, LATE)})
    plan = desk.inventory.plan(source, target)
    assert (plan.copies, plan.lost, plan.unread) == (2, 2, 0)
    desk.inventory.forget_lost(source, target)
    # Copied again, both look exactly as they did when they were proved.
    assert [pair.key for pair in desk.inventory.unread(source, whole)] == [b"cut", b"gone"]
    assert desk.inventory.plan(source, whole).lost == 0


def test_what_was_proved_holds_while_both_sides_stay_the_same(desk: Desk) -> None:
    desk.prove("key")
    source, target = desk.listing("source", {"key": (1, EARLY)}), desk.listing("target", {"key": (1, LATE)})
    assert desk.inventory.plan(source, target).settled
    assert not list(desk.inventory.unread(source, target))


@pytest.mark.parametrize(
    ("source", "target", "reason", "copied"),
    [
        ((1, LATE), (1, LATE), "changed meanwhile", True),
        ((1, EARLY), (1, EARLY), "not read yet", False),
        ((1, LATE), (1, EARLY), "not read yet", False),
        ((2, EARLY), (2, LATE), "changed meanwhile", True),
        ((2, EARLY), (1, LATE), "of another size", True),
    ],
)
def test_a_change_on_either_side_is_noticed(desk: Desk, source: tuple[int, str], target: tuple[int, str], reason: str, copied: bool) -> None:
    desk.prove("key")
    plan = desk.inventory.plan(desk.listing("source", {"key": source}), desk.listing("target", {"key": target}))
    assert plan.doubts == [f"key ({reason})"]
    assert (plan.copies, plan.unread) == ((1, 0) if copied else (0, 1))


def test_other_content_is_copied_again_and_read_again(desk: Desk) -> None:
    desk.prove("key", theirs=OTHER)
    source, target = desk.listing("source", {"key": (1, EARLY)}), desk.listing("target", {"key": (1, LATE)})
    assert desk.inventory.plan(source, target).doubts == ["key (of other content)"]
    # The copy may carry the same time as before, where the target's clock ticks slowly.
    assert len(list(desk.inventory.unread(source, target))) == 1
    desk.prove("key")
    assert desk.inventory.plan(source, target).settled


def test_what_was_written_shortly_before_it_was_read_does_not_last(desk: Desk) -> None:
    desk.prove("early")
    desk.prove("late", written=LATE)
    desk.inventory.begin(None, 3600 + 1)
    assert [record[0] for record in ordered.read(desk.inventory.path)] == [b"early"]
    desk.inventory.begin(None, 3 * 3600)
    assert not list(ordered.read(desk.inventory.path))


def test_a_damaged_inventory_proves_less_never_more(desk: Desk) -> None:
    desk.prove("a")
    desk.prove("b")
    with open(desk.inventory.path, "ab") as file:
        file.write(b"c\0half a reco")
    desk.inventory.begin(None, 1)
    assert [record[0] for record in ordered.read(desk.inventory.path)] == [b"a", b"b"]


def test_begun_with_the_inventory_of_another_folder(desk: Desk, tmp_path: Path) -> None:
    desk.prove("key")
    other = Inventory(str(tmp_path / "other"))
    other.begin(desk.inventory.path, 1)
    assert [record[0] for record in ordered.read(other.path)] == [b"key"]
    with pytest.raises(Invalid, match="no inventory"):
        other.begin(str(tmp_path / "none"), 1)
