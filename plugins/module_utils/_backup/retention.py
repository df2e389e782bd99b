# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which points may go. Pure: the same history, policy and time give the same answer; nothing is read and nothing deleted here.

What cannot be decided is kept, and said: points from the future, points whose time contradicts their number, chains with a missing link.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Callable, Dict, FrozenSet, List, Optional, Sequence, Set, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid

# Seconds by which clocks may differ before a point counts as one from the future.
SKEW = 300.0
# How many times as long as the others a pause has to be.
_UNUSUAL = 2.0
_YOUNG, _PAUSE = "young enough", "young enough but for a pause, in which the clock may have jumped"


@dataclass(frozen=True)
class Held:
    """A point as retention sees it. ``instant`` is in seconds since 1970; ``parents`` are the points that it needs; unproved ones count for no rule."""

    identifier: str
    sequence: int
    instant: float
    kinds: FrozenSet[str]
    proved: bool = True
    parents: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Policy:
    """What is kept: the newest ``last``, all within ``within`` seconds, the newest of each of so many days, weeks, months and years (in UTC), and ``holds``.

    Days, weeks, months and years without a point do not count. A policy without a rule keeps everything.
    """

    last: int = 0
    within: float = 0.0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    holds: FrozenSet[str] = frozenset()

    def __post_init__(self) -> None:
        for name in ("last", "within", "daily", "weekly", "monthly", "yearly"):
            if getattr(self, name) < 0:
                raise Invalid(f"retention.{name} is {getattr(self, name)}.", "Give 0 for no such rule, or more.", f"retention.{name}")

    @property
    def endless(self) -> bool:
        """Whether nothing ever goes."""
        return not any((self.last, self.within, self.daily, self.weekly, self.monthly, self.yearly))


@dataclass(frozen=True)
class Decision:
    """What becomes of one point, and why. ``undecided`` points are kept because nothing safe can be said of them."""

    identifier: str
    kept: bool
    reasons: Tuple[str, ...]
    undecided: bool = False


Period = Callable[[datetime], Tuple[int, ...]]
_PERIODS: Dict[str, Period] = {
    "daily": lambda when: (when.year, when.month, when.day),
    "weekly": lambda when: tuple(when.isocalendar())[:2],
    "monthly": lambda when: (when.year, when.month),
    "yearly": lambda when: (when.year,),
}


def decide(points: Sequence[Held], policy: Policy, now: float) -> List[Decision]:
    """Return one decision for each point, in the order of their numbers; those that go may be removed from the last to the first.

    The last proved point of every kind, whatever the policy, and every point that a kept one needs, are kept.
    """
    ordered = sorted(points, key=lambda point: (point.sequence, point.identifier))
    doubts = _doubts(ordered, now)
    sure = [point for point in ordered if point.identifier not in doubts]
    reasons: Dict[str, List[str]] = {point.identifier: [] for point in ordered}
    for identifier, why in _ruled(sure, policy, now) + _last_of_kinds([point for point in ordered if point.proved]) + _last_of_kinds(sure):
        if why not in reasons[identifier]:
            reasons[identifier].append(why)
    for point in ordered:
        if point.identifier in policy.holds:
            reasons[point.identifier].append("held")
        if point.identifier in doubts:
            reasons[point.identifier].append(doubts[point.identifier])
    _keep_chains(ordered, reasons)
    return [
        Decision(point.identifier, bool(reasons[point.identifier]), tuple(reasons[point.identifier]) or ("no rule keeps it",), point.identifier in doubts)
        for point in ordered
    ]


def _doubts(ordered: Sequence[Held], now: float) -> Dict[str, str]:
    """Return for each point about which nothing safe can be said, what is wrong with it."""
    found: Dict[str, str] = {}
    latest: Optional[Held] = None
    numbers = [point.sequence for point in ordered]
    twice = {number for number, following in zip(numbers, numbers[1:]) if number == following}
    for point in ordered:
        if not point.proved:
            found[point.identifier] = "not proved"
        elif point.sequence in twice:
            found[point.identifier] = "another point has the same number"
        elif point.instant > now + SKEW:
            found[point.identifier] = "its time lies in the future"
        elif latest is not None and point.instant < latest.instant - SKEW:
            # A clock jumped. Nobody knows whether it went wrong before or after.
            found[point.identifier] = f"by its number it comes after {latest.identifier}, by its time before"
            found[latest.identifier] = f"by its number it comes before {point.identifier}, by its time after"
        elif latest is None or point.instant > latest.instant:
            latest = point
    present: Set[str] = set()
    for point in ordered:
        missing = [parent for parent in point.parents if parent not in present]
        if missing and point.identifier not in found:
            found[point.identifier] = f"{missing[0]}, which it needs, is not there or in doubt itself"
        if point.identifier not in found:
            present.add(point.identifier)
    return found


def _ruled(sure: Sequence[Held], policy: Policy, now: float) -> List[Tuple[str, str]]:
    if policy.endless:
        return [(point.identifier, "no rule lets anything go") for point in sure]
    newest_first = list(reversed(sure))
    kept = [(point.identifier, f"one of the last {policy.last}") for point in newest_first[: policy.last]]
    kept += _young(newest_first, policy.within, now) if policy.within else []
    for name, period in _PERIODS.items():
        kept += _newest_of_each(newest_first, period, getattr(policy, name), name)
    return kept


def _young(newest_first: Sequence[Held], within: float, now: float) -> List[Tuple[str, str]]:
    """The points that are young enough. A pause longer than the window, longer than any after it, and without a point that has gone, is no age.

    It may be a clock that jumped ahead, by which all that there is would be old at once. Once the points after it span the window, those before it may go.
    """
    kept: List[Tuple[str, str]] = []
    age, longest, after, why = 0.0, 0.0, now, _YOUNG
    following: Optional[Held] = None
    for point in newest_first:
        pause = max(0.0, after - point.instant)
        if pause > max(within, _UNUSUAL * longest) and (following is None or following.sequence == point.sequence + 1):
            why = _PAUSE
        else:
            age += pause
        if age > within:
            break
        kept.append((point.identifier, why))
        longest, after = max(longest, pause) if following is not None else longest, point.instant
        following = point
    return kept


def _newest_of_each(newest_first: Sequence[Held], period: Period, count: int, name: str) -> List[Tuple[str, str]]:
    kept: List[Tuple[str, str]] = []
    seen: Set[Tuple[int, ...]] = set()
    for point in newest_first:
        if len(seen) >= count:
            break
        which = period(datetime.fromtimestamp(point.instant, timezone.utc))
        if which not in seen:
            seen.add(which)
            kept.append((point.identifier, name))
    return kept


def _last_of_kinds(points: Sequence[Held]) -> List[Tuple[str, str]]:
    """The last point of each kind. Asked for all that were proved and for those that are sure: a doubt is no proof that a point is worthless."""
    last = {kind: point.identifier for point in points for kind in point.kinds}
    return [(identifier, f"the last proved point of {kind}") for kind, identifier in sorted(last.items())]


def _keep_chains(ordered: Sequence[Held], reasons: Dict[str, List[str]]) -> None:
    """Keep what a kept point needs. From the last to the first, since a point needs earlier ones only; a later one that it names is not followed."""
    known = {point.identifier: point for point in ordered}
    for point in reversed(ordered):
        if not reasons[point.identifier]:
            continue
        left = list(point.parents)
        while left:
            parent = left.pop()
            why = f"needed by {point.identifier}"
            if parent in known and why not in reasons[parent]:
                reasons[parent].append(why)
                left += known[parent].parents
