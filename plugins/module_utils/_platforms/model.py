# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words in which a platform is described. Data only: what it calls things, which settings its code really obeys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Mapping, Optional, Tuple


@dataclass(frozen=True)
class Workload:
    """A workload of the platform and the container in it that does the work."""

    kind: str
    name: str
    container: str


@dataclass(frozen=True)
class Mark:
    """A sign by which a platform is told from its relatives: a pattern that an environment variable or the image of a workload matches."""

    workload: Workload
    variable: Optional[str]
    pattern: str

    def __str__(self) -> str:
        what = f"environment variable {self.variable}" if self.variable else "image"
        return f"{what} of {self.workload.name}"


@dataclass(frozen=True)
class Answer:
    """One answer of the registration door and what it means.

    Every given condition must hold: the status, a JSON field with a value, JSON fields that are there, a cookie that is or is not set, texts that are
    or are not in the body.
    """

    means: str  # closed, open
    text: str
    status: int
    json_field: Optional[Tuple[str, str]] = None
    json_names: Tuple[str, ...] = ()
    cookie: Optional[str] = None
    no_cookie: Optional[str] = None
    contains: Tuple[str, ...] = ()
    lacks: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Door:
    """The request whose answer decides whether registration is open, and the answers in the order in which they are tried."""

    port: int
    method: str
    path: str
    body: Optional[str]
    answers: Tuple[Answer, ...]


@dataclass(frozen=True)
class InertSetting:
    """A documented setting that no code obeys."""

    workload: Workload
    variable: str
    values_path: str
    instead: str


@dataclass(frozen=True)
class Accounts:
    """Where the platform keeps its accounts: the database workload, the psql call inside its container, and the table."""

    workload: Workload
    command: Tuple[str, ...]
    table: str


@dataclass(frozen=True)
class Registration:
    """How registration is opened and closed."""

    workload: Workload
    variable: str
    values: Mapping[str, str]  # mode -> value of the variable
    default: str  # what the code takes when the variable is missing
    values_path: str
    door: Door
    accounts: Accounts
    first_user_is_administrator: bool
    boolean: bool = False  # the code takes "true" in any case of letters for true, and every other text for false
    closed_by: Tuple[str, ...] = ()  # variables that close the door whatever the mode says
    side_doors: Tuple[str, ...] = ()  # variables that open another way in beside it
    inert: Tuple[InertSetting, ...] = ()
    administrator_variables: Optional[Tuple[str, str]] = None  # user name, password
    well_known_administrator: Optional[Tuple[str, str]] = None


@dataclass(frozen=True)
class DataPlane:
    """The pods that a Gateway API controller runs for a Gateway: how its Deployment is labelled, and where it answers."""

    controller: str
    label: str
    container: str
    health_port: int
    health_path: str


@dataclass(frozen=True)
class Router:
    """What lets requests in: a Deployment of the platform itself, or the data plane of its Gateway."""

    workload: Optional[Workload] = None
    health_port: int = 0
    health_path: str = ""
    gateway: Optional[str] = None
    gateway_class_values_path: Optional[str] = None
    data_planes: Tuple[DataPlane, ...] = ()
    replicas_values_path: Optional[str] = None


@dataclass(frozen=True)
class Platform:
    """One platform in one shape."""

    name: str
    title: str
    namespace: str
    heritage: str
    version_annotation: str
    required: Tuple[str, ...]  # Deployments that are always there
    absent: Tuple[str, ...]  # Deployments that are never there
    marks: Tuple[Mark, ...]
    components: Mapping[str, Workload]
    registration: Registration
    router: Router
    notes: Tuple[str, ...] = field(default=())
