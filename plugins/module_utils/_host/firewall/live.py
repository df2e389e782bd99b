# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table as the kernel has it, in a form that can be compared, and in words."""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT
from ansible_collections.paas.hardening.plugins.module_utils._host.firewall.ruleset import CHAIN, RULE, VRRP

_HANDLE = re.compile(r"^\s*(?P<text>.*?)(?: comment \"[^\"]*\")? # handle (?P<number>\d+)$")
_COUNTED = re.compile(r"counter packets \d+ bytes \d+")
BY_HAND = "made by hand"

Field = Tuple[str, Any, Any]


class Rule(NamedTuple):
    """One rule: the name that it has by its comment, its words, and its form, by which it is told from others."""

    name: str
    words: str
    form: str


class Table(NamedTuple):
    """The table: its rules in their order, and everything else about it (its chain's hook, sets and chains that somebody added)."""

    rules: Tuple[Rule, ...]
    frame: str

    def by_name(self) -> Dict[str, List[Rule]]:
        found: Dict[str, List[Rule]] = {}
        for rule in self.rules:
            found.setdefault(rule.name, []).append(rule)
        return found


def read(listing: str, text: str) -> Table:
    """Return the table from what ``nft --json list table`` and ``nft --handle list table`` print of it. Raises ValueError for what is no such listing."""
    texts = {int(match["number"]): _COUNTED.sub("counter", match["text"]) for match in map(_HANDLE.match, text.splitlines()) if match}
    rules: List[Rule] = []
    frame: List[Any] = []
    for entry in json.loads(listing)["nftables"]:
        (kind, content), *_rest = entry.items()
        if kind == "metainfo":
            continue
        kept = {key: value for key, value in content.items() if key not in ("handle", "index")}
        if kind != "rule":
            frame.append({kind: _sorted(kept)})
            continue
        words = texts.get(content["handle"], "")
        name = str(content.get("comment") or f"{BY_HAND}: {words}")
        rules.append(Rule(name, _in_words(content["expr"]) or words, json.dumps(_sorted(kept), sort_keys=True)))
    return Table(tuple(rules), json.dumps(frame, sort_keys=True))


def _sorted(value: Any) -> Any:
    """Bring sets into one order, and counters to nought: neither says anything about what the table does."""
    if isinstance(value, Mapping):
        if set(value) == {"packets", "bytes"}:
            return {}
        return {key: sorted(map(_sorted, inner), key=_text) if key == "set" and isinstance(inner, list) else _sorted(inner) for key, inner in value.items()}
    return [_sorted(inner) for inner in value] if isinstance(value, list) else value


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _in_words(expression: List[Mapping[str, Any]]) -> str:
    """Return what an accepting rule of our shape lets in, or nothing for another one."""
    source, service = "anywhere", ""
    for part in expression[:-1]:
        match = part.get("match") or {}
        left = match.get("left") or {}
        payload = left.get("payload") or {}
        if match.get("op") != "==":
            return ""
        if payload.get("field") == "saddr":
            source = _values(match["right"])
        elif payload.get("field") == "dport":
            service = f"{payload['protocol']} {_values(match['right'])}"
        elif left == {"meta": {"key": "l4proto"}} and match["right"] in ("vrrp", VRRP):
            service = "vrrp"
        else:
            return ""
    return f"{service} from {source}" if service and expression and "accept" in expression[-1] else ""


def _values(right: Any) -> str:
    entries = right["set"] if isinstance(right, Mapping) and "set" in right else [right]
    return ", ".join(map(_value, entries))


def _value(entry: Any) -> str:
    if isinstance(entry, Mapping) and "prefix" in entry:
        return f"{entry['prefix']['addr']}/{entry['prefix']['len']}"
    if isinstance(entry, Mapping) and "range" in entry:
        return "-".join(map(str, entry["range"]))
    return str(entry)


def differences(live: Optional[Table], wanted: Table) -> List[Field]:
    """Return in words what is not as wanted: (field, before, after), ABSENT for what is not there or has to go. Pure."""
    found: List[Field] = []
    before, after = (live or Table((), "")).by_name(), wanted.by_name()
    for name in [*after, *(name for name in before if name not in after)]:
        old, new = before.get(name, []), after.get(name, [])
        if sorted(rule.form for rule in old) != sorted(rule.form for rule in new):
            found.append((name, _told(old), _told(new)))
    if live is not None and live.frame != wanted.frame:
        found.append((f"chain {CHAIN}", "changed by hand: another hook, or chains and sets beside it", "as it was made"))
    if live is not None and not found and [rule.form for rule in live.rules] != [rule.form for rule in wanted.rules]:
        found.append(("order of the rules", ", ".join(rule.name for rule in live.rules), ", ".join(rule.name for rule in wanted.rules)))
    return found


def _told(rules: List[Rule]) -> Any:
    return "; ".join(rule.words for rule in rules) if rules else ABSENT


def why(field: Field) -> str:
    """Return the reason for a difference."""
    name, before, after = field
    if after is ABSENT:
        return "no rule of yours asks for it"
    if name.startswith(RULE):
        return "this rule lets it in, and nobody else" if before is ABSENT else "this is what the rule says now"
    return "part of every ruleset"
