"""The charts: a shared part and what one platform does in its own way, laid together to the tree that Helm installs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

from lab.errors import LabError

FOLDER = Path(__file__).resolve().parent
#: platform -> the shared chart that its own files are laid over
SHARED = {"hephy": "workflow", "deis": "workflow", "drycc-1.8": "drycc", "drycc-head": "drycc"}
_PULL = ("pull_policy", "imagePullPolicy")


def names() -> list[str]:
    """The platforms that there are."""
    return sorted(SHARED)


def assemble(name: str, target: Path) -> Path:
    """Write the chart of a platform into the folder `target`, which is emptied first. Raises LabError for a name that is none."""
    if name not in SHARED:
        raise LabError(f"{name!r} is no platform of the lab; there are {', '.join(names())}")
    shutil.rmtree(target, ignore_errors=True)
    for source in (FOLDER / SHARED[name], FOLDER / name):
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("variant.yaml"))
    values = _laid_over(_read(FOLDER / SHARED[name] / "values.yaml"), _read(FOLDER / name / "variant.yaml"))
    (target / "values.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return target


def effective_values(chart: Path) -> dict[str, Any]:
    """The defaults of an assembled chart as its templates see them: the components' own, with the umbrella's laid over."""
    below = {path.parent.name: _read(path) for path in sorted(chart.glob("charts/*/values.yaml"))}
    return _laid_over(below, _read(chart / "values.yaml"))


def pulled_if_absent(values: dict[str, Any]) -> dict[str, Any]:
    """Values that set every pull policy among the given ones to IfNotPresent: in the lab there is no registry to pull from again."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key in _PULL:
            found[key] = "IfNotPresent"
        elif isinstance(value, dict) and (inner := pulled_if_absent(value)):
            found[key] = inner
    return found


def merged(*layers: dict[str, Any]) -> dict[str, Any]:
    """Values laid over each other, the last one on top; lists are replaced."""
    result: dict[str, Any] = {}
    for layer in layers:
        result = _laid_over(result, layer)
    return result


def _laid_over(lower: dict[str, Any], upper: dict[str, Any]) -> dict[str, Any]:
    result = dict(lower)
    for key, value in upper.items():
        under = result.get(key)
        result[key] = _laid_over(under if isinstance(under, dict) else {}, value) if isinstance(value, dict) else value
    return result


def _read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text()) or {}
