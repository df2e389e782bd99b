# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store that a platform is to keep its metrics in: out of the module's options and files, checked before anything is touched."""

from __future__ import annotations

import re
from typing import Any, Dict, Mapping, NamedTuple, Union

from ansible_collections.paas.hardening.plugins.module_utils._controls.credentials import read_file
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Invalid
from ansible_collections.paas.hardening.plugins.module_utils._host.metrics.server import InfluxDB, Prometheus, Server, check_url
from ansible_collections.paas.hardening.plugins.module_utils._platforms.model import MetricsStore

_OF_INFLUXDB = ("database", "account", "account_password", "account_password_file")
_DATABASE = "kubernetes"
# The text goes between the quotation marks of a JSON text as it is.
_SPOILS_JSON = re.compile(r'["\\\x00-\x1f\x7f]')

ARGUMENTS: Dict[str, Any] = {
    "url": {"type": "str"},
    "write_url": {"type": "str"},
    "database": {"type": "str"},
    "account": {"type": "str"},
    "account_password": {"type": "str", "no_log": True},
    "account_password_file": {"type": "path", "no_log": False},
    "ca_file": {"type": "path"},
}

# The fields of no store at all: where only the paths of the settings matter.
NOWHERE: Mapping[str, str] = dict.fromkeys(("url", "quoted_url", "write_url", "database", "user", "password"), "")


class Target(NamedTuple):
    """A store of metrics: its fields by the names of MetricsUser, and how we ask it."""

    place: str
    fields: Mapping[str, str]
    store: Union[InfluxDB, Prometheus]


def target_of(facts: MetricsStore, params: Mapping[str, Any], sends: bool) -> Target:
    """Return the store that the options describe; ``sends`` says whether the platform has an agent of its own. Raises Invalid that names the option."""
    if not params.get("url"):
        raise Invalid("url is missing.", "Give the address of the store, for example http://metrics.example.com:8086.", "url")
    url = check_url("url", str(params["url"]))
    return _influxdb(url, params) if facts.protocol == "influxdb" else _prometheus(facts, url, params, sends)


def _influxdb(url: str, params: Mapping[str, Any]) -> Target:
    if params.get("write_url"):
        raise Invalid("write_url is given, but InfluxDB is written where it is read.", "Leave write_url out.", "write_url")
    database, user, password = str(params.get("database") or _DATABASE), str(params.get("account") or ""), read_file(params, "account_password")
    if bool(user) != bool(password):
        missing = "account_password" if user else "account"
        raise Invalid(f"{missing} is missing.", "Give both, or neither where the store asks nobody.", missing)
    for option, text in (("database", database), ("account", user), ("account_password", password)):
        if _SPOILS_JSON.search(text):
            raise Invalid(f"{option} has a quotation mark, a backslash or a control character in it.", "Grafana's start could make nothing of it.", option)
    fields = {"url": url, "quoted_url": f'"{url}"', "database": database, "user": user, "password": password}
    return Target(f"{url}, database {database}", fields, InfluxDB(Server(url, user, password, str(params.get("ca_file") or "")), database))


def _prometheus(facts: MetricsStore, url: str, params: Mapping[str, Any], sends: bool) -> Target:
    for option in _OF_INFLUXDB:
        if params.get(option):
            raise Invalid(
                f"{option} is given, but the platform's charts have no key for it.", "Leave it out, and keep the network to the store private.", option
            )
    ca_file = str(params.get("ca_file") or "")
    fields = {"url": url, "write_url": ""}
    writing = None
    if sends:
        if not params.get("write_url"):
            hint = "Give the address that takes what the agent sends, for example http://metrics.example.com:8428/api/v1/write."
            raise Invalid("write_url is missing: nobody would write to the store.", hint, "write_url")
        fields["write_url"] = check_url("write_url", str(params["write_url"]))
        writing = Server(fields["write_url"], ca_file=ca_file)
    elif params.get("write_url"):
        name = facts.sender.workload.name if facts.sender else ""
        raise Invalid(f"write_url is given, but {name} is not there to send anything.", "Leave it out; somebody else has to write to the store.", "write_url")
    return Target(url, fields, Prometheus(Server(url, ca_file=ca_file), writing))
