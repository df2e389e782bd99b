"""What every host needs: what is planned in each state, what is left to others, and what files say."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_baseline import TIME, Planner
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host import baseline, files
from ansible_collections.paas.hardening.plugins.module_utils._host.units import State

NO_FILE = files.Kept(None, 0, "")
RUNS = State(True, True)


def wish(**more: Any) -> baseline.Wish:
    return baseline.wish_of({**{name: option.get("default", []) for name, option in baseline.ARGUMENTS.items()}, **more})


def good(wanted: baseline.Wish, **more: Any) -> baseline.Seen:
    kept = {path: files.Kept(baseline.text_of(path, settings), 0o644, "root") for path, settings in baseline.settings_of(wanted).items()}
    states = dict.fromkeys([*baseline.TIMERS, baseline.TIMESYNCD], RUNS)
    return baseline.Seen(False, kept, {}, (), "", True, states, (), True, (), ())._replace(**more)


def planned(wanted: baseline.Wish, seen: baseline.Seen) -> list[str]:
    return [f"{change.ref}: {change.field}" for change in Planner(wanted).plan(seen).changes]


def test_where_all_is_well_nothing_is_planned() -> None:
    wanted = wish(time_servers=["ntp1.example.com"], swap="disabled")
    assert planned(wanted, good(wanted)) == []


def test_a_bare_host_gets_everything() -> None:
    wanted = wish(time_servers=["ntp1.example.com"])
    kept = dict.fromkeys(baseline.settings_of(wanted), NO_FILE)
    stopped = dict.fromkeys([*baseline.TIMERS, baseline.TIMESYNCD], State(False, False))
    found = planned(wanted, good(wanted, kept=kept, states=stopped, missing=("systemd-timesyncd", "unattended-upgrades")))
    assert found[:2] == ["Packages systemd-timesyncd: systemd-timesyncd", "Packages unattended-upgrades: unattended-upgrades"]
    assert {f"File {path}: content" for path in (baseline.TIME, baseline.JOURNAL, baseline.LIMITS, baseline.LOGINS, baseline.UPDATES)} <= set(found)
    assert {f"Unit {unit}: running" for unit in stopped} <= set(found)


def test_another_program_that_keeps_the_time_is_left_alone_and_looked_at() -> None:
    planner = Planner(wish())
    seen = good(wish(), keeper="chrony.service", states={**dict.fromkeys(baseline.TIMERS, RUNS), baseline.TIMESYNCD: State(False, False)}, synchronized=False)
    assert list(planner.plan(seen).changes) == []
    assert [(remark.area, "chrony.service" in remark.hint) for remark in planner.remarks] == [(TIME, True)]


def test_in_a_container_the_clock_and_the_swap_are_the_machines() -> None:
    wanted = wish(time_servers=["ntp1.example.com"], swap="disabled")
    bare = {**good(wanted).kept, baseline.TIME: NO_FILE}
    assert planned(wanted, good(wanted, container=True, kept=bare, synchronized=False, swaps=("/dev/sda2",))) == []
    assert planned(wanted, good(wanted, swaps=("/dev/sda2",), swap_lines=((3, "x none swap sw 0 0"),))) == ["File /etc/fstab: line 3", "Swap /dev/sda2: in use"]


def test_what_a_later_file_says_is_named() -> None:
    planner = Planner(wish())
    planner.plan(good(wish(), overridden={baseline.JOURNAL: (("SystemMaxUse", "9T", "1G"),)}))
    assert [remark.text for remark in planner.remarks] == ["SystemMaxUse is 9T, not 1G."]


def test_updates_may_be_refused_on_purpose_or_left_to_others() -> None:
    text = baseline.text_of(baseline.UPDATES, baseline.settings_of(wish(security_updates="disabled"))[baseline.UPDATES])
    assert 'APT::Periodic::Unattended-Upgrade "0";' in text
    assert baseline.UPDATES not in baseline.settings_of(wish(security_updates="unmanaged"))


def test_what_counts_is_what_is_said_last() -> None:
    assert baseline.effective("# /etc/one\n[Journal]\n#SystemMaxUse=\nSystemMaxUse=1G\n\n# /etc/two\nSystemMaxUse = 2G\n") == {"SystemMaxUse": "2G"}


def test_lines_of_swap_are_found_and_others_are_not() -> None:
    table = "# /swap none swap sw 0 0\n/dev/sda1 / ext4 defaults 0 1\nUUID=1 none swap sw 0 0\n/swap swap swap defaults 0 0\n/dev/swap /data xfs swap 0 0\n"
    assert [number for number, _line in baseline.swap_lines(table)] == [3, 4]


@pytest.mark.parametrize("given", [{"open_files": 10}, {"journal_size": "lots"}, {"journal_size": "0G"}, {"time_servers": ["a b"]}], ids=str)
def test_what_cannot_be_meant_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as caught:
        wish(**given)
    assert caught.value.subject == next(iter(given))
