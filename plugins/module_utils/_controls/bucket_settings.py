# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Buckets outside of the cluster are shut: not public, spoken to in TLS only, with versions to go back to, and what is left over goes after a while.

Only what an option asks for is read and written. What others put into a policy or a lifecycle stays, except statements that let everybody in.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Sequence

from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Recommendation, Wanted, plan_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.credentials import read_file
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Conflict, Invalid, NotProven, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, UNKNOWN, Check, Finding, Proof, Source, status_of
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Plan, look, ref_of, same
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Verb
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.bucket_api import (
    LIFECYCLE,
    POLICY,
    PUBLIC_ACCESS,
    VERSIONING,
    BucketApi,
    Unsupported,
)
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.store import Store

RECOMMENDATION = Recommendation(
    id="bucket-settings",
    title="Buckets outside of the cluster are shut and keep what is overwritten",
    severity="high",
    source=Source(
        "Amazon S3 User Guide, Security best practices for Amazon S3",
        "Preventative security best practices",
        "Ensure that your Amazon S3 buckets use the correct policies and are not publicly accessible.",
    ),
)

# By these our own entries are told from those of others.
STATEMENT, RULE = "PaasHardeningTlsOnly", "paas-hardening"
_POLICY_LANGUAGE = "2012-10-17"
_FLAGS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
_EVERYBODY = "*"
_REFUSED = "refused"
# What a component does in its bucket. Docker's registry and the database's archiver ask for no more, either.
_OF_BUCKET = ("s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads")
_OF_OBJECTS = ("s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject")

ARGUMENTS: Dict[str, Any] = {
    "buckets": {"type": "dict", "required": True},
    "endpoint": {"type": "str"},
    "region": {"type": "str", "default": "us-east-1"},
    "access_key": {"type": "str", "no_log": True},
    "access_key_file": {"type": "path", "no_log": False},
    "secret_key": {"type": "str", "no_log": True},
    "secret_key_file": {"type": "path", "no_log": False},
    "ca_file": {"type": "path"},
    "public_access_blocked": {"type": "bool"},
    "tls_only": {"type": "bool"},
    "versioning": {"type": "bool"},
    "noncurrent_days": {"type": "int"},
    "abort_multipart_days": {"type": "int"},
    "probe": {"type": "bool", "default": True},
}


class Bucket(NamedTuple):
    """One bucket as observed: the settings that were asked for, by kind."""

    name: str
    settings: Mapping[str, Mapping[str, Any]]


def least_privilege(bucket: str) -> Dict[str, Any]:
    """Return the identity policy for a component that works in this bucket and nowhere else. Pure."""
    arn = f"arn:aws:s3:::{bucket}"
    return {
        "Version": _POLICY_LANGUAGE,
        "Statement": [
            {"Sid": "Bucket", "Effect": "Allow", "Action": list(_OF_BUCKET), "Resource": [arn]},
            {"Sid": "Objects", "Effect": "Allow", "Action": list(_OF_OBJECTS), "Resource": [f"{arn}/*"]},
        ],
    }


def tls_only(bucket: str) -> Dict[str, Any]:
    """Return the statement of a bucket policy that refuses everything that comes without TLS. Pure."""
    arn = f"arn:aws:s3:::{bucket}"
    return {
        "Sid": STATEMENT,
        "Effect": "Deny",
        "Principal": _EVERYBODY,
        "Action": "s3:*",
        "Resource": [arn, f"{arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def lets_everybody_in(statement: Mapping[str, Any]) -> bool:
    """Tell whether a statement of a bucket policy allows something to everybody, on no condition. Pure."""
    principal = statement.get("Principal")
    named = principal.get("AWS") if isinstance(principal, Mapping) else principal
    everybody = named == _EVERYBODY or (isinstance(named, (list, tuple)) and _EVERYBODY in named)
    return statement.get("Effect") == "Allow" and everybody and not statement.get("Condition")


def wanted_settings(bucket: Bucket, params: Mapping[str, Any]) -> List[Wanted]:
    """Return every field of a bucket's settings that has to be right. Pure."""
    return [*_public_access(bucket, params), *_policy(bucket, params), *_versioning(bucket, params), *_lifecycle(bucket, params)]


def _public_access(bucket: Bucket, params: Mapping[str, Any]) -> List[Wanted]:
    document = bucket.settings.get(PUBLIC_ACCESS)
    if document is None:
        return []
    value = True if params["public_access_blocked"] else ABSENT
    return [Wanted(document, (flag,), value, "nobody without credentials has anything to do here") for flag in _FLAGS]


def _policy(bucket: Bucket, params: Mapping[str, Any]) -> List[Wanted]:
    document = bucket.settings.get(POLICY)
    if document is None:
        return []
    found = _listed(look(document, ("Statement",)))
    statements, why = found, []
    if params["public_access_blocked"] and PUBLIC_ACCESS not in bucket.settings:
        statements = [entry for entry in statements if not lets_everybody_in(entry)]
        why.append("nobody without credentials has anything to do here")
    if params["tls_only"] is not None:
        statements = [entry for entry in statements if entry.get("Sid") != STATEMENT]
        if params["tls_only"]:
            ours = tls_only(bucket.name)
            kept = next((entry for entry in found if _alike(entry, ours)), ours)
            statements = _in_place(found, statements, kept, "Sid")
            why.append("credentials and content are not to be read on the way")
    wanted: Any = statements or ABSENT
    reason = "; ".join(why) or "as asked"
    return [
        # Another version would give the statements of others another meaning.
        Wanted(document, ("Version",), (document.get("Version", ABSENT) if found else _POLICY_LANGUAGE) if statements else ABSENT, reason),
        Wanted(document, ("Statement",), wanted, reason),
    ]


def _versioning(bucket: Bucket, params: Mapping[str, Any]) -> List[Wanted]:
    document = bucket.settings.get(VERSIONING)
    if document is None:
        return []
    status = document.get("Status")
    if params["versioning"]:
        return [Wanted(document, ("Status",), "Enabled", "what is overwritten or deleted by mistake can be had back")]
    # A bucket that never kept versions cannot be suspended, and need not.
    return [Wanted(document, ("Status",), "Suspended", "no versions, as asked")] if status == "Enabled" else []


def _lifecycle(bucket: Bucket, params: Mapping[str, Any]) -> List[Wanted]:
    document = bucket.settings.get(LIFECYCLE)
    if document is None:
        return []
    found = _listed(look(document, ("Rules",)))
    rules = [rule for rule in found if rule.get("ID") != RULE]
    ours = _rule(params)
    if ours:
        kept = next((rule for rule in found if _alike(rule, ours)), ours)
        rules = _in_place(found, rules, kept, "ID")
    return [Wanted(document, ("Rules",), rules or ABSENT, "old versions and torn uploads cost room and help nobody")]


def _rule(params: Mapping[str, Any]) -> Dict[str, Any]:
    """Our rule, or nothing. It never touches an object's current version: what a platform has not deleted itself, it needs."""
    actions: Dict[str, Any] = {}
    if params["noncurrent_days"]:
        actions["NoncurrentVersionExpiration"] = {"NoncurrentDays": params["noncurrent_days"]}
    if params["abort_multipart_days"]:
        actions["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": params["abort_multipart_days"]}
    return {"ID": RULE, "Status": "Enabled", "Filter": {"Prefix": ""}, **actions} if actions else {}


def _listed(value: Any) -> List[Dict[str, Any]]:
    """A single statement may stand without a list around it."""
    if value is ABSENT:
        return []
    return [dict(value)] if isinstance(value, Mapping) else list(value)


def _in_place(before: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]], ours: Mapping[str, Any], key: str) -> List[Any]:
    """Put our entry where it stood, or behind the others."""
    place = next((number for number, entry in enumerate(before) if entry.get(key) == ours[key]), len(others))
    return [*others[:place], ours, *others[place:]]


def _alike(found: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Tell whether a store's spelling of an entry means ours: lists of one, the everybody of AWS, an empty filter."""
    return same(_plain(found), _plain(ours))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        kept = {key: _plain(inner) for key, inner in value.items()}
        if kept.get("Principal") == {"AWS": _EVERYBODY}:
            kept["Principal"] = _EVERYBODY
        return {key: inner for key, inner in kept.items() if inner not in ({}, "", None) and not (key == "Filter" and inner == {"Prefix": ""})}
    if isinstance(value, (list, tuple)):
        entries = sorted((_plain(entry) for entry in value), key=str)
        return entries[0] if len(entries) == 1 else entries
    return str(value).lower() if isinstance(value, bool) else value


class BucketSettings:
    """The settings of all buckets of one store at work."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params
        self._store = _store(params)
        self._buckets = _buckets(params, self._store)
        self._api = BucketApi(self._store)

    def observe(self) -> List[Bucket]:
        return [self._look(name) for name in self._buckets.values()]

    def _look(self, name: str) -> Bucket:
        params = self._params
        settings: Dict[str, Mapping[str, Any]] = {}
        if params["public_access_blocked"] is not None:
            try:
                settings[PUBLIC_ACCESS] = self._api.read(PUBLIC_ACCESS, name)
            except Unsupported:
                # Then the policy alone decides who gets in.
                settings[POLICY] = self._api.read(POLICY, name)
        if params["tls_only"] is not None and POLICY not in settings:
            settings[POLICY] = self._api.read(POLICY, name)
        if params["versioning"] is not None:
            settings[VERSIONING] = self._api.read(VERSIONING, name)
        if params["noncurrent_days"] is not None or params["abort_multipart_days"] is not None:
            settings[LIFECYCLE] = self._api.read(LIFECYCLE, name)
        return Bucket(name, settings)

    def plan(self, observed: List[Bucket]) -> Plan:
        return plan_of([entry for bucket in observed for entry in wanted_settings(bucket, self._params)])

    def apply(self, plan: Plan) -> None:
        """Write one setting of one bucket. Raises Conflict when it is no longer as planned: a store keeps no version of it that a write could name."""
        ref = plan.changes[0].ref
        document = self._api.read(ref.kind, ref.name)
        if not all(same(look(document, change.path), change.before) for change in plan.changes):
            raise Conflict(f"{ref} is no longer as it was observed.", "Somebody else changes it; run again.", str(ref))
        for change in plan.changes:
            (part,) = change.path
            if change.after is ABSENT:
                document.pop(str(part), None)
            else:
                document[str(part)] = change.after
        self._api.write(document)

    def settle(self, observed: List[Bucket], plan: Plan) -> float:
        return 0.0

    def abandon(self) -> str:
        return ""

    def conclude(self, first: List[Bucket], last: List[Bucket], plan: Plan, enforced: bool) -> Dict[str, Any]:
        proofs = {bucket.name: self._probe(bucket.name) if self._params["probe"] else Proof() for bucket in last}
        wrong = [str(proof) for proof in proofs.values() if proof.checks and proof.verdict != PASS]
        if enforced and wrong:
            raise NotProven(
                f"The settings are right, but the effect is not seen: {wrong[0]}.",
                "Look at the access lists of the bucket and its objects, or set probe to false to rest on the settings alone.",
            )
        before, after = {bucket.name: bucket for bucket in first}, {bucket.name: bucket for bucket in last}
        findings = [self._finding(before[name], after[name], plan, enforced, proof) for name, proof in proofs.items()]
        checks = tuple(check for proof in proofs.values() for check in proof.checks)
        return {
            "findings": [finding.as_data() for finding in findings],
            "proof": Proof(checks).as_data(),
            "identity_policies": {role: least_privilege(name) for role, name in self._buckets.items()},
        }

    def _finding(self, first: Bucket, last: Bucket, plan: Plan, enforced: bool, proof: Proof) -> Finding:
        planned = any(change.ref.name == first.name for change in plan.changes)
        probed = bool(self._params["probe"]) and bool(proof.checks)
        refused = [name for name in ("public_access_blocked", "tls_only", "versioning") if self._params[name] is False]
        reasons = (f"{' and '.join(refused)} {'is' if len(refused) == 1 else 'are'} false",) if refused else ()
        return Finding(
            control=RECOMMENDATION.id,
            title=RECOMMENDATION.title,
            severity=RECOMMENDATION.severity,
            source=RECOMMENDATION.source,
            subject=f"bucket {first.name} at {self._store.name}",
            status=FAIL if refused else status_of(planned, enforced, proof, probed),
            expected=", ".join(f"{ref_of(entry.document).kind} as asked" for entry in _one_each(wanted_settings(last, self._params))) or "nothing asked for",
            observed=_described(first, self._params),
            after=_described(last, self._params),
            reasons=reasons,
            proof=proof,
        )

    def _probe(self, bucket: str) -> Proof:
        checks: List[Check] = []
        if self._params["public_access_blocked"]:
            for what, status in self._api.anonymous(bucket, self._api.some_key(bucket)):
                checks.append(Check(f"{what} of {bucket} without credentials", _REFUSED, f"HTTP {status}", _verdict(status)))
        if self._params["tls_only"]:
            answer = self._api.in_plain_text(bucket)
            seen, verdict = ("no answer", PASS) if answer is None else (f"HTTP {answer}", _verdict(answer))
            checks.append(Check(f"{bucket} without TLS", _REFUSED, seen, verdict))
        return Proof(tuple(checks))


def _verdict(status: int) -> str:
    if status in (401, 403):
        return PASS
    return FAIL if status < 400 else UNKNOWN


def _one_each(wanted: Sequence[Wanted]) -> List[Wanted]:
    return list({ref_of(entry.document): entry for entry in wanted}.values())


def _described(bucket: Bucket, params: Mapping[str, Any]) -> str:
    """Say in words how a bucket stands."""
    words: List[str] = []
    entries = wanted_settings(bucket, params)
    for kind, name in ((PUBLIC_ACCESS, "public access block"), (POLICY, "policy"), (VERSIONING, "versioning"), (LIFECYCLE, "lifecycle")):
        if kind in bucket.settings:
            held = all(entry.holds for entry in entries if entry.document["kind"] == kind)
            words.append(f"{name} {'as asked' if held else 'not as asked'}")
    return ", ".join(words) or "nothing asked for"


def _store(params: Mapping[str, Any]) -> Store:
    for name in ("noncurrent_days", "abort_multipart_days"):
        if params[name] is not None and params[name] < 0:
            raise Invalid(f"{name} is {params[name]}.", "Give a number of days, or 0 for none.", subject=name)
    store = Store(
        "s3",
        endpoint=params["endpoint"] or "",
        region=params["region"],
        access_key=read_file(params, "access_key"),
        secret_key=read_file(params, "secret_key"),
        ca_file=params["ca_file"] or "",
    )
    if params["tls_only"] and not store.encrypted:
        raise Refused(
            f"tls_only is true, but endpoint is {store.endpoint}: whoever uses the store under that address would be shut out.",
            "Give the store TLS and an address with https first; Deis and Hephy speak plain HTTP to a store of one's own, so leave tls_only out there.",
            subject="tls_only",
        )
    return store


def _buckets(params: Mapping[str, Any], store: Store) -> Dict[str, str]:
    buckets = {str(role): str(name) for role, name in params["buckets"].items()}
    if not buckets:
        raise Invalid("buckets is empty.", "Name them, for example {registry: paas-registry}.", subject="buckets")
    for role, name in buckets.items():
        store.check_bucket(name, f"buckets.{role}")
    return buckets


VERB = Verb(ARGUMENTS, BucketSettings)
