# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies of S3: what an identity may do in its buckets, in the words of the API, and whether two policies mean the same. Pure."""

from __future__ import annotations

import json
from typing import Any, Dict, FrozenSet, Iterable, List, Mapping, NamedTuple, Sequence, Tuple

LANGUAGE = "2012-10-17"
EVERYBODY = "*"
READ, WRITE = "read", "write"
# What a component does in its bucket, and with the objects in it.
_IN_BUCKET: Dict[str, Tuple[str, ...]] = {
    READ: ("s3:GetBucketLocation", "s3:ListBucket"),
    WRITE: ("s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"),
}
_WITH_OBJECTS: Dict[str, Tuple[str, ...]] = {
    READ: ("s3:GetObject",),
    WRITE: ("s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject"),
}


class Statement(NamedTuple):
    """One statement, its lists in no order. ``rest`` is what stands there beside: conditions, exclusions."""

    effect: str
    principals: FrozenSet[str]
    actions: FrozenSet[str]
    resources: FrozenSet[str]
    rest: str

    def __str__(self) -> str:
        who = f" {', '.join(sorted(self.principals))}" if self.principals else ""
        return f"{self.effect}{who}: {', '.join(sorted(self.actions))} on {', '.join(sorted(self.resources))}{' if ' + self.rest if self.rest else ''}"

    def as_data(self) -> Dict[str, Any]:
        """Return it as it stands in a policy."""
        who = {"Principal": {"AWS": sorted(self.principals)}} if self.principals else {}
        more: Dict[str, Any] = json.loads(self.rest) if self.rest else {}
        return {"Effect": self.effect, **who, "Action": sorted(self.actions), "Resource": sorted(self.resources), **more}


def rights_of(buckets: Sequence[str], rights: str, principal: str = "") -> FrozenSet[Statement]:
    """Return what an identity may do in these buckets: as a policy of its own, or with its name as a part of the policy of a bucket."""
    who = frozenset([principal] if principal else [])
    arns = [f"arn:aws:s3:::{bucket}" for bucket in buckets]
    return frozenset(
        [
            Statement("Allow", who, frozenset(_IN_BUCKET[rights]), frozenset(arns), ""),
            Statement("Allow", who, frozenset(_WITH_OBJECTS[rights]), frozenset(f"{arn}/*" for arn in arns), ""),
        ]
    )


def statements_of(document: Mapping[str, Any]) -> FrozenSet[Statement]:
    """Return the statements of a policy, as it is stored."""
    listed = document.get("Statement") or []
    return frozenset(_statement(one) for one in ([listed] if isinstance(listed, Mapping) else listed))


def _statement(given: Mapping[str, Any]) -> Statement:
    principal = given.get("Principal") or ()
    named = principal.get("AWS", ()) if isinstance(principal, Mapping) else principal
    others = {key: value for key, value in given.items() if key not in ("Effect", "Principal", "Action", "Resource", "Sid") and value}
    rest = json.dumps(others, sort_keys=True) if others else ""
    return Statement(str(given.get("Effect", "")), _texts(named), _texts(given.get("Action", ())), _texts(given.get("Resource", ())), rest)


def _texts(value: Any) -> FrozenSet[str]:
    return frozenset([value] if isinstance(value, str) else (str(one) for one in value))


def shut(found: Iterable[Statement], ours: FrozenSet[Statement]) -> FrozenSet[Statement]:
    """Return what a bucket's policy has to be: ours, and what others deny. Nobody else is allowed anything."""
    return ours | frozenset(one for one in found if one.effect == "Deny")


def lets_everybody_in(statements: Iterable[Statement]) -> bool:
    """Tell whether a policy allows something to everybody."""
    return any(one.effect == "Allow" and EVERYBODY in one.principals for one in statements)


def document_of(statements: FrozenSet[Statement]) -> Dict[str, Any]:
    """Return a policy as it is sent."""
    return {"Version": LANGUAGE, "Statement": [one.as_data() for one in sorted(statements, key=str)]}


def words_of(statements: Iterable[Statement]) -> List[str]:
    """Return statements for people, in one order."""
    return sorted(str(one) for one in statements)
