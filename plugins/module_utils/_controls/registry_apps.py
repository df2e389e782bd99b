# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The apps of a platform, as far as images go: which registry their pods take them from, and the Secret with which they may. Pure."""

from __future__ import annotations

import base64
import json
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.paas.hardening.plugins.module_utils._cluster.objects import OWNER
from ansible_collections.paas.hardening.plugins.module_utils._controls.component_settings import Settings, in_base64, text_in, workload_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.control import Wanted
from ansible_collections.paas.hardening.plugins.module_utils._controls.pods import container_of, variable_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.registry_settings import pod_of
from ansible_collections.paas.hardening.plugins.module_utils._controls.registry_target import Target
from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Item, Path, look
from ansible_collections.paas.hardening.plugins.module_utils._host.registries.images import Name, split
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import ImageRegistry

LOG_INS, FOLLOW = "log-ins of apps", "apps follow"
# Says on an app that its image was moved by us. The controller takes it away with the next release, which then has an image of its own.
FOLLOWED = "paas.hardening/image-moved"
_ON_EVERY_NODE = "127.0.0.1:5555"
_PREFIX = "private-registry"
_KEY = ".dockerconfigjson"


class Reference(NamedTuple):
    """An image that an app's pods are started from: the app's workload, the path of the container, and the whole name."""

    app: Mapping[str, Any]
    container: Path
    image: str

    @property
    def namespace(self) -> str:
        return str(self.app["metadata"]["namespace"])


def address_on_nodes(facts: ImageRegistry, settings: Settings) -> str:
    """Return under which address the nodes reach the bundled registry."""
    container = container_of(workload_of(settings, facts.builder), facts.builder.container)
    parts = [variable_of(container, name) or "" for name in facts.address_variables]
    return ":".join(parts) if all(parts) else _ON_EVERY_NODE


def references(apps: Sequence[Mapping[str, Any]], prefix: str) -> List[Reference]:
    """Return every container of the apps whose image begins with this."""
    found = []
    for app in apps:
        for group in ("initContainers", "containers"):
            for container in look(app, (*pod_of(app), group)) or ():
                if prefix and str(container.get("image", "")).startswith(prefix):
                    found.append(Reference(app, (*pod_of(app), group, Item("name", container["name"])), str(container["image"])))
    return found


def moved_name(image: str, prefix: str) -> str:
    """Return how the image is called in another registry, as the builder would call it: nothing but the last part of the repository stays."""
    _host, name = split(image)
    return f"{prefix}{Name(name.repository.rpartition('/')[2], name.reference)}"


def back_name(image: str, address: str, process_repository: bool) -> str:
    """Return how the image is called in the bundled registry; ``process_repository`` says whether that has a folder for each app."""
    _host, name = split(image)
    repository = name.repository.rpartition("/")[2]
    return f"{address}/{Name(f'{repository}/{repository}' if process_repository else repository, name.reference)}"


def followed(reference: Reference, image: str, pull_secret: str, back: bool = False) -> List[Wanted]:
    """Return the fields that make an app's pods take the image from elsewhere: with the pull Secret that opens it, or, on the way ``back``, without."""
    why = "the same image, in the registry that the platform uses now"
    known = "the image is the controller's own again" if back else "the controller does not know of it until the app is built anew"
    path: Path = (*pod_of(reference.app), "imagePullSecrets", Item("name", pull_secret))
    return [
        Wanted(reference.app, (*reference.container, "image"), image, why, stage=FOLLOW, step=True),
        Wanted(reference.app, path, ABSENT if back else {"name": pull_secret}, "opens the registry outside", stage=FOLLOW, step=True),
        Wanted(reference.app, ("metadata", "annotations", FOLLOWED), ABSENT if back else image, known, stage=FOLLOW, step=True),
    ]


def unknown_to_the_controller(apps: Sequence[Mapping[str, Any]]) -> List[str]:
    """Return the namespaces of apps whose image we moved, and which were not built anew since."""
    found = set()
    for app in apps:
        noted = look(app, ("metadata", "annotations", FOLLOWED))
        images = {container.get("image") for container in look(app, (*pod_of(app), "containers")) or ()}
        if noted in images:
            found.add(str(app["metadata"]["namespace"]))
    return sorted(found)


def pull_secret_name(facts: ImageRegistry, settings: Settings, location: str, app: Mapping[str, Any]) -> str:
    """Return how the controller calls the Secret with which an app's pods pull."""
    workload, variable = facts.prefix_variable
    prefix = variable_of(container_of(workload_of(settings, workload), workload.container), variable) or _PREFIX
    process = str((app["metadata"].get("labels") or {}).get("type", "web"))
    return facts.pull_secret.format(prefix=prefix, location=location, process=process)


def pull_secrets(
    facts: ImageRegistry, target: Target, settings: Settings, heritage: str, apps: Sequence[Mapping[str, Any]], secrets: Sequence[Mapping[str, Any]]
) -> List[Wanted]:
    """Return the pull Secret of each app, made where it is missing and renewed where it is stale.

    The controller writes it with each release only: until then a changed password locks an app's new pods out.
    """
    named = {(secret["metadata"]["namespace"], secret["metadata"]["name"]): secret for secret in secrets}
    wanted: Dict[Tuple[str, str], Wanted] = {}
    for app in apps:
        namespace, name = str(app["metadata"]["namespace"]), pull_secret_name(facts, settings, target.location.name, app)
        content = in_base64(login_text(target))
        there = named.get((namespace, name))
        if there is not None:
            wanted[namespace, name] = Wanted(there, ("data", _KEY), content, "the app's pods pull with it", stage=LOG_INS, step=True)
            continue
        document = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}}
        labels = {"app": str((app["metadata"].get("labels") or {}).get("app", namespace)), "heritage": heritage, **OWNER}
        whole = {
            **document,
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {_KEY: content},
        }
        wanted[namespace, name] = Wanted(document, (), whole, "the app's pods pull with it", stage=LOG_INS, step=True)
    return list(wanted.values())


def unused_pull_secrets(
    facts: ImageRegistry, settings: Settings, location: str, apps: Sequence[Mapping[str, Any]], secrets: Sequence[Mapping[str, Any]], prefix: str
) -> List[Wanted]:
    """Return the pull Secrets that this collection made and no app needs any more, gone."""
    needing = {reference.namespace for reference in references(apps, prefix)}
    names = {(str(app["metadata"]["namespace"]), pull_secret_name(facts, settings, location, app)) for app in apps}
    wanted = []
    for secret in secrets:
        metadata = secret["metadata"]
        ours = OWNER.items() <= (metadata.get("labels") or {}).items()
        if ours and (metadata["namespace"], metadata["name"]) in names and metadata["namespace"] not in needing:
            wanted.append(Wanted(secret, (), ABSENT, "nothing pulls with it any more", stage=LOG_INS, step=True))
    return wanted


def login_text(target: Target) -> str:
    """Return the content of a pull Secret, byte by byte as the controller writes it."""
    account = f"{target.fields['account']}:{target.fields['account_password']}"
    return json.dumps({"auths": {target.login: {"auth": base64.b64encode(account.encode()).decode()}}})


def login_in(secret: Mapping[str, Any]) -> Optional[Tuple[str, str, str]]:
    """Return registry, account and password of a pull Secret, None when it holds none."""
    try:
        login, entry = next(iter(json.loads(text_in(secret, _KEY) or "")["auths"].items()))
        account, colon, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
        return None
    return (str(login), account, password) if colon else None
