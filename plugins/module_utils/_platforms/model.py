# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words in which a platform is described. Data only: what it calls things, which settings its code really obeys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping, NamedTuple, Optional, Tuple


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

    ``field`` is a name of Way's vocabulary. In ``{component}`` stands the role of the component that the setting belongs to. What does not ``lead`` to
    another service says only how it is spoken to.
    """

    field: str
    secret_key: str = ""
    variable: str = ""
    values_key: Optional[str] = None
    # Whether the chart wants it in base64 there, other than everything else.
    values_encoded: bool = False
    leads: bool = True


class Way(NamedTuple):
    """One way in which the platform's code can use a service outside.

    Fields of an object store are called endpoint, host, port, region, access_key, secret_key, path_style; service_account (gcs); account, account_key,
    connection_string (azure); user, user_key, auth_url, tenant, auth_version (swift); and bucket.ROLE. Those of a database: host, port, name, user, password,
    or url.ROLE and replica_url.ROLE where each component has one of its own.
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
    # Fields that are the same for every such store.
    fixed: Mapping[str, str] = {}


class Component(NamedTuple):
    """A component that keeps something in the service: its role, its bucket in the bundled store, and what reads the settings."""

    role: str
    bucket: str
    workloads: Tuple[Workload, ...]
    # The Secret with its settings, where it has one of its own.
    secret: str = ""
    kind_variable: str = ""
    # Whether it writes by itself or for people: then it stands still while the last bytes move.
    writes: bool = False
    # Whether a complete platform may lack it: it was turned off, or is outside itself.
    optional: bool = False
    # Its settings, where they are not those of the way.
    settings: Tuple[Setting, ...] = ()
    # Jobs of the release that ran once, whose settings cannot be changed.
    once: Tuple[Workload, ...] = ()
    # Port and path where its pod says whether it can work, where that includes a question to the database.
    health: Optional[Tuple[int, str]] = None


class BundledStore(NamedTuple):
    """The object store inside the cluster."""

    workload: Workload
    port: int
    secret: str
    access_key: str
    secret_key: str
    # Values of the keys that every installation of the chart has, as SHA-256 of the decoded access key and secret key.
    constants: Tuple[str, str] = ("", "")
    # The values key, with what it has to hold, by which the chart leaves it out; nothing where the way outside itself says it.
    left_out: Optional[Tuple[str, Any]] = None


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
    # Who asks the registry: the Secret, and the keys of name and password in it. Nothing where it asks nobody.
    registry_login: Optional[Tuple[str, str, str]] = None


class Pool(NamedTuple):
    """How many connections each pod of a workload opens at most: what the variable says where it is a number, else so many, and so many for each core."""

    workload: Workload
    connections: int = 0
    for_each_core: int = 0
    variable: str = ""


class Database(NamedTuple):
    """How the platform finds its PostgreSQL databases, and those inside the cluster that it starts with.

    There is one for all, called like its role; or each component has one ``of_its_own``, called like the component.
    """

    users: Tuple[Component, ...]
    way: Way
    # The one inside: its Secret, and the keys of the platform's role and of a superuser in it, each with that of its password.
    bundled: Workload
    bundled_secret: str
    user_keys: Tuple[str, str]
    superuser_keys: Tuple[str, str]
    pools: Tuple[Pool, ...]
    # The label, with its values, of the pod inside that takes writes, where several run.
    leader: Optional[Tuple[str, Tuple[str, ...]]] = None
    # What goes on with making backups of the one inside when nothing is in it any more.
    backups: Optional[Workload] = None
    # One Secret with the settings for all components, and the key of the name in it.
    secret: str = ""
    name_key: str = ""
    annotation: str = ""
    of_its_own: bool = False
    # What of sslmode every driver of the platform knows. None of them has a certificate to verify with.
    ssl_modes: Tuple[str, ...] = ("disable", "allow", "prefer", "require")


class ImageLocation(NamedTuple):
    """One place for images that the platform's code knows, and the keys of Secrets by which it finds it.

    Fields of settings are called server (as names of images begin with it), hostname (the same, but empty for Docker Hub), organization, account,
    account_password; access_key, secret_key, region (ecr); service_account (gcr); and nothing, which is always the empty text.
    """

    name: str
    # The name of each Secret, with its keys.
    secrets: Tuple[Tuple[str, Tuple[Setting, ...]], ...]
    required: Tuple[str, ...] = ()
    # Options that the code has no use for, and why they must not be given.
    refused: Mapping[str, str] = {}
    # What makes the pull Secrets where the controller does not; only the chart brings it.
    refresher: Optional[Workload] = None
    limits: Tuple[str, ...] = ()


class ImageUser(NamedTuple):
    """A workload that has to know where images are."""

    workload: Workload
    # The values key by which the chart states the variable with the location, and what it has to hold; the location's name when it is None.
    values_key: str = ""
    values_value: Any = None
    # Further variables, each with the Secret and the key that it refers to.
    references: Tuple[Tuple[str, str, str], ...] = ()
    # Whether it has the variable with the location.
    told: bool = True
    # The Secret that it reads only when it starts.
    reads_at_start: str = ""


class ImageRegistry(NamedTuple):
    """Where the platform keeps images. ``users`` stand in the order in which they are restarted after a change; ``builder`` names the one that pushes."""

    bundled: Workload
    port: int
    users: Tuple[ImageUser, ...]
    builder: Workload
    locations: Tuple[ImageLocation, ...]
    # The variable with the location, and what it says of the bundled registry.
    variable: str
    inside: str
    # Variables of the builder whose texts, joined by colons, are the bundled registry's address on every node.
    address_variables: Tuple[str, ...]
    # How the pull Secret in the namespace of an app is called, out of {prefix}, {location} and {process}, and the controller's variable with the prefix.
    pull_secret: str
    prefix_variable: Tuple[Workload, str]
    # The annotation on the first Secret that names the location.
    annotation: str = ""
    # Secret and keys by which the bundled registry is entered, where it asks for them.
    credentials: Optional[Tuple[str, str, str]] = None
    # Whether it has a folder for each app, with a repository of the same name in it.
    folders: bool = False
    # Whether an app has to state its port, since the code no longer asks the image for it.
    port_wanted: bool = False
    # Locations that a manual names and no code knows, and why.
    inert: Mapping[str, str] = {}


class MetricsUser(NamedTuple):
    """A workload that writes metrics to the store or reads them there, and the variables by which it is told where that is.

    Fields are called url; quoted_url (the same between quotation marks); database, user, password. Every container of the workload that states one of the
    variables has to be told.
    """

    workload: Workload
    settings: Tuple[Setting, ...] = ()
    optional: bool = False


class Sender(NamedTuple):
    """A workload that sends metrics wherever its arguments say, and the store in the cluster besides.

    ``argument`` is what a place begins with, ``last_own`` what the last argument begins with that is not of ``values_key``'s list.
    """

    workload: Workload
    argument: str
    last_own: str
    values_key: str


class GraphsDatabase(NamedTuple):
    """How what draws graphs is told of a PostgreSQL database of its own, instead of a file in its pod.

    ``variables`` by what they hold: kind, address (host and port), name, user, password, sslmode. The password stands in a Secret of ours.
    """

    workload: Workload
    # What the code calls PostgreSQL.
    kind: str
    variables: Mapping[str, str]
    secret: str
    # The variables with the account that it makes in a new database, and what they are on every installation.
    account_variables: Tuple[str, str]
    well_known_account: Tuple[str, str]


class MetricsStore(NamedTuple):
    """Where the platform keeps metrics. ``users`` stand in the order in which they are restarted after a change."""

    # influxdb, prometheus: how the store is spoken to.
    protocol: str
    bundled: Workload
    users: Tuple[MetricsUser, ...]
    # The values key that names the place, with what it has to hold; nothing where each setting has a key of its own.
    location: Tuple[str, str] = ("", "")
    # The Secret with the settings, where there is one; only the chart of a store outside has it.
    secret: str = ""
    sender: Optional[Sender] = None
    # Services that lead to the bundled store, and the label by which the router takes them to the outside.
    doors: Tuple[str, ...] = ()
    routed_label: str = ""
    shut_annotation: str = ""
    graphs: Optional[GraphsDatabase] = None
    limits: Tuple[str, ...] = ()
    # Values keys that a manual or the chart names and no template reads, and what to set instead.
    inert: Mapping[str, str] = {}


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
    database: Database
    registry: Optional[ImageRegistry] = None
    metrics: Optional[MetricsStore] = None
    # What stands before every command in the platform's images.
    start: Tuple[str, ...] = ()
    notes: Tuple[str, ...] = field(default=())
