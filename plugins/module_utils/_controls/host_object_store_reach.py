# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Seen from another host, an S3 server proves who it is, is well, and shows nothing to those who do not say who they are: configured is not effective."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping

from ansible_collections.paas.hardening.plugins.module_utils._controls.host_object_store import SOURCE
from ansible_collections.paas.hardening.plugins.module_utils._controls.host_object_store_plan import BUCKETS
from ansible_collections.paas.hardening.plugins.module_utils._controls.onlooker import Onlooker, View
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._core.findings import FAIL, PASS, Check
from ansible_collections.paas.hardening.plugins.module_utils._core.run import Verb
from ansible_collections.paas.hardening.plugins.module_utils._host.object_server.backends import BACKENDS
from ansible_collections.paas.hardening.plugins.module_utils._host.stores.signed import Client, Door, in_plain_text

VIEW = View(
    "host-object-store-reach",
    "Seen from another host, the object store proves who it is, and shows nothing without credentials",
    BUCKETS.severity,
    SOURCE,
    "answers",
    "Does a firewall stand between, and is the name in the certificate?",
)
_STORE = {
    "name": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "default": 9000},
    "endpoint": {"type": "str", "default": ""},
    "region": {"type": "str", "default": "us-east-1"},
    "backend": {"type": "str", "choices": sorted(BACKENDS), "default": "minio"},
    "authority": {"type": "str", "required": True},
    "buckets": {"type": "list", "elements": "str", "default": []},
    "plain_endpoint": {"type": "str", "default": ""},
    "ready": {"type": "bool", "default": True},
}
ARGUMENTS: Dict[str, Any] = {
    "me": {"type": "str", "required": True},
    "stores": {"type": "list", "elements": "dict", "required": True, "options": _STORE},
    "reachable": {"type": "bool", "default": True},
    "timeout": {"type": "float", "default": 3.0},
}
_NOBODY = "not reached"


class Reach(Onlooker):
    """What stores answer to the host that we are on."""

    view = VIEW

    def observe(self) -> List[Check]:
        found: List[Check] = []
        for store in self._params["stores"]:
            found += self._answers(store)
        return found

    def _answers(self, store: Mapping[str, Any]) -> List[Check]:
        door = Door(store["name"], store["address"], store["port"], store["authority"], store["region"])
        health = BACKENDS[store["backend"]].health
        wanted = [(path, 200) for path in health] + [(path, 403) for path in ("/", *(f"/{bucket}" for bucket in store["buckets"]))]
        found = []
        try:
            with Client(door, seconds=self._params["timeout"]) as client:
                for path, status in wanted:
                    answer = client.ask_once("GET", path)
                    found.append(
                        Check(
                            f"{door.endpoint}{path} without credentials", f"HTTP {status}", f"HTTP {answer.status}", PASS if answer.status == status else FAIL
                        )
                    )
            plain = in_plain_text(door, self._params["timeout"])
            shut = plain in (None, 400)
            found.append(Check(f"{door.name} without TLS", "refused", "refused" if shut else f"HTTP {plain}", PASS if shut else FAIL))
        except Unavailable as failure:
            expected = self._params["reachable"]
            found.append(Check(door.endpoint, "reached" if expected else "reached, or not", f"{_NOBODY}: {failure.message}", FAIL if expected else PASS))
        except Failure as failure:
            found.append(Check(door.endpoint, "its certificate is good for its name", failure.message, FAIL))
        return found


VERB = Verb(ARGUMENTS, Reach)
