"""Finding one object in a long manifest."""

from __future__ import annotations

import contextlib
import time
import tracemalloc

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.manifest import Manifest, read_yaml
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Ref

TEXT = """---
# Source: c/charts/router/templates/router.yaml
apiVersion: extensions/v1beta1
kind: Deployment
metadata:
  name: router
spec: {replicas: 1e+00}
--- # a comment here
apiVersion: v1
kind: ConfigMap   # another
metadata:
  name: router
  namespace: elsewhere
data:
  text: |
    kind: Secret
    metadata:
      name: inside
    ----
---
apiVersion: v1
kind: "Secret"
metadata: {name: 'quoted'}
---
{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "in-json"}}
---
apiVersion: v1
kind: List
items:
  - apiVersion: v1
    kind: Secret
    metadata: {name: listed}
  - apiVersion: v1
    kind: SecretList
    items:
      - {apiVersion: v1, kind: Secret, metadata: {name: nested}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: wide
---

---
# nothing but a comment
---
just: a map
kind: Secret
---
kind: Secret
metadata: a text that names router
"""


def find(kind: str, name: str, namespace: str = "ns", api_version: str = "v1") -> object:
    return Manifest(TEXT, "ns").find(Ref(api_version, kind, name, namespace))


def test_finds_by_kind_name_and_namespace() -> None:
    manifest = Manifest(TEXT, "ns")
    router = Ref("apps/v1", "Deployment", "router", "ns")
    assert manifest.find(router)["spec"]["replicas"] == 1
    assert manifest.source(router) == "c/charts/router/templates/router.yaml"
    assert find("Deployment", "router", "other", "apps/v1") is None
    assert find("Deployment", "route", "ns", "apps/v1") is None
    assert find("ConfigMap", "router") is None
    assert find("ConfigMap", "router", "elsewhere")
    assert find("Secret", "inside") is None
    assert find("Secret", "quoted")
    assert find("Service", "in-json")
    assert find("Service", "in-json", "ns", "serving.example.org/v1") is None
    assert find("Secret", "listed")
    assert find("Secret", "nested")
    assert find("ClusterRole", "wide", "", "rbac.authorization.k8s.io/v1")
    assert find("Secret", "nowhere") is None


def test_empty() -> None:
    assert Manifest("", "ns").find(Ref("v1", "Secret", "x", "ns")) is None
    assert Manifest("", "ns").source(Ref("v1", "Secret", "x", "ns")) == ""
    assert "router" not in repr(Manifest(TEXT, "ns"))


def test_parses_only_what_it_is_asked_for() -> None:
    """A damaged document elsewhere does no harm."""
    manifest = Manifest(TEXT + "---\nkind: ConfigMap\nmetadata: {name: broken\n", "ns")
    assert manifest.find(Ref("apps/v1", "Deployment", "router", "ns"))
    with pytest.raises(Failure):
        manifest.find(Ref("v1", "ConfigMap", "broken", "ns"))


def test_long_manifest_is_quick() -> None:
    documents = (f"---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c{number}\ndata:\n  text: {'x' * 500}\n" for number in range(2000))
    manifest = Manifest("".join(documents), "ns")
    begin = time.process_time()
    assert manifest.find(Ref("v1", "ConfigMap", "c1999", "ns"))
    assert time.process_time() - begin < 0.5


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 100_000,
        "a: " + "[" * 5_000 + "]" * 5_000,
        "\n".join(f"{' ' * depth}- a:" for depth in range(3_000)),
        "- " * 50_000 + "x",
        "a: [b",
        "a: !!python/object/apply:os.system ['true']",
        "a: !!binary '!'",
        "? [a]\n: b",
        "a: &a [*a]",
        "a: 0b",
        "a: *nobody",
        "\x00",
        "a: b\n---\nc: d",
    ],
)
def test_hostile_text(text: str) -> None:
    """A Failure, or data that is harmless; never another error, never the end of the process."""
    with contextlib.suppress(Failure):
        read_yaml(text)


def test_deep_but_not_too_deep() -> None:
    """Brackets in texts and wide indentation are no nesting."""
    assert read_yaml("a: |\n" + " " * 400 + "x\n") == {"a": "x\n"}
    assert read_yaml(f"a: '{'[' * 500}'") == {"a": "[" * 500}
    assert read_yaml("[" * 150 + "]" * 150)
    assert read_yaml("[" + "[]," * 1000 + "]")
    for text in ("[" * 250 + "]" * 250, "- " * 250 + "x"):
        with pytest.raises(Failure):
            read_yaml(text)


def test_aliases_do_not_multiply() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 9)}]" for number in range(1, 10)]
    tracemalloc.start()
    with pytest.raises(Failure):
        read_yaml("\n".join(lines))
    assert tracemalloc.get_traced_memory()[1] < 200 << 20
    tracemalloc.stop()
    assert read_yaml("a: &x {b: 1}\nc: {<<: *x, d: *x}") == {"a": {"b": 1}, "c": {"b": 1, "d": {"b": 1}}}
