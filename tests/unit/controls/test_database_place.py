"""Where the components of a platform find their databases: which one each uses, which it is to use, and all of them or a refusal."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import Settings, is_mark, text_in, wanted_settings
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import plan_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.database import CONTROL, Observed
from ansible_collections.paas.hardening.plugins.module_utils._controls.database_place import arrived, begun, fields_of, relocations, remembers
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT
from ansible_collections.paas.hardening.plugins.module_utils._platforms.detect import PLATFORMS
from tests.unit.controls.test_component_settings import applied, secret, without

DRYCC = ["drycc-1.8", "drycc-head"]
PARAMS: dict[str, Any] = {"server": "db.example.com", "port": 5432, "sslmode": "prefer", "old_database": "read_only"}


def inside(platform: str) -> Settings:
    """The workloads of a platform as its chart makes them, on the bundled databases."""
    facts = PLATFORMS[platform].database
    workloads: dict[tuple[str, str], Any] = {}
    for user in facts.users:
        names = ["GF_DATABASE_URL"] if user.settings and user.settings[0].variable == "GF_DATABASE_URL" else ["DRYCC_DATABASE_URL"]
        names += ["DRYCC_DATABASE_REPLICA_URL"] if not user.settings else []
        host = "drycc-database.paas.svc.cluster.local" if platform == "drycc-1.8" else "drycc-database"
        env = [{"name": name, "value": f"postgres://$(U):$(P)@{host}{'-replica' * ('REPLICA' in name)}:5432/{user.role}"} for name in names]
        for entry in (*user.workloads, *user.once):
            pod = {"initContainers": [{"name": "wait", "env": copy.deepcopy(env)}], "containers": [{"name": entry.container, "env": copy.deepcopy(env)}]}
            metadata = {"name": entry.name, "namespace": "paas", "resourceVersion": "9"}
            spec: dict[str, Any] = {"template": {"spec": pod}}
            spec = {"jobTemplate": {"spec": spec}} if entry.kind == "CronJob" else {**spec, "replicas": 1}
            workloads[entry.kind, entry.name] = {"apiVersion": "apps/v1", "kind": entry.kind, "metadata": metadata, "spec": spec}
    secrets = {user.secret: secret(user.secret) for user in facts.users if user.secret}
    secrets["database-creds"] = secret("database-creds", user="platform", password="canary-p:@/%", superuser="postgres")
    return Settings(workloads, secrets)


def moved(platform: str, settings: Settings, **params: Any) -> tuple[Any, Any]:
    """(what goes where, every setting as it should be)"""
    facts, given = PLATFORMS[platform].database, {**PARAMS, **params}
    site: Any = SimpleNamespace(platform=PLATFORMS[platform])
    moves = relocations(site, given, facts, settings, settings.secrets.get("database-creds"))
    return moves, wanted_settings(facts, facts.way, fields_of(given, facts, moves), settings)


@pytest.mark.parametrize("platform", DRYCC)
def test_every_component_gets_a_url_and_then_nothing_is_left_to_write(platform: str) -> None:
    facts, before = PLATFORMS[platform].database, inside(platform)
    moves, wanted = moved(platform, before)
    assert [entry.source for entry in moves] == ["controller", "passport", "grafana", "quickwit"]
    assert not any(arrived(facts, before, wanted, moves).values())
    after = applied(before, wanted)
    moves, wanted = moved(platform, after)
    assert plan_of(wanted).changes == ()
    assert all(arrived(facts, after, wanted, moves).values())
    assert text_in(after.secrets["quickwit-creds"], "database-url") == "postgres://platform:canary-p%3A%40%2F%25@db.example.com:5432/quickwit"
    for (kind, name), document in after.workloads.items():
        assert ("drycc-database" in str(document)) == (kind == "Job"), name


@pytest.mark.parametrize("platform", DRYCC)
def test_the_values_key_of_every_url_is_named_and_none_is_written_down(platform: str) -> None:
    _moves, wanted = moved(platform, inside(platform))
    lasting = [entry for entry in wanted if entry.value is not ABSENT and not is_mark(entry.path)]
    assert {entry.values_path for entry in lasting} >= {f"{role}.databaseUrl" for role in ("controller", "passport", "grafana", "quickwit")}
    assert {entry.values_path for entry in lasting} >= {"controller.databaseReplicaUrl", "passport.databaseReplicaUrl"}
    assert all(entry.values_secret for entry in lasting)
    assert "canary" not in str(plan_of(wanted).as_data())


def test_replicas_options_of_the_url_and_other_names() -> None:
    _moves, wanted = moved("drycc-head", inside("drycc-head"), replica_server="reader.example.com", sslmode="require", names={"grafana": "charts"})
    after = applied(inside("drycc-head"), wanted)
    assert str(text_in(after.secrets["controller-creds"], "database-url")).endswith("@db.example.com:5432/controller?sslmode=require")
    assert str(text_in(after.secrets["passport-creds"], "database-replica-url")).endswith("@reader.example.com:5432/passport?sslmode=require")
    assert "@db.example.com:5432/charts?sslmode=require" in str(after.workloads["StatefulSet", "drycc-grafana"])


@pytest.mark.parametrize(
    ("params", "subject"),
    [
        ({"name": "one"}, "name"),
        ({"names": {"router": "x"}}, "names"),
        ({"names": {"grafana": "passport"}}, "names"),
        ({"sslmode": "allow"}, "sslmode"),
        ({"role": "other"}, "role_password"),
    ],
)
def test_options_that_do_not_fit_are_named(params: dict[str, Any], subject: str) -> None:
    with pytest.raises(Invalid) as caught:
        moved("drycc-head", inside("drycc-head"), **params)
    assert caught.value.subject == subject


def test_names_are_for_a_platform_with_several() -> None:
    settings = Settings({}, {"database-creds": secret("database-creds", user="r", password="p")})
    site: Any = SimpleNamespace(platform=PLATFORMS["hephy"])
    with pytest.raises(Invalid, match="one database for all"):
        relocations(site, {**PARAMS, "names": {"controller": "x"}}, PLATFORMS["hephy"].database, settings, settings.secrets["database-creds"])


def test_a_third_database_is_refused() -> None:
    facts, settings = PLATFORMS["drycc-head"].database, inside("drycc-head")
    container = settings.workloads["StatefulSet", "drycc-grafana"]["spec"]["template"]["spec"]["containers"][0]
    container["env"][0]["value"] = "postgres://somebody:canary@other.example.com/grafana"
    moves, wanted = moved("drycc-head", settings)
    with pytest.raises(Refused, match=r"drycc-grafana uses .* other\.example\.com:5432/grafana") as caught:
        arrived(facts, settings, wanted, moves)
    assert "canary" not in str(caught.value)


def test_other_credentials_for_the_right_database_are_mended_without_a_move() -> None:
    facts, before = PLATFORMS["drycc-head"].database, inside("drycc-head")
    after = applied(before, moved("drycc-head", before)[1])
    after = after._replace(secrets={**after.secrets, "database-creds": secret("database-creds", user="platform", password="another")})
    moves, wanted = moved("drycc-head", after)
    assert all(arrived(facts, after, wanted, moves).values())
    changed = {change.ref.name for change in plan_of(wanted).changes}
    assert {"controller-creds", "passport-creds", "quickwit-creds", "drycc-grafana", "drycc-controller-api"} <= changed


def test_a_component_of_which_only_a_part_was_switched_has_not_arrived() -> None:
    facts, before = PLATFORMS["drycc-head"].database, inside("drycc-head")
    moves, wanted = moved("drycc-head", before)
    switched = {"controller-creds", "drycc-controller-api", "passport-creds"}
    half = applied(before, [entry for entry in wanted if entry.document["metadata"]["name"] in switched])
    moves, wanted = moved("drycc-head", half)
    there = arrived(facts, half, wanted, moves)
    assert not any(there.values())
    assert [entry.role for entry in moves if begun(facts, half, entry)] == ["controller"]


def test_role_and_password_are_those_in_use_when_the_bundled_database_is_gone() -> None:
    before = inside("drycc-head")
    after = applied(before, moved("drycc-head", before)[1])
    after = after._replace(secrets={name: found for name, found in after.secrets.items() if name != "database-creds"})
    _moves, wanted = moved("drycc-head", after)
    assert plan_of(wanted).changes == ()


def planned(settings: Settings) -> list[Any]:
    moves, wanted = moved("drycc-head", settings)
    there = arrived(PLATFORMS["drycc-head"].database, settings, wanted, moves)
    roles = [entry.role for entry in moves]
    observed = Observed(moves, settings, there, tuple(wanted), dict.fromkeys(roles), dict.fromkeys(roles, "missing"), True)
    return CONTROL.wanted(PLATFORMS["drycc-head"], PARAMS, observed)


def test_the_job_that_names_the_old_database_goes_last_and_only_once() -> None:
    before = inside("drycc-head")
    changes = plan_of(planned(before)).changes
    assert [(change.ref.kind, change.ref.name, change.stage) for change in changes][-1] == ("Job", "drycc-controller-job-upgrade", "clear the way")
    after = applied(before, moved("drycc-head", before)[1])
    assert [change.ref.name for change in plan_of(planned(after)).changes] == ["drycc-controller-job-upgrade"]
    facts = PLATFORMS["drycc-head"].database
    assert remembers(facts, after.workloads["Job", "drycc-controller-job-upgrade"])
    assert plan_of(planned(without(after, "drycc-controller-job-upgrade"))).changes == ()


def test_a_job_at_work_is_waited_for() -> None:
    settings = inside("drycc-head")
    job = settings.workloads["Job", "drycc-controller-job-upgrade"]
    settings = settings._replace(workloads={**settings.workloads, ("Job", "drycc-controller-job-upgrade"): {**job, "status": {"active": 1}}})
    with pytest.raises(Refused, match="is running"):
        planned(settings)


def test_everything_that_writes_stands_still_and_goes_on() -> None:
    stages: dict[str, set[str]] = {}
    for change in plan_of(planned(inside("drycc-head"))).changes:
        stages.setdefault(change.stage, set()).add(change.ref.name)
    assert stages["freeze"] == stages["thaw"]
    assert len(stages["freeze"]) == 12
    assert not any("cronjob" in name for name in stages["freeze"])
