"""Releases read from records that real helms wrote, and from damaged and hostile ones."""

from __future__ import annotations

import base64
import gzip
import json
import random
import time
import traceback
import tracemalloc
from typing import Any

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.release import Release, decode
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Ref
from tests.unit.helm import helm2_writer, recorded

CANARY = "canary-b7d1f0"


def packed(record: Any, kind: str = "Secret", magic: bool = True) -> dict[str, Any]:
    """Wrap any content the way helm 3 does."""
    raw = record if isinstance(record, bytes) else json.dumps(record).encode()
    text = base64.b64encode(gzip.compress(raw) if magic else raw)
    if kind == "Secret":
        text = base64.b64encode(text)
    labels = {"owner": "helm", "name": "r", "status": "deployed", "version": "1"}
    return {"kind": kind, "metadata": {"name": "sh.helm.release.v1.r.v1", "namespace": "n", "labels": labels}, "data": {"release": text.decode()}}


def minimal(**more: Any) -> dict[str, Any]:
    chart = {"metadata": {"name": "c", "version": "1"}, "values": {}}
    return {"name": "r", "namespace": "n", "version": 1, "info": {"status": "deployed"}, "chart": chart, "manifest": "", **more}


@pytest.mark.parametrize("name", recorded.WAYS)
def test_real_records(name: str) -> None:
    release = recorded.release(name)
    assert (release.name, release.namespace, release.status) == ("probe", f"fixture-{name}", "deployed")
    assert (release.chart, release.app_version, release.locked, release.newest_failed) == ("probe-1.2.3", "7", False, False)
    assert release.revision == (2 if name == "helm3-then4" else 1)
    expected = {"helm2": ("helm2", 2, "ConfigMap"), "helm3": ("csa", 3, "Secret"), "helm4-serverside": ("ssa", 4, "Secret")}
    assert (release.method, release.helm, release.storage) == expected.get(name, ("csa", 4, "Secret"))
    assert release.values == {"mode": "enabled", "inner": {"nested": {"drop": None}}}
    assert release.chart_values["period"] == 1000000
    assert release.chart_values["twin"]["colour"] == "red"


@pytest.mark.parametrize("name", recorded.WAYS)
def test_effective_values(name: str) -> None:
    ours, theirs = recorded.release(name).effective_values(), recorded.values(name)
    for part in (ours, theirs):
        for subchart in ("inner", "twin"):
            part[subchart].pop("global")
    assert ours == theirs


@pytest.mark.parametrize("name", recorded.WAYS)
def test_objects_and_hooks(name: str) -> None:
    release = recorded.release(name)
    web = recorded.ref(name, "apps/v1", "Deployment", "probe-web-0")
    stated = release.document(web)
    assert stated is not None
    assert stated["spec"]["replicas"] == 1
    assert stated["spec"]["progressDeadlineSeconds"] == 1000000
    assert release.document(web) is stated
    assert release.document(Ref("apps/v1", "Deployment", "probe-web-0", "elsewhere")) is None
    assert release.document(Ref("serving.example.org/v1", "Service", "probe-web-0", web.namespace)) is None
    assert release.document(recorded.ref(name, "v1", "Service", "probe-web-0")) is not None
    assert release.document(recorded.ref(name, "extensions/v1beta1", "Deployment", "probe-web-0")) == stated
    assert release.document(recorded.ref(name, "v1", "ConfigMap", "probe-inner")) is not None
    once = recorded.ref(name, "v1", "Secret", "probe-hook")
    assert release.document(once) is None
    found = release.hook(once)
    assert found is not None
    assert found["events"] == ["pre-install"]
    upgrade = release.hook(recorded.ref(name, "v1", "ConfigMap", "probe-hook-upgrade"))
    assert upgrade is not None
    assert sorted(upgrade["events"]) == ["pre-install", "pre-upgrade"]
    assert upgrade["delete_policies"] == ["before-hook-creation"]
    assert release.hook(web) is None


@pytest.mark.parametrize("name", recorded.WAYS)
def test_quick(name: str) -> None:
    """A record is unpacked and one object found in 20 ms of computing; of several attempts the best, since the first one makes the parser."""
    document = recorded.record(name)
    best = 9.0
    for _attempt in range(5):
        begin = time.process_time()
        assert decode(document).document(recorded.ref(name, "apps/v1", "Deployment", "probe-web-0"))
        best = min(best, time.process_time() - begin)
    assert best < 0.02


def test_storages_and_old_records() -> None:
    assert decode(packed(minimal(), "ConfigMap")).storage == "ConfigMap"
    assert decode(packed(minimal(), magic=False)).helm == 3
    entry = packed(minimal())
    del entry["kind"]
    entry["type"] = "helm.sh/release.v1"
    assert decode(entry).storage == "Secret"
    assert decode(packed(minimal(apply_method="csa"))).helm == 4
    assert decode(packed(minimal(apply_method=""))).method == "csa"
    assert decode(helm2_writer.document(helm2_writer.release(helm2_writer.chart("c")), "Secret")).storage == "Secret"
    assert decode(helm2_writer.document(helm2_writer.release(helm2_writer.chart("c")), packed=False)).revision == 3


def bomb() -> dict[str, Any]:
    return packed(b'{"name":"' + b"0" * (80 << 20) + b'"}')


DAMAGED: dict[str, Any] = {
    "no data": {"metadata": {"name": "x"}},
    "no release key": {"metadata": {}, "data": {"other": "x"}},
    "data is a text": {"metadata": {}, "data": "release"},
    "not base64": {"kind": "Secret", "metadata": {}, "data": {"release": f"!{CANARY}!"}},
    "base64 once where twice is due": {**packed(minimal(manifest=CANARY), "ConfigMap"), "kind": "Secret"},
    "truncated": {**packed(minimal(manifest=CANARY), "ConfigMap"), "data": {"release": packed(minimal(manifest=CANARY), "ConfigMap")["data"]["release"][:96]}},
    "bytes after the end": packed(gzip.compress(json.dumps(minimal()).encode()) + CANARY.encode(), magic=False),
    "not JSON": packed(CANARY.encode()),
    "a list": packed([CANARY]),
    "a text": packed(CANARY),
    "no name": packed({"manifest": CANARY}),
    "revision is a word": packed(minimal(version=CANARY)),
    "values are a list": packed(minimal(config=[CANARY])),
    "chart is a text": packed(minimal(chart=CANARY)),
    "hooks are texts": packed(minimal(hooks=[CANARY])),
    "a way of applying that nobody knows": packed(minimal(apply_method=CANARY)),
    "deep": packed(b'{"name":' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
    "a helm 2 record called helm 3": packed(helm2_writer.release(helm2_writer.chart(CANARY))),
    "a helm 3 record called helm 2": helm2_writer.document(json.dumps(minimal(manifest=CANARY)).encode()),
    "helm 2, truncated": helm2_writer.document(helm2_writer.release(helm2_writer.chart("c"), manifest=CANARY)[:-30]),
    "helm 2, a length beyond the end": helm2_writer.document(b"\x0a\xff\xff\xff\xff\x0f" + CANARY.encode()),
    "helm 2, a number without end": helm2_writer.document(b"\x08" + b"\xff" * 40),
    "helm 2, a group": helm2_writer.document(b"\x0b" + CANARY.encode()),
    "helm 2, field 0": helm2_writer.document(b"\x02\x01x"),
    "helm 2, no text": helm2_writer.document(helm2_writer.field(1, b"\xff\xfe" + CANARY.encode())),
    "helm 2, values are a list": helm2_writer.document(helm2_writer.release(helm2_writer.chart("c", f"- {CANARY}\n"))),
    "helm 2, values are no YAML": helm2_writer.document(helm2_writer.release(helm2_writer.chart("c"), config=f"a: [{CANARY}")),
    "helm 2, empty fields": helm2_writer.document(b"\x08\x00" * 1_100_000),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged(name: str) -> None:
    with pytest.raises(Failure) as caught:
        decode(DAMAGED[name])
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value.as_data())
    assert CANARY not in shown
    assert "cannot be known" in caught.value.hint


def test_charts_without_end() -> None:
    chart = helm2_writer.chart("deepest")
    for _level in range(40):
        chart = helm2_writer.chart("c", dependencies=(chart,))
    with pytest.raises(Failure):
        decode(helm2_writer.document(helm2_writer.release(chart)))


def test_bomb_takes_no_memory() -> None:
    document = bomb()
    tracemalloc.start()
    with pytest.raises(Failure):
        decode(document)
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 140 << 20


def test_any_damage_is_a_failure() -> None:
    """Bytes changed at random: either still a release, or a Failure, never another error."""
    dice = random.Random(1)
    outcomes = {"release": 0, "failure": 0}
    for name in ("helm2", "helm4-serverside"):
        document = recorded.record(name)
        text = document["data"]["release"]
        raw = base64.b64decode(base64.b64decode(text) if name != "helm2" else text)
        plain = gzip.decompress(raw)
        for _case in range(300):
            broken = bytearray(plain if dice.random() < 0.7 else raw)
            for _damage in range(dice.randrange(1, 4)):
                broken[dice.randrange(len(broken))] = dice.randrange(256)
            text = base64.b64encode(bytes(broken)) if name == "helm2" else base64.b64encode(base64.b64encode(bytes(broken)))
            document["data"]["release"] = text.decode()
            try:
                release = decode(document)
                release.effective_values()
                release.document(recorded.ref(name, "apps/v1", "Deployment", "probe-web-0"))
                outcomes["release"] += 1
            except Failure:
                outcomes["failure"] += 1
    assert min(outcomes.values()) > 20


def test_shows_nothing() -> None:
    manifest = f"kind: Secret\nmetadata: {{name: s}}\nstringData: {{k: {CANARY}}}\n"
    release = decode(packed(minimal(manifest=manifest, config={"password": CANARY}, hooks=[{"name": "h", "kind": "Secret", "manifest": CANARY}])))
    for shown in (repr(release), str(release), f"{[release]}", json.dumps(release.as_data())):
        assert CANARY not in shown
    assert "n/r" in repr(release)


def test_unreadable_object_of_a_readable_release() -> None:
    release = decode(
        packed(minimal(manifest=f"---\nkind: Secret\nmetadata:\n  name: s\nstringData: [{CANARY}\n---\nkind: ConfigMap\nmetadata:\n  name: fine\n"))
    )
    with pytest.raises(Failure) as caught:
        release.document(Ref("v1", "Secret", "s", "n"))
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def templates(**texts: str) -> Release:
    chart = minimal()["chart"]
    chart["templates"] = [{"name": f"templates/{name}.yaml", "data": base64.b64encode(text.encode()).decode()} for name, text in texts.items()]
    manifest = "".join(f"---\n# Source: c/templates/{name}.yaml\napiVersion: v1\nkind: {name}\nmetadata:\n  name: x\n" for name in texts)
    return decode(packed(minimal(chart=chart, manifest=manifest)))


def test_unpredictable_templates() -> None:
    release = templates(
        Secret='{{- $old := lookup "v1" "Secret" "n" "x" }}\ndata:\n  a: {{ $old }}',
        ConfigMap='data:\n  a: {{ .Values.now }}\n  b: "lookup"',
        Pod='metadata:\n  annotations:\n    made: {{ now | date "2006" }}\nspec:\n  nodeName: {{ .Values.a }}',
    )
    assert release.unpredictable(Ref("v1", "Secret", "x", "n"), ["a"])
    assert not release.unpredictable(Ref("v1", "ConfigMap", "x", "n"), ["a"])
    assert release.unpredictable(Ref("v1", "Pod", "x", "n"), ["made"])
    assert not release.unpredictable(Ref("v1", "Pod", "x", "n"), ["nodeName"])
    assert not release.unpredictable(Ref("v1", "Service", "x", "n"), ["a"])


def test_unpredictable_through_a_named_template() -> None:
    release = templates(
        Secret='data:\n  a: {{ include "c.key" . }}',
        ConfigMap='metadata:\n  labels: {{ include "c.labels" . }}',
        helpers='{{- define "c.labels" }}a: b{{ end }}\n{{- define "c.key" }}{{ randAlphaNum 8 }}{{ end }}\n{{/* now */}}',
    )
    assert release.unpredictable(Ref("v1", "Secret", "x", "n"), ["a"])
    assert not release.unpredictable(Ref("v1", "ConfigMap", "x", "n"), ["a"])
