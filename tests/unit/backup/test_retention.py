"""Retention against plain invariants over random histories, and against a second, slower way to read the same policy."""

from __future__ import annotations

import os
import random
import time
from datetime import UTC, datetime
from itertools import accumulate

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._backup.retention import SKEW, Decision, Held, Policy, decide
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from tests.perf import figures
from tests.proof import Measured

DAY = 86400.0
NOW = 1_790_000_000.0
# `make proof-backup` tries all of them.
HISTORIES = 20_000 if os.environ.get("PAAS_BACKUP_PROOF") else 600


def history(chance: random.Random) -> list[Held]:
    """Points with everything that happens: failures, chains, broken chains, clocks that jump by hours and decades, the same number twice."""
    points: list[Held] = []
    instant = NOW - chance.choice([1, 30, 400, 2000]) * DAY
    sequence = 0
    for _number in range(chance.randrange(0, 40)):
        sequence += chance.choice([1, 1, 1, 2, 0 if chance.random() < 0.05 else 1])
        instant += chance.choice([60, 3600, 6 * 3600, DAY, 7 * DAY, 40 * DAY]) * chance.random()
        jump = chance.choice([3600, 400 * DAY, -3600, -3650 * DAY, 3650 * DAY]) if chance.random() < 0.07 else 0.0
        parents: tuple[str, ...] = ()
        if points and chance.random() < 0.4:
            parents = (chance.choice(points[-3:]).identifier,)
        if chance.random() < 0.03:
            parents = (*parents, "gone")
        kinds = frozenset(chance.sample(["etcd", "postgres", "buckets"], chance.randrange(1, 4)))
        points.append(Held(f"{sequence:08d}-{len(points):08x}", sequence, instant + jump, kinds, chance.random() > 0.1, parents))
    return points


def policy(chance: random.Random, points: list[Held]) -> Policy:
    def some() -> int:
        return chance.choice([0, 0, 1, 2, 7])

    holds = frozenset(point.identifier for point in points if chance.random() < 0.05)
    return Policy(some(), chance.choice([0.0, 0.0, DAY, 30 * DAY]), some(), some(), some(), some(), holds)


def shapes(seed: int) -> tuple[list[Held], Policy, float]:
    chance = random.Random(seed)
    points = history(chance)
    now = NOW + chance.choice([0.0, 0.0, 3600.0, -3600.0, 3650 * DAY, -3650 * DAY])
    return points, policy(chance, points), now


def kept_by(decisions: list[Decision]) -> set[str]:
    return {decision.identifier for decision in decisions if decision.kept}


def chain(identifier: str, known: dict[str, Held]) -> set[str]:
    return {parent for parent in known[identifier].parents if parent in known} | {
        above for parent in known[identifier].parents if parent in known for above in chain(parent, known)
    }


def test_invariants_over_random_histories(measured: Measured) -> None:
    deleted = 0
    for seed in range(HISTORIES):
        points, wanted, now = shapes(seed)
        decisions = decide(points, wanted, now)
        kept, known = kept_by(decisions), {point.identifier: point for point in points}
        about = f"seed {seed}"
        assert sorted(decision.identifier for decision in decisions) == sorted(known), about
        deleted += len(known) - len(kept)
        # The last proved point of every kind stays, and what is held, not proved, or from the future.
        for kind in ("etcd", "postgres", "buckets"):
            proved = [point for point in points if point.proved and kind in point.kinds]
            assert not proved or max(proved, key=lambda point: (point.sequence, point.identifier)).identifier in kept, about
            # And the last about which there is no doubt.
            sure = [known[decision.identifier] for decision in decisions if not decision.undecided and kind in known[decision.identifier].kinds]
            assert not sure or sure[-1].identifier in kept, about
        assert wanted.holds <= kept, about
        assert {point.identifier for point in points if not point.proved or point.instant > now + SKEW or "gone" in point.parents} <= kept, about
        # No link of a kept chain goes.
        for identifier in kept:
            assert chain(identifier, known) <= kept, about
        # Deleting from the last to the first leaves whole chains at every step.
        left = set(known)
        for decision in reversed(decisions):
            if not decision.kept:
                left.discard(decision.identifier)
                assert all(chain(identifier, known) <= left for identifier in left), about
        # The order in which they are given says nothing, and what is left is kept by the same policy.
        shuffled = list(points)
        random.Random(seed).shuffle(shuffled)
        assert decide(shuffled, wanted, now) == decisions, about
        assert kept_by(decide([known[identifier] for identifier in kept], wanted, now)) == kept, about
    assert deleted > HISTORIES
    measured(figures.told("histories of points of which retention keeps what it must", HISTORIES, "", f"{deleted} points went"))


def slowly(points: list[Held], wanted: Policy, now: float) -> set[str]:
    """What a policy keeps of a history without trouble, said in another way."""
    ordered = sorted(points, key=lambda point: point.sequence)
    if wanted.endless:
        return {point.identifier for point in points}
    kept = {point.identifier for point in ordered[len(ordered) - min(wanted.last, len(ordered)) :]}
    pauses = [later - earlier.instant for later, earlier in zip([now, *(point.instant for point in ordered[:0:-1])], ordered[::-1], strict=True)]
    # A pause unlike any after it is no age.
    unusual = [pause > wanted.within and all(2 * other < pause for other in pauses[1:number]) for number, pause in enumerate(pauses)]
    ages = list(accumulate(0.0 if odd else pause for odd, pause in zip(unusual, pauses, strict=True)))
    kept |= {point.identifier for age, point in zip(ages, ordered[::-1], strict=True) if wanted.within and age <= wanted.within}
    for count, form in ((wanted.daily, "%Y-%m-%d"), (wanted.weekly, "%G-%V"), (wanted.monthly, "%Y-%m"), (wanted.yearly, "%Y")):
        newest = {datetime.fromtimestamp(point.instant, UTC).strftime(form): point.identifier for point in ordered}
        kept |= {newest[name] for name in sorted(newest)[len(newest) - min(count, len(newest)) :]}
    kept |= {point.identifier for kind in ("etcd", "postgres") for point in [point for point in ordered if kind in point.kinds][-1:]}
    return kept | wanted.holds


def test_same_as_a_second_reading_of_the_policy() -> None:
    for seed in range(HISTORIES // 4):
        chance = random.Random(seed)
        instant, count, points = NOW, chance.randrange(1, 80), []
        step = chance.choice([0.5, 3, 20]) * DAY
        for number in range(count, 0, -1):
            instant -= chance.random() * step
            points.append(Held(f"{number:08d}-00000000", number, instant, frozenset(chance.choice([["etcd"], ["etcd", "postgres"]]))))
        wanted = policy(chance, points)
        assert kept_by(decide(points, wanted, NOW)) == slowly(points, wanted, NOW), f"seed {seed}"


def test_what_cannot_be_decided_is_said() -> None:
    held = frozenset({"etcd"})
    points = [
        Held("a", 1, NOW - 9 * DAY, held),
        Held("future", 2, NOW + 3650 * DAY, held),
        Held("b", 3, NOW - 3 * DAY, held),
        Held("past", 4, NOW - 3650 * DAY, held),
        Held("orphan", 5, NOW - 2 * DAY, held, True, ("gone",)),
        Held("unproved", 6, NOW - DAY, held, False),
        Held("c", 7, NOW - 3600, held),
    ]
    decisions = {decision.identifier: decision for decision in decide(points, Policy(last=1), NOW)}
    # Of two that contradict each other nobody knows which is wrong.
    assert {name for name, decision in decisions.items() if decision.undecided} == {"future", "b", "past", "orphan", "unproved"}
    assert {name for name, decision in decisions.items() if not decision.kept} == {"a"}
    assert "future" in decisions["future"].reasons[0]
    assert "gone" in " ".join(decisions["orphan"].reasons)


def daily(*days: float) -> list[Held]:
    return [Held(f"{number:08d}", number, NOW + day * DAY, frozenset({"etcd"})) for number, day in enumerate(days, 1)]


def test_a_clock_that_jumps_ahead_makes_nothing_old() -> None:
    """With the clock a year ahead everything is older than the window: nothing goes by that, until the points after the jump span the window themselves."""
    before = [float(day) for day in range(-9, 0)]
    week = Policy(within=7 * DAY)
    assert len(kept_by(decide(daily(*before, 0.0), week, NOW))) == 8
    for later in range(1, 7):
        ahead = [365.0 + day for day in range(later)]
        points = daily(*before, *ahead)
        left = kept_by(decide(points, week, points[-1].instant))
        assert {f"{number:08d}" for number in range(later + 1, 10)} <= left, later
        assert {point.identifier for point in points[9:]} <= left
    # The clock is right again: what it made lies in the future, and stays, too.
    assert kept_by(decide(daily(*before, 365.0, 0.0), week, NOW)) == {f"{number:08d}" for number in range(3, 12)}
    # A year later: the points after it span the window.
    points = daily(*before, *(365.0 + day for day in range(9)))
    assert len(kept_by(decide(points, week, points[-1].instant))) == 8


def test_pauses_that_are_usual_are_ages() -> None:
    weekly = daily(*(-7.0 * number for number in range(9, -1, -1)))
    # The last pause alone cannot be told from a jump; the one before it says that it is usual.
    assert len(kept_by(decide(weekly, Policy(within=DAY), NOW))) == 2
    # Where points have gone in between, there was no pause.
    thinned = [point for point in daily(*map(float, range(-99, 1))) if point.sequence in (1, 31, 61) or point.sequence > 97]
    assert len(kept_by(decide(thinned, Policy(within=2 * DAY), NOW))) == 3


def test_a_policy_without_rules_keeps_everything() -> None:
    points = [Held(str(number), number, NOW - number, frozenset({"etcd"})) for number in range(9)]
    assert len(kept_by(decide(points, Policy(), NOW + 3650 * DAY))) == 9


def test_negative_rule_is_refused() -> None:
    with pytest.raises(Invalid, match=r"retention\.weekly"):
        Policy(weekly=-1)


def test_fast_enough() -> None:
    """At most 50 microseconds a decision, with room for a busy machine."""
    chance = random.Random(5)
    points = [Held(f"{number:08d}", number, NOW - (5000 - number) * 3600, frozenset({"etcd"})) for number in range(5000)]
    wanted = policy(chance, [])
    began = time.process_time()
    decide(points, Policy(7, DAY, 7, 4, 12, 3, wanted.holds), NOW)
    assert (time.process_time() - began) / len(points) < 50e-6
