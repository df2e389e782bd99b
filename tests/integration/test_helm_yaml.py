"""Our reader of YAML, against helm's own: what a scalar means decides whether two values are the same."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from ansible_collections.paas.hardening.plugins.module_utils._cluster.manifest import read_yaml
from ansible_collections.paas.hardening.plugins.module_utils._cluster.merge import same
from lab.cluster import Cluster

SCALARS = [
    *(
        "1",
        "-1",
        "+1",
        "1000000",
        "1e+06",
        "1e6",
        "1E-3",
        "1.5",
        ".5",
        "5.",
        "1_000",
        "0",
        "00",
        "07",
        "0777",
        "0899",
        "08.5",
        "0o17",
        "0x1F",
        "0b101",
        "-0b11",
    ),
    *("yes", "no", "Yes", "NO", "on", "off", "y", "n", "Y", "N", "true", "True", "TRUE", "tRue", "false", "null", "Null", "NULL", "~", "", "nil"),
    *('"1"', "'true'", '""', "''", '"a\\tb"', "'it''s'", "plain text", "2024-01-01", "2024-01-01T00:00:00Z", "12:30", "1:30:15", "190:20:30", "10.0.0.1"),
    *("1.2.3", "v1", "=", "<<a", "-", "- a", "[a, 1, yes]", "{a: 1}", "[]", "{}", "1.", "1e", "e1", "0x", "0b2", "_1", "1__0", "-", "+", "."),
    *("1,000", "100m", "1Gi", "0.5", "!!str 1", "|\n  a\n  b\n", ">-\n  a\n  b\n", "|+\n  a\n\n", "- |\n  x"),
]


@pytest.mark.parametrize("version", ["helm", "helm4"])
def test_same_scalars(lab_cluster: Cluster, tmp_path: Path, version: str) -> None:
    """Every scalar by itself, so that one which cannot be read says nothing about another."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("apiVersion: v1\nname: scalars\nversion: 0.1.0\n", encoding="utf-8")
    for number, scalar in enumerate(SCALARS):
        (tmp_path / f"{number:03}.txt").write_text(text_of(scalar), encoding="utf-8")
    template = '{{ range $path, $_ := .Files.Glob "*.txt" }}\n---\nfile: {{ $path }}\nread: {{ $.Files.Get $path | fromYaml | toJson | quote }}\n{{ end }}'
    (tmp_path / "templates" / "all.yaml").write_text(template, encoding="utf-8")
    command = [str(lab_cluster.binary(version)), "template", "x", str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    theirs = {}
    for line in answer.splitlines():
        if line.startswith("file: "):
            name = line.removeprefix("file: ")
        elif line.startswith("read: "):
            theirs[int(name.removesuffix(".txt"))] = json.loads(json.loads(line.removeprefix("read: ")))
    wrong = []
    for number, scalar in enumerate(SCALARS):
        if "Error" in theirs[number]:
            continue
        ours = read_yaml(text_of(scalar))
        if not same(ours, theirs[number]):
            wrong.append(f"{scalar!r}: helm reads {theirs[number]}, we {ours}")
    assert len(theirs) == len(SCALARS)
    assert not wrong, "\n".join(wrong)


def text_of(scalar: str) -> str:
    return f"key: {scalar}\n"
