"""Where two servers that were one went apart, and where a log ends."""

from __future__ import annotations

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host.postgres.log import (
    Fork,
    Past,
    fork_of,
    lsn_of,
    lsn_text,
    past_of,
    record_end,
    segment_name,
    segment_of,
    switches_in,
)

FIRST = Past("7", 1)


@pytest.mark.parametrize(
    ("mine", "end", "theirs", "expected"),
    [
        (FIRST, 900, Past("7", 2, ((1, 500),)), Fork(1, 500, 900, False)),
        (FIRST, 400, Past("7", 2, ((1, 500),)), Fork(1, 400, 400, False)),
        (FIRST, 500, Past("7", 2, ((1, 500),)), Fork(1, 500, 500, False)),
        (FIRST, 900, Past("7", 3, ((1, 500), (2, 700))), Fork(1, 500, 900, False)),
        # Both were promoted: the timelines of the same number are not the same.
        (Past("7", 2, ((1, 600),)), 900, Past("7", 2, ((1, 500),)), Fork(1, 500, 900, False)),
        (Past("7", 2, ((1, 500),)), 900, Past("7", 3, ((1, 500), (2, 800))), Fork(2, 800, 900, False)),
        # The one that is followed is the older: what came after is given up all the same.
        (Past("7", 2, ((1, 500),)), 900, FIRST, Fork(1, 500, 900, False)),
        (FIRST, 900, FIRST, Fork(1, 900, 900, True)),
        (FIRST, 900, Past("8", 2, ((1, 500),)), None),
    ],
)
def test_the_fork_is_the_end_of_the_last_timeline_that_both_went_through(mine: Past, end: int, theirs: Past, expected: Fork | None) -> None:
    assert fork_of(mine, end, theirs) == expected


def test_what_is_lost_is_what_was_written_after_the_fork() -> None:
    assert [Fork(1, 500, end, False).lost for end in (400, 500, 900)] == [0, 0, 400]


def test_a_past_is_told_and_read_back() -> None:
    past = Past("7412345678901234567", 3, ((1, lsn_of("0/3000148")), (2, lsn_of("1/F0"))), lsn_of("0/2000000"))
    assert past_of(past.as_data()) == past
    assert past_of(None) is None
    assert (past.begin(), FIRST.begin()) == ((1 << 32) + 0xF0, 0)


@pytest.mark.parametrize("number", [0, 1, 255, 256, 70000])
def test_segments_have_names_and_names_segments(number: int) -> None:
    assert segment_of(segment_name(5, number)) == (5, number)


@pytest.mark.parametrize("name", ["00000002.history", "000000010000000000000003.partial", "archive_status", "00000001000000000000000g"])
def test_what_lies_beside_segments_is_none(name: str) -> None:
    assert segment_of(name) is None


@pytest.mark.parametrize(
    ("start", "length", "end"),
    [
        ("0/49FFA58", 34, "0/49FFA80"),
        ("0/3000028", 114, "0/30000A0"),
        # A record that fills its page exactly, one that runs over a page, one over the beginning of a segment, and one over several pages.
        ("0/3001F00", 256, "0/3002000"),
        ("0/3001F00", 264, "0/3002020"),
        ("0/3FFFFF0", 32, "0/4000038"),
        ("0/3001F00", 256 + 8168 + 8, "0/3004020"),
    ],
)
def test_a_record_ends_after_the_headers_that_it_runs_over(start: str, length: int, end: str) -> None:
    assert lsn_text(record_end(lsn_of(start), length)) == end


@pytest.mark.parametrize("text", ["", "# nothing\n", "2\t0/3000148\tpromoted\n", "1\t0/30g\tpromoted\n", "1\t0/500\n1\t0/600\n"])
def test_a_damaged_history_is_no_history(text: str) -> None:
    with pytest.raises(Invalid):
        switches_in(2, text)


def test_a_history_is_read_as_the_server_writes_it() -> None:
    assert switches_in(3, "1\t0/48F12C8\tno recovery target specified\n\n2\t0/5000000\tno recovery target specified\n") == ((1, 0x48F12C8), (2, 0x5000000))
