"""Which lab has which number. A number is a lab's own until its state is removed."""

from __future__ import annotations

from lab import cgroups, locks, network, paths
from lab.addresses import MAX_LABS, Addresses
from lab.errors import LabError

FORMAT = 2
"""Changes when labs of an older checkout cannot be brought up again."""


def mark(name: str) -> str:
    """The owner's mark on a bridge: which lab of which cache."""
    return f"paas-lab {str(paths.labs())[-200:]} {name}"  # the kernel keeps 255 bytes


def number_of(name: str) -> int | None:
    """The lab's number, or None when it has no state."""
    kept = paths.read_json(paths.lab(name) / "lab.json") or {}
    return kept.get("index")


def known() -> dict[str, int]:
    """All labs of this cache that have a number."""
    folders = sorted(paths.labs().iterdir()) if paths.labs().is_dir() else []
    found = {folder.name: number_of(folder.name) for folder in folders if folder.is_dir()}
    return {name: index for name, index in found.items() if index is not None}


def allocate(name: str) -> int:
    """Give the lab a number that nothing else on this machine uses, or the one it has, and claim it.

    Raises LabError when all numbers are in use, or the lab's own one by something else.
    """
    with locks.machine():
        own = number_of(name)
        if own is not None:
            if (paths.read_json(paths.lab(name) / "lab.json") or {}).get("format") != FORMAT:
                raise LabError(f"lab {name} was made by another version of this project: bring it up with --fresh")
            trouble = _trouble(own, name)
            if trouble:
                raise LabError(f"lab {name} has number {own}, but {trouble}; take that down, or give this lab another number with --fresh")
            index = own
        else:
            taken = known()
            reasons = []
            for index in range(MAX_LABS):
                holder = next((other for other, used in taken.items() if used == index), None)
                trouble = f"lab {holder} has it" if holder else _trouble(index, name)
                if not trouble:
                    break
                reasons.append(f"{index}: {trouble}")
            else:
                raise LabError("all numbers for labs are in use:\n  " + "\n  ".join(reasons) + "\nremove one: python -m lab down --purge --name NAME")
            paths.private_folder(paths.lab(name))
            paths.write_json(paths.lab(name) / "lab.json", {"name": name, "index": index, "format": FORMAT})
        network.lay(Addresses(index), mark(name))
        return index


def _trouble(index: int, name: str) -> str | None:
    addresses = Addresses(index)
    bridge_owner = network.owner(addresses.bridge)
    if bridge_owner is not None and bridge_owner != mark(name):
        return f"bridge {addresses.bridge} belongs to {bridge_owner or 'something unknown'}"
    if bridge_owner is None and cgroups.members(addresses.bridge):
        return f"processes run in the control group {addresses.bridge}"
    used = network.overlaps(addresses)
    return f"its addresses are used: {used}" if used else None
