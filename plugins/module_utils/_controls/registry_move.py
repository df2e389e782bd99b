# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries out the move to another image registry: images copied and proved, settings switched, apps led after; and looks at the effect from outside."""

from __future__ import annotations

import contextlib
import json
from functools import partial
from typing import Any, Callable, ContextManager, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._cluster.forward import forwarded
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS
from ansible_collections.paas.hardening.plugins.module_utils._cluster.readiness import READY, readiness_of, wait_ready
from ansible_collections.paas.hardening.plugins.module_utils._cluster.streams import execute
from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import SWITCH, Settings, text_in, workload_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Site, Wanted
from ansible_collections.paas.hardening.plugins.module_utils._controls.pods import ready_pods
from ansible_collections.paas.hardening.plugins.module_utils._controls.registry_apps import FOLLOW, Reference, login_in, pull_secret_name, references
from ansible_collections.paas.hardening.plugins.module_utils._controls.registry_target import HUB_LOGIN, Target
from ansible_collections.paas.hardening.plugins.module_utils._controls.stages import Stages
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Invalid, NotFound, Refused
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, UNKNOWN, Check
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import Plan
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline
from ansible_collections.paas.hardening.plugins.module_utils._host.registries.client import DOCKER_HUB, Account, Registry
from ansible_collections.paas.hardening.plugins.module_utils._host.registries.images import Name, copy, digest_at, manifest_of, missing_of, split
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import ImageRegistry

PREPARE, COPY = "prepare", "copy"
# How many images of apps are looked for in the registry with every proof.
_SAMPLE = 20
_TRIED = "paas-hardening"

# Runs in the controller's container, on whatever Python 3 that has. What is secret comes by standard input.
_ASK = """
import base64, json, ssl, sys, urllib.error, urllib.request
asked = json.load(sys.stdin)
ask = getattr(urllib.request, "url" + "open")
word = base64.b64encode((asked["account"] + ":" + asked["password"]).encode()).decode()
request = urllib.request.Request(asked["url"], headers={"Authorization": "Basic " + word})
known = ""
for context in (None, ssl._create_unverified_context()):
    try:
        answer = ask(request, timeout=15, context=context)
        print(answer.getcode(), "", known)
    except urllib.error.HTTPError as error:
        print(error.code, error.headers.get("WWW-Authenticate", "").split(" ")[0].lower(), known)
    except Exception as error:
        if context is None and "CERTIFICATE_VERIFY_FAILED" in str(error):
            known = "unknown-certificate"
            continue
        print(0, type(getattr(error, "reason", error)).__name__, known)
    break
"""


class Image(NamedTuple):
    """An image that apps run: its names before and after, how many blobs and bytes it has, and whether the other registry has it already."""

    source: Name
    target: Name
    new: str
    blobs: int
    size: int
    present: bool
    references: Tuple[Reference, ...]

    def wanted(self) -> List[Wanted]:
        if self.present:
            return []
        document = {"apiVersion": "", "kind": "Image", "metadata": {"name": self.new}}
        value = f"{self.blobs} blobs, {self.size} bytes, proved by digest"
        return [Wanted(document, ("content",), value, "apps are started from it", stage=COPY, step=True, standing="not there")]


class RegistryMove:
    """The move of one platform in one run."""

    def __init__(self, site: Site, params: Mapping[str, Any], facts: ImageRegistry, target: Optional[Target]) -> None:
        self._site = site
        self._params = params
        self._facts = facts
        self._target = target
        self._back = params["state"] == "reverted"
        self._stages = Stages(site, params, (SWITCH,))
        self._images: Dict[str, Image] = {}
        self._settings = Settings({}, {})
        self._logged_in = False

    @property
    def _outside(self) -> Registry:
        if self._target is None or self._target.registry is None:
            raise Invalid(
                "images is copy, but the log-in of this location is the token refresher's alone.", "Set images to keep, and build each app anew.", "images"
            )
        return self._target.registry

    def log_in(self) -> None:
        """Try the account once. Raises Unauthorized, Unavailable or Invalid when it would be of no use."""
        if not self._logged_in:
            self._outside.log_in()
            self._logged_in = True

    # What there is to copy

    def images(self, settings: Settings, found: Sequence[Reference], name: Callable[[str], str]) -> Tuple[Image, ...]:
        """Return the images of the apps, as both registries have them now. Raises Refused when another image has the name already."""
        self._settings = settings
        grouped: Dict[str, List[Reference]] = {}
        for reference in found:
            grouped.setdefault(reference.image, []).append(reference)
        with self._origin() as source, self._destination() as target:
            for image in grouped:
                if image not in self._images:
                    self._images[image] = self._image(source, target, image, name(image))
        return tuple(self._images[image]._replace(references=tuple(group)) for image, group in grouped.items())

    @staticmethod
    def _image(source: Registry, target: Registry, image: str, new: str) -> Image:
        old_name, new_name = split(image)[1], split(new)[1]
        manifest = manifest_of(source, old_name)
        there = digest_at(target, new_name)
        if there and there != manifest.digest:
            raise Refused(
                f"{target.where} has another image under the name {new_name}.", "Name another organization, or remove that image there.", str(new_name)
            )
        present = there == manifest.digest and not missing_of(target, new_name)
        return Image(old_name, new_name, new, len(manifest.blobs), sum(manifest.blobs.values()), present, ())

    def _origin(self) -> ContextManager[Registry]:
        return contextlib.nullcontext(self._outside) if self._back else self._bundled()

    def _destination(self) -> ContextManager[Registry]:
        return self._bundled() if self._back else contextlib.nullcontext(self._outside)

    @contextlib.contextmanager
    def _bundled(self) -> Iterator[Registry]:
        """Yield the bundled registry as it can be reached from here: through a port of its pod."""
        workload = self._facts.bundled
        document = self._site.objects.get(KINDS[workload.kind], workload.name, self._site.namespace)

        def pod() -> str:
            pods = ready_pods(self._site.objects, document)
            if not pods:
                raise NotFound(f"No pod of {workload.name} is ready.", "It has to run while images are copied.", workload.name)
            return str(pods[0]["metadata"]["name"])

        with forwarded(self._site.connection, self._site.namespace, pod, self._facts.port) as forward:
            yield Registry(f"127.0.0.1:{forward.port}", self._own_account(), "http")

    def _own_account(self) -> Account:
        if self._facts.credentials is None:
            return Account()
        name, account, password = self._facts.credentials
        secret = self._settings.secrets.get(name, {})
        return Account(text_in(secret, account) or "", text_in(secret, password) or "")

    # Work

    def carry_out(self, piece: Plan) -> None:
        """Do one piece."""
        change = piece.changes[0]
        if change.stage == PREPARE:
            fields = self._target.fields if self._target else {}
            self._outside.try_push(f"{fields['organization']}/{_TRIED}")
        elif change.stage == COPY:
            old, image = next(item for item in self._images.items() if item[1].new == change.ref.name)
            with self._origin() as source, self._destination() as target:
                copy(source, image.source, target, image.target)
            self._images[old] = image._replace(present=True)
        elif change.stage == SWITCH and change.path:
            self._stages.write(SWITCH, piece)
            if change.ref.kind == "DaemonSet":
                wait_ready(self._site.objects, [change.ref], Deadline(self._timeout))
        elif change.stage == FOLLOW:
            self._follow(piece)
        else:
            # Whole Secrets, and pull Secrets: they harm nobody where they are not used.
            self._site.objects.apply_plan(piece)

    @property
    def _timeout(self) -> float:
        return float(self._params["wait_timeout"])

    def _follow(self, piece: Plan) -> None:
        """Lead one app after, and wait until its pods run; an app that was not well before is not waited for."""
        ref = piece.changes[0].ref
        document = self._site.objects.get(KINDS[ref.kind], ref.name, ref.namespace)
        well = readiness_of(document).state == READY
        self._stages.write(FOLLOW, piece)
        if well:
            wait_ready(self._site.objects, [ref], Deadline(self._timeout))

    def take_back(self) -> str:
        """Undo the switch of the components as far as it came: some of them would push where others do not look."""
        if not self._stages.pending:
            return ""
        self._stages.take_back()
        return "The settings that had been switched were taken back; images that were copied stay there."

    # Proof

    def checks(self, settings: Settings, apps: Sequence[Mapping[str, Any]], log_ins: Sequence[Wanted], back: bool) -> Iterator[Check]:
        """Look at the registry from here and from inside, at the pull Secrets, and at the images of apps."""
        self._settings = settings
        if back:
            yield self._bundled_answers()
            return
        target = self._target
        if target is None:
            return
        if target.registry is None:
            yield from self._refreshed(target, settings, apps)
            return
        yield _attempt(f"{target.registry.where}/v2/ with the account, from here", "200", lambda: self._answers(self._outside))
        yield from self._seen_inside(target, settings)
        if log_ins:
            stale = [entry for entry in log_ins if not entry.holds]
            seen = f"{len(log_ins) - len(stale)} of {len(log_ins)} decode to the account"
            yield Check("pull Secrets of apps", "all of them decode to the account", seen, FAIL if stale else PASS)
        names = sorted({reference.image for reference in references(apps, target.prefix)})
        for image in names[:_SAMPLE]:
            yield _attempt(f"image {image}", "manifest and every blob", partial(self._whole, self._outside, image))

    @staticmethod
    def _answers(registry: Registry) -> Tuple[bool, str]:
        registry.log_in()
        return True, "200"

    @staticmethod
    def _whole(registry: Registry, image: str) -> Tuple[bool, str]:
        missing = missing_of(registry, split(image)[1])
        return not missing, f"lacks {', '.join(missing)}" if missing else "manifest and every blob"

    def _bundled_answers(self) -> Check:
        def ask() -> Tuple[bool, str]:
            with self._bundled() as registry:
                return self._answers(registry)

        return _attempt(f"{self._facts.bundled.name}/v2/ through its pod", "200", ask)

    def _seen_inside(self, target: Target, settings: Settings) -> Iterator[Check]:
        """Ask out of the controller's pod. Nothing is said of images that have no Python to ask with."""
        workload = self._facts.prefix_variable[0]
        registry = self._outside
        what = f"{registry.where}/v2/ with the account, out of {workload.name}"
        url = f"{registry.scheme}://{'registry-1.docker.io' if registry.server == DOCKER_HUB else registry.server}/v2/"
        asked = json.dumps({"url": url, "account": registry.account.name, "password": registry.account.password})
        try:
            pods = ready_pods(self._site.objects, workload_of(settings, workload))
            if not pods:
                yield Check(what, "200", f"no pod of {workload.name} is ready", UNKNOWN)
                return
            name = str(pods[0]["metadata"]["name"])
            ended = execute(self._site.connection, self._site.namespace, name, ["python3", "-c", _ASK], workload.container, asked, timeout=40)
        except NotFound:
            return
        except Failure as failure:
            yield Check(what, "200", failure.message, UNKNOWN)
            return
        words = ended.stdout.split(" ") if ended.code == 0 else []
        if len(words) < 2:
            yield Check(what, "200", f"the question could not be asked there (status {ended.code})", UNKNOWN)
            return
        status, challenge = words[0], words[1]
        # A registry that gives out tokens answers so to everybody: that it does is what can be seen from there.
        good = status == "200" or (status == "401" and challenge == "bearer")
        seen = f"{status} {challenge}".strip() + (", with a certificate that is not known there" if "unknown-certificate" in ended.stdout else "")
        yield Check(what, "200, or 401 that asks for a token", f"no answer ({challenge})" if status == "0" else seen, PASS if good else FAIL)

    def _refreshed(self, target: Target, settings: Settings, apps: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
        """Look at the log-ins that the token refresher made."""
        refresher = target.location.refresher
        if refresher is not None:
            document = self._site.objects.find(KINDS[refresher.kind], refresher.name, self._site.namespace)
            state = readiness_of(document).state if document else "not there"
            yield Check(refresher.name, READY, state, PASS if state == READY else FAIL)
        names = sorted({(str(app["metadata"]["namespace"]), pull_secret_name(self._facts, settings, target.location.name, app)) for app in apps})
        for namespace, name in names[:_SAMPLE]:
            secret = self._site.objects.find(KINDS["Secret"], name, namespace)
            login = login_in(secret) if secret else None
            if login is None:
                yield Check(f"pull Secret {namespace}/{name}", "a log-in", "not there" if secret is None else "no log-in in it", FAIL)
                continue
            server = DOCKER_HUB if login[0] == HUB_LOGIN else login[0].partition("://")[2] or login[0]
            registry = Registry(server.rstrip("/"), Account(login[1], login[2]))
            yield _attempt(f"{registry.where}/v2/ with the log-in of {namespace}", "200", partial(self._answers, registry))


def _attempt(what: str, expected: str, look: Callable[[], Tuple[bool, str]]) -> Check:
    try:
        good, seen = look()
    except Failure as failure:
        return Check(what, expected, failure.message, FAIL if failure.status in (401, 403, 404) else UNKNOWN)
    return Check(what, expected, seen, PASS if good else FAIL)
