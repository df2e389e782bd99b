"""The one way in which every verb runs, on a store of plain documents that other writers change meanwhile."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Conflict, Failure, Forbidden, Refused, TimedOut, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Change, Plan, Ref
from ansible_collections.paas.hardening.plugins.module_utils._core.run import run

Event = Callable[["Store"], None]


class Store:
    """Documents of settings under names, each with a version that grows with every write, as an API server keeps them."""

    def __init__(self, **documents: Mapping[str, Any]) -> None:
        self.documents = {name: dict(settings) for name, settings in documents.items()}
        self.versions = dict.fromkeys(documents, 1)
        self.writes: list[tuple[str, str]] = []
        self.before_write: list[Event] = []
        self.before_settling: list[Event] = []
        self.rollouts: list[float] = []

    def set(self, name: str, **settings: Any) -> None:
        self.documents[name].update(settings)
        self.versions[name] += 1

    def write(self, name: str, version: str, settings: Mapping[str, Any]) -> None:
        if self.before_write:
            self.before_write.pop(0)(self)
        if str(self.versions[name]) != version:
            raise Conflict(f"{name} was changed", "Run again.", name, 409)
        for key, value in settings.items():
            if value is ABSENT:
                del self.documents[name][key]
            else:
                self.documents[name][key] = value
            self.writes.append((name, key))
        self.versions[name] += 1


class Settings:
    """A verb that wants the same settings in every document of a store."""

    def __init__(self, store: Store, wanted: Mapping[str, Any]) -> None:
        self.store = store
        self.wanted = wanted
        self.observations = 0
        self.abandoned = 0
        self.taken_back = ""
        self.before_taking_back: list[Callable[[], None]] = []

    def observe(self) -> dict[str, tuple[dict[str, Any], int]]:
        self.observations += 1
        return {name: (dict(document), self.store.versions[name]) for name, document in self.store.documents.items()}

    def plan(self, observed: Mapping[str, tuple[dict[str, Any], int]]) -> Plan:
        changes, versions = [], {}
        for name, (document, version) in observed.items():
            ref = Ref("v1", "Settings", name)
            for key, value in self.wanted.items():
                if document.get(key, ABSENT) != value:
                    changes.append(Change(ref, (key,), document.get(key, ABSENT), value, "wanted"))
                    versions[ref] = str(version)
        return Plan(tuple(changes), versions)

    def apply(self, plan: Plan) -> None:
        ((ref, changes),) = plan.by_object()
        self.store.write(ref.name, plan.versions[ref], {str(change.path[0]): change.after for change in changes})

    def settle(self, _observed: Any, _plan: Plan) -> float:
        if self.store.before_settling:
            self.store.before_settling.pop(0)(self.store)
        return self.store.rollouts.pop(0) if self.store.rollouts else 0.0

    def abandon(self) -> str:
        for event in self.before_taking_back:
            event()
        self.abandoned += 1
        return self.taken_back

    def conclude(self, first: Any, last: Any, plan: Plan, enforced: bool) -> dict[str, Any]:
        return {"first": first, "last": last, "planned": len(plan.changes), "enforced": enforced}


WANTED = {"mode": "closed", "replicas": 2}


def job_on(store: Store, **wanted: Any) -> Settings:
    return Settings(store, wanted or WANTED)


def carry_out(job: Settings, check: bool = False, diff: bool = False) -> dict[str, Any]:
    return run(lambda _params: job, {}, check=check, diff=diff)


def refusing() -> Store:
    """A store in which what was written does not settle."""
    store = Store(web={"mode": "open", "replicas": 1})
    store.before_settling = [fail_with(Refused("The policy says no.", "Ask for another."))]
    return store


def fail_with(error: BaseException) -> Event:
    def event(_store: Store) -> None:
        raise error

    return event


def test_writes_what_differs_and_nothing_else() -> None:
    store = Store(web={"mode": "open", "replicas": 2, "color": "red"}, api={"mode": "closed", "replicas": 2})
    result = carry_out(job_on(store))
    assert store.documents["web"] == {"mode": "closed", "replicas": 2, "color": "red"}
    assert store.writes == [("web", "mode")]
    assert result["changed"] is True
    assert result["enforced"] is True
    assert [change["field"] for change in result["plan"]] == ["mode"]
    assert result["first"]["web"][0]["mode"] == "open"
    assert result["last"]["web"][0]["mode"] == "closed"
    assert "diff" not in result
    assert "failed" not in result


def test_check_mode_writes_nothing_and_says_the_same() -> None:
    store = Store(web={"mode": "open"})
    checked = carry_out(job_on(store), check=True, diff=True)
    assert store.writes == []
    assert store.documents == {"web": {"mode": "open"}}
    assert checked["enforced"] is False
    real = carry_out(job_on(store), diff=True)
    assert [checked[key] for key in ("changed", "plan", "diff")] == [real[key] for key in ("changed", "plan", "diff")]


def test_the_second_run_looks_once_and_writes_nothing() -> None:
    store = Store(web={"mode": "open"})
    carry_out(job_on(store))
    store.writes.clear()
    second = job_on(store)
    result = carry_out(second)
    assert (result["changed"], result["plan"], result["waited"]) == (False, [], 0.0)
    assert store.writes == []
    assert second.observations == 1


def test_a_result_is_plain_data() -> None:
    result = carry_out(job_on(Store(web={"mode": "open"})), diff=True)
    assert json.loads(json.dumps(result))["diff"][0]["after"] == "mode: closed\nreplicas: 2\n"


def test_somebody_elses_write_in_between_is_planned_anew() -> None:
    store = Store(web={"mode": "open", "replicas": 1})
    store.before_write = [lambda store: store.set("web", color="blue")]
    result = carry_out(job_on(store))
    assert store.documents["web"] == {"mode": "closed", "replicas": 2, "color": "blue"}
    # Each field was written once, and is reported once.
    assert store.writes == [("web", "mode"), ("web", "replicas")]
    assert [change["field"] for change in result["plan"]] == ["mode", "replicas"]


def test_what_somebody_else_did_meanwhile_is_not_ours() -> None:
    store = Store(web={"mode": "open", "replicas": 2})
    store.before_write = [lambda store: store.set("web", mode="closed")]
    result = carry_out(job_on(store))
    assert (result["changed"], result["plan"], store.writes) == (False, [], [])


def test_a_conflict_on_the_second_object_keeps_the_first() -> None:
    store = Store(api={"mode": "open"}, web={"mode": "open"})
    store.before_write = [lambda _store: None, lambda store: store.set("web", color="blue")]
    result = carry_out(job_on(store, mode="closed"))
    assert store.writes == [("api", "mode"), ("web", "mode")]
    assert [change["object"] for change in result["plan"]] == ["Settings api", "Settings web"]


def test_a_conflict_without_end_gives_up_and_tells_that_nothing_was_written() -> None:
    store = Store(web={"mode": "open"})
    store.before_write = [lambda store: store.set("web", color="blue")] * 99
    result = carry_out(job_on(store))
    assert result["failed"] is True
    assert result["changed"] is False
    assert "plan" not in result
    assert result["failure"] == {"reason": "Conflict", "code": 409, "object": "web", "hint": "Run again."}
    # It tried more than once, but not for ever.
    assert 1 < 99 - len(store.before_write) < 10


def test_what_is_put_back_by_somebody_else_is_not_proven() -> None:
    store = Store(web={"mode": "open", "replicas": 2})
    store.before_settling = [lambda store: store.set("web", mode="open")]
    result = carry_out(job_on(store))
    assert result["failed"] is True
    assert result["failure"]["reason"] == "NotProven"
    assert result["failure"]["object"] == "Settings web"
    assert "Settings web mode" in result["msg"]
    assert "operator" in result["failure"]["hint"]
    # It was written: the caller has to know.
    assert result["changed"] is True
    assert [change["field"] for change in result["plan"]] == ["mode"]
    assert store.writes == [("web", "mode")]


def test_what_only_shows_after_the_rollout_is_done_in_a_further_round() -> None:
    store = Store(web={"mode": "open"})
    store.before_settling = [lambda store: store.documents.update(late={}) or store.versions.update(late=1)]
    result = carry_out(job_on(store, mode="closed"))
    assert store.documents["late"] == {"mode": "closed"}
    assert [change["object"] for change in result["plan"]] == ["Settings web", "Settings late"]
    assert result["changed"] is True


def test_something_new_in_every_round_ends_nevertheless() -> None:
    store = Store(start={})

    def appear(store: Store) -> None:
        name = f"late-{len(store.documents)}"
        store.documents[name], store.versions[name] = {}, 1

    store.before_settling = [appear] * 99
    result = carry_out(job_on(store, mode="closed"))
    assert result["failure"]["reason"] == "NotProven"
    assert "rounds" in result["msg"]
    assert len(store.before_settling) > 80


def test_after_a_wait_for_an_earlier_runs_rollout_it_looks_again() -> None:
    store = Store(web={"mode": "closed", "replicas": 2, "pods": "old"})
    store.rollouts = [3.21]
    store.before_settling = [lambda store: store.set("web", pods="new")]
    result = carry_out(job_on(store))
    assert result["last"]["web"][0]["pods"] == "new"
    assert (result["changed"], result["waited"], store.writes) == (False, 3.2, [])


def test_waiting_adds_up() -> None:
    store = Store(web={"mode": "open"})
    store.rollouts = [2.0, 1.5]
    store.before_settling = [lambda store: store.documents.update(late={}) or store.versions.update(late=1)]
    assert carry_out(job_on(store, mode="closed"))["waited"] == 3.5


@pytest.mark.parametrize("error", [Forbidden("No right.", "Grant it.", "web", 403), Unavailable("Away.", status=503), TimedOut("Too slow.")])
def test_a_failure_tells_what_was_written_before_it(error: Failure) -> None:
    store = Store(api={"mode": "open"}, web={"mode": "open"})
    store.before_write = [lambda _store: None, fail_with(error)]
    result = carry_out(job_on(store, mode="closed"))
    assert result == {
        "failed": True,
        "changed": True,
        "msg": str(error),
        "failure": error.as_data(),
        "plan": [{"object": "Settings api", "field": "mode", "before": "open", "after": "closed", "why": "wanted"}],
    }


def test_a_failure_of_the_first_write_changed_nothing() -> None:
    store = Store(web={"mode": "open"})
    store.before_write = [fail_with(Forbidden("No right."))]
    result = carry_out(job_on(store))
    assert (result["failed"], result["changed"], "plan" in result) == (True, False, False)


def test_a_failed_rollout_tells_what_was_written() -> None:
    store = Store(web={"mode": "open"})
    store.before_settling = [fail_with(TimedOut("Not ready within 5 s.", "Look at its pods."))]
    result = carry_out(job_on(store, mode="closed"))
    assert result["failure"]["reason"] == "TimedOut"
    assert [change["after"] for change in result["plan"]] == ["closed"]


class Cautious(Settings):
    """A verb whose precondition never holds."""

    def plan(self, _observed: Any) -> Plan:
        raise Refused("Not safe.", "Do this first.")


def test_a_refusal_writes_nothing_in_either_mode() -> None:
    for check in (True, False):
        store = Store(web={"mode": "open"})
        result = carry_out(Cautious(store, WANTED), check=check)
        assert (result["failed"], result["changed"], store.writes) == (True, False, [])
        assert result["msg"] == "Not safe. Do this first."


def test_a_verb_that_cannot_be_opened_fails_in_words() -> None:
    def unreachable(_params: Mapping[str, Any]) -> Settings:
        raise Unavailable("The server cannot be reached.", "Check the address.")

    result = run(unreachable, {}, check=False, diff=True)
    assert (result["failed"], result["changed"], result["failure"]["reason"]) == (True, False, "Unavailable")


def test_a_full_disk_is_no_defect_and_what_was_begun_is_taken_back() -> None:
    store = Store(web={"mode": "open"})
    store.before_settling = [fail_with(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/var/lib/work"))]
    job = job_on(store, mode="closed")
    result = carry_out(job)
    assert job.abandoned == 1
    assert result["failure"]["reason"] == "Unavailable"
    assert result["msg"].startswith("/var/lib/work cannot be used: No space left on device. Make room there")
    assert [change["field"] for change in result["plan"]] == ["mode"]
    assert "exception" not in result


def test_a_disk_that_is_full_when_it_looks_says_so_too() -> None:
    def opened(_params: Mapping[str, Any]) -> Settings:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/srv/work")

    result = run(opened, {}, check=True, diff=False)
    assert (result["failure"]["reason"], result["failure"]["object"]) == ("Forbidden", "/srv/work")


def test_an_unexpected_error_is_scrubbed_and_has_a_trace() -> None:
    store = Store(web={"mode": "open"})
    store.before_settling = [fail_with(ValueError("postgres://admin:hunter2@db/x, token=hunter3, {'password': 'hunter4 5'}"))]
    result = carry_out(job_on(store, mode="closed"))
    assert result["failure"]["reason"] == "Failed"
    assert "Unexpected ValueError" in result["msg"]
    assert "defect" in result["failure"]["hint"]
    assert "before_settling" in result["exception"]
    assert [change["field"] for change in result["plan"]] == ["mode"]
    assert "hunter" not in json.dumps(result)


def test_an_interrupt_is_not_swallowed() -> None:
    store = Store(web={"mode": "open"})
    store.before_settling = [fail_with(KeyboardInterrupt())]
    with pytest.raises(KeyboardInterrupt):
        carry_out(job_on(store, mode="closed"))


def test_work_that_fails_takes_back_what_must_not_stay_half_done_and_says_so() -> None:
    store = Store(web={"mode": "open", "replicas": 1})
    job = job_on(store)

    def refuse(_store: Store) -> None:
        raise Refused("The policy says no.", "Ask for another.")

    job.taken_back = "It was taken back."
    store.before_write = [refuse]
    result = carry_out(job)
    assert result["failed"]
    assert job.abandoned == 1
    assert result["failure"]["hint"] == "Ask for another. It was taken back."


def test_work_that_is_interrupted_is_taken_back_too() -> None:
    store = Store(web={"mode": "open", "replicas": 1})
    job = job_on(store)

    def interrupt(_store: Store) -> None:
        raise KeyboardInterrupt

    store.before_write = [interrupt]
    with pytest.raises(KeyboardInterrupt):
        carry_out(job)
    assert job.abandoned == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_first_request_to_stop_waits_until_all_is_taken_back(number: signal.Signals) -> None:
    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    job = job_on(refusing())
    job.before_taking_back = [lambda: os.kill(os.getpid(), number)]
    before = signal.signal(number, stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            carry_out(job)
        assert job.abandoned == 1
        assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, before)


def test_a_second_request_to_stop_is_obeyed_at_once() -> None:
    job = job_on(refusing())
    job.before_taking_back = [lambda: os.kill(os.getpid(), signal.SIGINT)] * 2
    with pytest.raises(KeyboardInterrupt):
        carry_out(job)
    assert job.abandoned == 0


def test_work_in_a_thread_is_taken_back_without_a_look_at_signals() -> None:
    job = job_on(refusing())
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(carry_out, job).result()["failed"]
    assert job.abandoned == 1


def test_nothing_is_taken_back_after_work_that_went_well() -> None:
    job = job_on(Store(web={"mode": "open", "replicas": 1}))
    assert carry_out(job)["changed"]
    assert job.abandoned == 0
