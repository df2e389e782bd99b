# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images are kept outside of the cluster: the platform pushes to, and its apps pull from, a registry that outlives it."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._cluster.release import Releases
from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import Settings, workload_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Recommendation, Site, Wanted
from ansible_collections.paas.hardening.plugins.module_utils._controls.pods import container_of, variable_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.registry_apps import (
    address_on_nodes,
    back_name,
    followed,
    moved_name,
    pull_secret_name,
    pull_secrets,
    references,
    unknown_to_the_controller,
    unused_pull_secrets,
)
from ansible_collections.paas.hardening.plugins.module_utils._controls.registry_move import PREPARE, Image, RegistryMove
from ansible_collections.paas.hardening.plugins.module_utils._controls.registry_settings import bundled_settings, leads_outside, platform_settings
from ansible_collections.paas.hardening.plugins.module_utils._controls.registry_target import ARGUMENTS, Target, live_target, target_of
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, UNKNOWN, Finding, Proof, Source
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Item, Plan, ref_of
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import ImageRegistry, Platform

RECOMMENDATION = Recommendation(
    id="registry",
    title="Images are kept outside of the cluster",
    severity="high",
    source=Source(
        "Deis Workflow, Production Deployments",
        "Running Workflow without Minio",
        "components such as the registry, database and logger must be able to survive by storing persistent data off-cluster",
    ),
)


class Observed(NamedTuple):
    """The settings and those that are wanted, the apps with their pull Secrets, and the images that are to be moved."""

    target: Optional[Target]
    settings: Settings
    wanted: Tuple[Wanted, ...]
    settled: bool
    apps: Tuple[Mapping[str, Any], ...]
    log_ins: Tuple[Wanted, ...]
    # Images of apps that do not come from where the platform will keep them.
    left: Tuple[str, ...]
    images: Tuple[Image, ...]
    address: str
    namespace: str


class RegistryControl:
    """Makes the platform use an image registry outside of the cluster, and keeps it there."""

    recommendation = RECOMMENDATION
    arguments: Dict[str, Any] = {
        **ARGUMENTS,
        "state": {"type": "str", "choices": ["external", "reverted"], "default": "external"},
        "images": {"type": "str", "choices": ["refuse", "copy", "keep"], "default": "refuse"},
    }

    def __init__(self) -> None:
        self._move: Optional[RegistryMove] = None
        self._releases: Optional[Releases] = None

    def observe(self, site: Site, params: Mapping[str, Any]) -> Observed:
        facts = _facts(site.platform)
        settings, apps, secrets = self._read(site, facts)
        back = params["state"] == "reverted"
        used = location_used(facts, settings)
        target = used_target(facts, used, settings, params) if back else target_of(site, facts, params)
        move = self._move = self._move or RegistryMove(site, params, facts, target)
        address = address_on_nodes(facts, settings)
        if back:
            wanted, settled = self._way_back(site, facts, target, settings), used == facts.inside
            prefix = target.prefix if target else ""
            # Images that are brought back need no log-in any more once the apps have followed.
            needed = "" if params["images"] == "copy" else prefix
            log_ins = unused_pull_secrets(facts, settings, target.location.name, apps, secrets, needed) if target and target.registry else []
        else:
            wanted = platform_settings(facts, _known(target), settings, site.namespace, site.platform.heritage)
            settled = leads_outside(wanted)
            self._require_refresher(site, _known(target))
            prefix = f"{address}/"
            log_ins = []
            if target and target.registry:
                log_ins = pull_secrets(
                    facts, target, settings, site.platform.heritage, apps, self._with_unlabelled(site, facts, target, settings, apps, secrets)
                )
                if not settled or not all(entry.holds for entry in (*wanted, *log_ins)):
                    # Credentials are tried before they are written.
                    move.log_in()
        found = references(apps, prefix)
        left = tuple(sorted({reference.namespace for reference in found}))
        images: Tuple[Image, ...] = ()
        if found and params["images"] == "copy":
            name = (lambda image: back_name(image, address, facts.folders)) if back else (lambda image: moved_name(image, _known(target).prefix))
            images = move.images(settings, found, name)
        elif found and params["images"] == "refuse" and not settled:
            refuse_apps(left, back, address)
        return Observed(target, settings, tuple(wanted), settled, tuple(apps), tuple(log_ins), left, images, address, site.namespace)

    @staticmethod
    def _read(site: Site, facts: ImageRegistry) -> Tuple[Settings, List[Mapping[str, Any]], List[Mapping[str, Any]]]:
        """Read all workloads with one list a kind, and the Secrets of apps with one list."""
        heritage = f"heritage={site.platform.heritage}"
        workloads: Dict[Tuple[str, str], Mapping[str, Any]] = {}
        apps: List[Mapping[str, Any]] = []
        for kind in sorted({user.workload.kind for user in facts.users}):
            for document in site.objects.list(KINDS[kind], namespace=None if kind == "Deployment" else site.namespace, labels=heritage):
                metadata = document["metadata"]
                if metadata["namespace"] == site.namespace:
                    workloads[kind, metadata["name"]] = document
                elif (metadata.get("labels") or {}).get("app") == metadata["namespace"]:
                    # An app has the namespace of its name; what else there is belongs to another platform.
                    apps.append(document)
        for user in facts.users:
            # Some of them have no label.
            workload = user.workload
            if (workload.kind, workload.name) not in workloads:
                unlabelled = site.objects.find(KINDS[workload.kind], workload.name, site.namespace)
                if unlabelled is not None:
                    workloads[workload.kind, workload.name] = unlabelled
        named = sorted({name for location in facts.locations for name, _keys in location.secrets})
        found = {name: site.objects.find(KINDS["Secret"], name, site.namespace) for name in named}
        secrets: List[Mapping[str, Any]] = [
            secret for secret in site.objects.list(KINDS["Secret"], labels=heritage) if secret["metadata"]["namespace"] != site.namespace
        ]
        return Settings(workloads, {name: secret for name, secret in found.items() if secret is not None}), apps, secrets

    @staticmethod
    def _with_unlabelled(
        site: Site, facts: ImageRegistry, target: Target, settings: Settings, apps: Sequence[Mapping[str, Any]], secrets: List[Mapping[str, Any]]
    ) -> List[Mapping[str, Any]]:
        """Return the Secrets of apps together with pull Secrets that somebody made without the platform's label."""
        known = {(secret["metadata"]["namespace"], secret["metadata"]["name"]) for secret in secrets}
        names = {(str(app["metadata"]["namespace"]), pull_secret_name(facts, settings, target.location.name, app)) for app in apps} - known
        found = [site.objects.find(KINDS["Secret"], name, namespace) for namespace, name in sorted(names)]
        return [*secrets, *(secret for secret in found if secret is not None)]

    def _way_back(self, site: Site, facts: ImageRegistry, target: Optional[Target], settings: Settings) -> List[Wanted]:
        if target is None:
            return []
        wanted = bundled_settings(
            platform_settings(facts, target, settings, site.namespace, site.platform.heritage), lambda document: self._stated(site, document)
        )
        for entry in wanted:
            if Item("name", facts.variable) in entry.path and entry.value not in (facts.inside, ABSENT):
                raise Refused(
                    f"The chart itself states {facts.variable}={entry.value}: its values keep images outside.",
                    f"Take {facts.users[-1].values_key} out of the values, and upgrade.",
                    subject=str(entry.document["metadata"]["name"]),
                )
        return wanted

    def _stated(self, site: Site, document: Mapping[str, Any]) -> Optional[Mapping[str, Any]]:
        """Return the object as the chart states it, None for a Secret that it does not have."""
        self._releases = self._releases or Releases(site.objects)
        release = self._releases.of(document)
        stated = release.document(ref_of(document)) if release else None
        if stated is None and document["kind"] != "Secret":
            raise Refused(
                f"What the chart states for {document['kind']} {document['metadata']['name']} could not be found: no Helm release has it.",
                "Go back with helm rollback, or set the fields by hand.",
                subject=str(document["metadata"]["name"]),
            )
        return stated

    @staticmethod
    def _require_refresher(site: Site, target: Target) -> None:
        refresher = target.location.refresher
        if refresher is None or site.objects.find(KINDS[refresher.kind], refresher.name, site.namespace):
            return
        keys = [str(setting.values_key) for _name, settings in target.location.secrets for setting in settings if setting.field != "nothing"]
        raise Refused(
            f"Images in {target.location.name} need {refresher.name}, which renews the log-ins of the apps and is not there: only the chart brings it.",
            f"Upgrade with the values global.registry_location={target.location.name} and {', '.join(keys)}, then run again.",
            subject=refresher.name,
        )

    def wanted(self, platform: Platform, params: Mapping[str, Any], observed: Observed) -> List[Wanted]:
        wanted: List[Wanted] = []
        back = params["state"] == "reverted"
        target = observed.target
        if target is not None and target.registry is not None and not back and not observed.settled:
            place = {"apiVersion": "", "kind": "Registry", "metadata": {"name": target.place}}
            why = "the builder has to be able to push there"
            wanted.append(Wanted(place, ("rights",), f"images can be pushed to {target.prefix}", why, stage=PREPARE, step=True, standing="not tried"))
        wanted += [entry for image in observed.images for entry in image.wanted()]
        log_ins = list(observed.log_ins)
        # What tells us of the registry outside goes last: until then a run that was interrupted can be gone on with.
        late = [entry for entry in observed.wanted if back and entry.document["kind"] == "Secret" and entry.value is ABSENT]
        wanted += [] if back else log_ins
        # Apps first: where the nodes cannot pull from there, that shows before the platform depends on it; and once they have followed, a run that was
        # interrupted needs nothing of the bundled registry any more, which may have got another account meanwhile.
        following: Dict[Any, Wanted] = {}
        for image in observed.images:
            for reference in image.references:
                name = pull_secret_name(_facts(platform), observed.settings, _known(target).location.name, reference.app)
                for entry in followed(reference, image.new, name, back):
                    # Several containers of one app share the log-in.
                    following.setdefault((ref_of(entry.document), entry.path), entry)
        wanted += following.values()
        wanted += [entry for entry in observed.wanted if entry not in late]
        return wanted + (log_ins if back else []) + late

    def carry_out(self, site: Site, params: Mapping[str, Any], plan: Plan) -> None:
        self._at_work.carry_out(plan)

    def take_back(self) -> str:
        return self._move.take_back() if self._move else ""

    @property
    def _at_work(self) -> RegistryMove:
        if self._move is None:
            raise RuntimeError("nothing was observed yet")
        return self._move

    def against(self, params: Mapping[str, Any]) -> str:
        return ""

    def workloads(self, observed: Observed) -> Sequence[Mapping[str, Any]]:
        """Every component whose settings these are."""
        names = {entry.document["metadata"]["name"] for entry in observed.wanted if entry.document["metadata"].get("namespace") == observed.namespace}
        found = sorted(observed.settings.workloads.items())
        return [document for (kind, name), document in found if kind in ("Deployment", "DaemonSet") and name in names]

    def unsettled(self, params: Mapping[str, Any], observed: Observed) -> str:
        return ""

    def probe(self, site: Site, params: Mapping[str, Any], observed: Observed) -> Proof:
        checks = self._at_work.checks(observed.settings, observed.apps, observed.log_ins, back=params["state"] == "reverted")
        return Proof(tuple(checks))

    def describe(self, platform: Platform, params: Mapping[str, Any], observed: Observed) -> Tuple[str, str, str]:
        inside = "images are kept in the bundled registry"
        outside = f"images are kept in {observed.target.place}" if observed.target else inside
        if params["state"] == "reverted":
            return f"image registry of {platform.title}", inside, inside if observed.settled else outside
        return f"image registry of {platform.title}", outside, outside if observed.settled else f"{inside}, or not where they should be"

    def beside(self, platform: Platform, params: Mapping[str, Any], observed: Observed) -> List[Finding]:
        facts = _facts(platform)
        if params["state"] == "reverted" or observed.target is None:
            return []
        findings = [_limit(number, limit) for number, limit in enumerate(_limits(facts, observed), 1)]
        if observed.left:
            findings.append(_left_behind(observed.left, observed.address))
        old = unknown_to_the_controller(observed.apps)
        if old:
            findings.append(_to_be_built(old))
        without_port = sorted({*observed.left, *old}) if facts.port_wanted else []
        if without_port:
            findings.append(_port(without_port))
        return findings


def _facts(platform: Platform) -> ImageRegistry:
    if platform.registry is None:
        raise Invalid(f"Where {platform.title} keeps images is not known.", "Leave this recommendation out.", "platform")
    return platform.registry


def _known(target: Optional[Target]) -> Target:
    if target is None:
        raise RuntimeError("a wanted registry is always known")
    return target


def location_used(facts: ImageRegistry, settings: Settings) -> str:
    """Return the location that components have been told; that of the bundled registry only when all of them have."""
    for user in facts.users:
        document = settings.workloads.get((user.workload.kind, user.workload.name))
        if user.told and document is not None and user.workload.container:
            told = variable_of(container_of(document, user.workload.container), facts.variable) or facts.inside
            if told != facts.inside:
                return told
    return facts.inside


def used_target(facts: ImageRegistry, used: str, settings: Settings, params: Mapping[str, Any]) -> Optional[Target]:
    """Return the registry outside that the platform uses, or that an interrupted run left in its Secrets; None when there is none."""
    found = [live_target(location, settings.secrets, params) for location in facts.locations]
    for target in found:
        if target.location.name == used:
            return target
    return next((target for target in found if target.registry is not None), None)


def refuse_apps(apps: Sequence[str], back: bool, address: str) -> None:
    """Raise Refused for apps whose images would be left where the platform keeps none any more."""
    names = ", ".join(apps)
    if back:
        raise Refused(
            f"Images of these apps are in the registry outside, and would stay there: {names}.",
            "Set images to copy, so that they are brought back, or to keep, so that the apps go on pulling them from there.",
            subject=apps[0],
        )
    raise Refused(
        f"Releases of these apps run images of the bundled registry ({address}): {names}.",
        "Set images to copy, so that they move, too, or to keep: then leave the bundled registry running until each of these apps was built anew.",
        subject=apps[0],
    )


def _limits(facts: ImageRegistry, observed: Observed) -> List[str]:
    limits = list(observed.target.location.limits) if observed.target else []
    builder = workload_of(observed.settings, facts.builder)
    if not facts.annotation or (facts.bundled.kind, facts.bundled.name) not in observed.settings.workloads:
        return limits
    limits.append("An upgrade with the overlay takes the bundled registry and its proxies away: build every app that still needs them before.")
    if "meta.helm.sh/release-name" not in (builder["metadata"].get("annotations") or {}):
        name = observed.target.location.secrets[0][0] if observed.target else ""
        limits.append(f"Helm 2 cannot take over the Secret {name}: delete it right before the first upgrade with the overlay, which makes it anew.")
    return limits


def _limit(number: int, limit: str) -> Finding:
    hint = "Keep it in mind with the next upgrade."
    return RECOMMENDATION.beside(
        f"limit-{number}", "A limit of this way to a registry outside", "info", PASS, "the chart", "it is known", "it applies", hint, limit
    )


def _left_behind(apps: Sequence[str], address: str) -> Finding:
    return RECOMMENDATION.beside(
        "left",
        "Apps run images of the bundled registry",
        "high",
        FAIL,
        ", ".join(apps),
        "images of the registry outside",
        f"images of {address}",
        "Build them anew (git push), or set images to copy.",
        "Without the bundled registry and its proxies their pods cannot be started on another node.",
    )


def _to_be_built(apps: Sequence[str]) -> Finding:
    return RECOMMENDATION.beside(
        "not-built-since",
        "Apps were not built since their images were moved",
        "medium",
        FAIL,
        ", ".join(apps),
        "a release whose build the controller knows by its new name",
        "the build as it was before",
        "Build each of them anew (git push, an empty commit is enough) before anything else of it is changed.",
        "A change of its configuration makes a release of the image as the controller recorded it, whose name leads to no registry any more.",
    )


def _port(apps: Sequence[str]) -> Finding:
    return RECOMMENDATION.beside(
        "port",
        "Apps of a registry outside state their port",
        "medium",
        UNKNOWN,
        ", ".join(apps),
        "PORT in the app's configuration",
        "not to be seen in the cluster",
        "Run config:set PORT=... for each app that is built from a Dockerfile, together with its next build.",
        "With a registry outside the controller does not ask the image for its port, and refuses a release without PORT.",
    )


CONTROL = RegistryControl()
