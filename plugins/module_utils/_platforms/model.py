# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words in which a platform is described. Data only: what it calls things, which settings its code really obeys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Mapping, NamedTuple, Optional, Tuple


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


class Setting(NamedTuple):
    """Where one field of an external service stands: in a Secret, in a variable (that refers to the Secret where it stands there, too), under a values key.

    ``field`` is a name of Way's vocabulary. In ``{component}`` stands the role of the component that the setting belongs to.
    """

    field: str
    secret_key: str = ""
    variable: str = ""
    values_key: Optional[str] = None


class Way(NamedTuple):
    """One way in which the platform's code can use a service outside.

    Fields of an object store are called endpoint, host, port, region, access_key, secret_key, path_style; service_account (gcs); account, account_key,
    connection_string (azure); user, user_key, auth_url, tenant, auth_version (swift); and bucket.ROLE. Those of a database: host, port, name, user, password.
    """

    provider: str
    # What the code calls it, in the variables and the annotation that name the kind of service; nothing where there are none.
    kind: str
    settings: Tuple[Setting, ...]
    # Whether the service is one of any address, or the provider's own one of the region.
    addressed: bool = False
    schemes: Tuple[str, ...] = ("https", "http")
    # Whether buckets cannot be called otherwise.
    fixed_buckets: bool = False
    kind_values_key: Optional[str] = None
    limits: Tuple[str, ...] = ()


class Component(NamedTuple):
    """A component that keeps something in the service: its role, its bucket in the bundled store, and what reads the settings."""

    role: str
    bucket: str
    workloads: Tuple[Workload, ...]
    # The Secret with its settings, where it has one of its own.
    secret: str = ""
    kind_variable: str = ""
    # Whether people's requests make it write: then it stands still while the last bytes move.
    writes: bool = False


class BundledStore(NamedTuple):
    """The object store inside the cluster."""

    workload: Workload
    port: int
    secret: str
    access_key: str
    secret_key: str
    # Values of the keys that every installation of the chart has, as SHA-256 of the decoded access key and secret key.
    constants: Tuple[str, str] = ("", "")


class ObjectStorage(NamedTuple):
    """How the platform uses object storage. ``users`` stand in the order in which they are restarted after a change."""

    users: Tuple[Component, ...]
    bundled: BundledStore
    ways: Tuple[Way, ...]
    # One Secret for all of them, and the annotation on it that names the kind of store.
    secret: str = ""
    annotation: str = ""
    # Whether the platform puts a copy of that Secret into the namespace of each app, and the variable that names the kind of store to an app.
    copied: bool = False
    app_variable: str = ""
    # The command that makes a whole backup of the database, in the container of the workload.
    backup: Optional[Tuple[Workload, Tuple[str, ...]]] = None
    # Providers that a manual names and no code knows, and what to do instead.
    inert: Mapping[str, str] = {}


class Database(NamedTuple):
    """How the platform finds its PostgreSQL database, and the one inside the cluster that it starts with."""

    users: Tuple[Component, ...]
    way: Way
    # The Secret with the settings, of both databases; the keys of role, password and name in it. The bundled database is called like its role, and has none.
    secret: str
    user_key: str
    password_key: str
    name_key: str
    bundled: Workload
    # Port and path where a component's pod says whether it can work, which includes a question to the database.
    health: Tuple[int, str]
    annotation: str = ""


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
    object_storage: ObjectStorage
    database: Optional[Database] = None
    # What stands before every command in the platform's images.
    start: Tuple[str, ...] = ()
    notes: Tuple[str, ...] = field(default=())
