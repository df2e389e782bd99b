# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Expressions of cron as a CronJob of Kubernetes reads them: which there are, and how much time lies between two runs. Pure."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import FrozenSet, List, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid

OPTION = "schedule.on_calendar"
# As systemd understands them, so that a schedule keeps its meaning when it becomes a CronJob: cron itself begins a week on Sunday.
_WORDS = {"hourly": "0 * * * *", "daily": "0 0 * * *", "weekly": "0 0 * * 1", "monthly": "0 0 1 * *"}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_ENTRY = re.compile(r"(?P<all>\*)|(?P<first>\w{1,3})(-(?P<last>\w{1,3}))?")
_MINUTES = 24 * 60
# Whole years, with three leap days among them: every date that ever comes is there.
_BEGIN, _LOOKED_AT = datetime.date(2024, 1, 1), 9 * 366
_REMEDY = f"Give five fields, as 30 2 * * * (minute, hour, day of the month, month, day of the week, in UTC), or {', '.join(_WORDS)}."


@dataclass(frozen=True)
class Field:
    """One of the five: what it is called, its least and its greatest number, and the names of the numbers from the least on."""

    name: str
    least: int
    greatest: int
    names: Tuple[str, ...] = ()


_FIELDS = (
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day of the month", 1, 31),
    Field("month", 1, 12, _MONTHS),
    Field("day of the week", 0, 6, _DAYS),
)


@dataclass(frozen=True)
class Cron:
    """An expression of five fields. ``shortest`` and ``longest`` are the times between two runs, in seconds."""

    text: str
    shortest: float
    longest: float


def cron_of(expression: str) -> Cron:
    """Read an expression. Raises Invalid for one that is none, or that never comes."""
    given = " ".join(expression.split())
    text = _WORDS.get(given.lower(), given)
    fields = text.split(" ")
    if len(fields) != len(_FIELDS):
        raise Invalid(f"{OPTION} is {expression!r}, which is no expression of cron.", _REMEDY, OPTION)
    minutes, hours, dates, months, weekdays = (_numbers(field, content) for field, content in zip(_FIELDS, fields))
    # Only where both are restricted, one of the two is enough.
    both = any(_unrestricted(content) for content in (fields[2], fields[4]))
    days: List[int] = []
    for number in range(_LOOKED_AT):
        day = _BEGIN + datetime.timedelta(days=number)
        fits = (day.day in dates, day.isoweekday() % 7 in weekdays)
        if day.month in months and (all(fits) if both else any(fits)):
            days.append(number)
    if not days:
        raise Invalid(f"{OPTION} is {expression!r}, a day that never comes.", _REMEDY, OPTION)
    times = sorted(60 * hour + minute for hour in hours for minute in minutes)
    between = {later - earlier for earlier, later in zip(times, times[1:])}
    between |= {(later - earlier) * _MINUTES + times[0] - times[-1] for earlier, later in zip(days, days[1:])}
    return Cron(text, min(between) * 60.0, max(between) * 60.0)


def _unrestricted(content: str) -> bool:
    return any(entry in ("*", "*/1") for entry in content.split(","))


def _numbers(field: Field, content: str) -> FrozenSet[int]:
    """Return the numbers that a field names. Raises Invalid, naming the field and the value."""
    found: List[int] = []
    for entry in content.split(","):
        span, slash, step = entry.partition("/")
        known = _ENTRY.fullmatch(span)
        if known is None or (slash and not re.fullmatch(r"[1-9]\d?", step)):
            raise _wrong(field, content)
        if known.group("all"):
            first, last = field.least, field.greatest
        else:
            first = _number(field, known.group("first"), content)
            # 5/15 is every fifteenth from the fifth on.
            last = _number(field, known.group("last"), content) if known.group("last") else field.greatest if slash else first
        if first > last:
            raise _wrong(field, content)
        found += range(first, last + 1, int(step or 1))
    return frozenset(found)


def _number(field: Field, word: str, content: str) -> int:
    if word.lower() in field.names:
        return field.names.index(word.lower()) + field.least
    if not word.isdecimal() or not field.least <= int(word) <= field.greatest:
        raise _wrong(field, content)
    return int(word)


def _wrong(field: Field, content: str) -> Invalid:
    sunday = " Sunday is 0." if field.names is _DAYS else ""
    return Invalid(f"{OPTION}: the {field.name} is {content!r}, not of {field.least} to {field.greatest}.{sunday}", _REMEDY, OPTION)
