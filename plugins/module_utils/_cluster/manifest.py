# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rendered manifests: finds one object in a long YAML text without parsing the rest, and reads YAML the way Helm does."""

from __future__ import annotations

import contextlib
import functools
import re
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Ref

# Whoever connects has been told already when it is missing.
with contextlib.suppress(ImportError):
    import yaml

_SEPARATOR = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_KIND = re.compile(r"""^["']?kind["']?\s*:\s*["']?([A-Za-z0-9]+)""", re.MULTILINE)
_SOURCE = re.compile(r"^# Source: (\S+)", re.MULTILINE)
# More than any real chart has; an alias that multiplies itself gets there at once.
_MOST_NODES = 2_000_000
_DEEPEST = 200
_INDENTED = re.compile(rf"^[ \t?:-]{{{_DEEPEST}}}", re.MULTILINE)

# Kinds that moved out of the group in which old charts still name them.
_MOVED_FROM = {"extensions": ("apps", "networking.k8s.io", "policy")}


_SCALARS = (
    ("bool", r"^(?:y|Y|yes|Yes|YES|n|N|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$", "yYnNtTfFoO"),
    ("int", r"^[-+]?(?:0b[01_]+|0o?[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$", "-+0123456789."),
    ("merge", r"^<<$", "<"),
    ("null", r"^(?:~|null|Null|NULL|)$", ("~", "n", "N", "")),
)


@functools.cache
def _helm_yaml() -> Any:
    """Return a loader with the scalars of Helm's parser: no dates, no base 60, ``1e+06`` is a number."""
    # The C loader is not always there.
    loader: Any = type("HelmYaml", (getattr(yaml, "CSafeLoader", yaml.SafeLoader),), {"yaml_implicit_resolvers": {}})
    for tag, pattern, first in _SCALARS:
        loader.add_implicit_resolver("tag:yaml.org,2002:" + tag, re.compile(pattern), list(first))
    loader.add_constructor("tag:yaml.org,2002:bool", _bool)
    loader.add_constructor("tag:yaml.org,2002:int", _int)
    return loader


def _bool(loader: Any, node: Any) -> bool:
    return loader.construct_scalar(node).lower() in ("y", "yes", "true", "on")


def _int(loader: Any, node: Any) -> int:
    text = loader.construct_scalar(node).replace("_", "").lower()
    digits = text.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        text = text[: len(text) - len(digits)] + "0o" + digits[1:]
    return int(text, 0)


def read_yaml(text: str) -> Any:
    """Parse one YAML document. Raises Failure, without any of the text, when it is damaged or built to exhaust the reader."""
    damaged = Failure("A YAML document of a Helm release cannot be read.", "What the next upgrade does cannot be known from it.")
    try:
        # The C composer calls itself for each level and would take the process with it.
        if _may_be_deep(text) and _is_deep(text):
            raise damaged
        document = yaml.load(text, Loader=_helm_yaml())
    except (yaml.YAMLError, ValueError, RecursionError):
        raise damaged from None
    if "&" in text and "*" in text:
        _spend(document, damaged)
    return document


def _may_be_deep(text: str) -> bool:
    """Tell quickly whether the text could nest too deep: each level takes a column of indentation, a dash, or a bracket."""
    return text.count("[") + text.count("{") > _DEEPEST or _INDENTED.search(text) is not None


def _is_deep(text: str) -> bool:
    depth = 0
    for event in yaml.parse(text, Loader=_helm_yaml()):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            return True
    return False


def _spend(document: Any, damaged: Failure) -> None:
    left, waiting = _MOST_NODES, [document]
    while waiting:
        node = waiting.pop()
        left -= 1
        if left < 0:
            raise damaged
        if isinstance(node, dict):
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


class Manifest:
    """The rendered objects of one release. Its text holds secrets, so nothing of it is ever shown."""

    def __init__(self, text: str, namespace: str) -> None:
        self._text = text
        self._namespace = namespace
        self._found: Dict[Ref, Tuple[Optional[Dict[str, Any]], str]] = {}
        self._index: Optional[List[Tuple[str, int, int]]] = None

    def __repr__(self) -> str:
        return "Manifest(hidden)"

    def find(self, ref: Ref) -> Optional[Dict[str, Any]]:
        """Return the object as the chart states it, or None. Raises Failure when the document cannot be read."""
        return self._look_up(ref)[0]

    def source(self, ref: Ref) -> str:
        """Return the path of the template that made the object, or an empty text."""
        return self._look_up(ref)[1]

    def _look_up(self, ref: Ref) -> Tuple[Optional[Dict[str, Any]], str]:
        if ref not in self._found:
            self._found[ref] = self._search(ref)
        return self._found[ref]

    def _search(self, ref: Ref) -> Tuple[Optional[Dict[str, Any]], str]:
        for kind, start, end in self._documents():
            # A List holds other kinds; a document without a readable kind line (JSON on one line) has to be parsed.
            if kind not in ("", ref.kind) and not kind.endswith("List"):
                continue
            if self._text.find(ref.name, start, end) < 0:
                continue
            text = self._text[start:end]
            for document in _objects_in(read_yaml(text)):
                if self._is(document, ref):
                    source = _SOURCE.search(text)
                    return document, source.group(1) if source else ""
        return None, ""

    def _documents(self) -> List[Tuple[str, int, int]]:
        if self._index is None:
            marks = [match.end() for match in _SEPARATOR.finditer(self._text)]
            starts = [0, *marks]
            ends = [*(mark - 3 for mark in marks), len(self._text)]
            self._index = []
            for start, end in zip(starts, ends):
                kind = _KIND.search(self._text, start, end)
                self._index.append((kind.group(1) if kind else "", start, end))
        return self._index

    def _is(self, document: Mapping[str, Any], ref: Ref) -> bool:
        metadata = document.get("metadata")
        if document.get("kind") != ref.kind or not isinstance(metadata, Mapping) or metadata.get("name") != ref.name:
            return False
        if ref.namespace and (metadata.get("namespace") or self._namespace) != ref.namespace:
            return False
        stated, wanted = _group(str(document.get("apiVersion") or "")), _group(ref.api_version)
        return stated == wanted or wanted in _MOVED_FROM.get(stated, ()) or stated in _MOVED_FROM.get(wanted, ())


def _objects_in(document: Any) -> Iterator[Dict[str, Any]]:
    if not isinstance(document, dict):
        return
    if str(document.get("kind", "")).endswith("List") and isinstance(document.get("items"), list):
        for item in document["items"]:
            yield from _objects_in(item)
    else:
        yield document


def _group(api_version: str) -> str:
    return api_version.rpartition("/")[0]
