"""Live changes of every class that an upgrade treats in its own way, on the objects of charts/probe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.paas.hardening.plugins.module_utils._core.plan import ABSENT, Item, Path

DEPLOYMENT = ("apps/v1", "Deployment", "probe-web")
PLAIN = ("apps/v1", "Deployment", "probe-plain")
AGENT = ("apps/v1", "DaemonSet", "probe-agent")
SERVICE = ("v1", "Service", "probe-web")
SETTINGS = ("v1", "ConfigMap", "probe-settings")
SECRET_DATA = ("v1", "Secret", "probe-data")
SECRET_TEXT = ("v1", "Secret", "probe-text")
BUDGET = ("policy/v1", "PodDisruptionBudget", "probe-budget")
SCALER = ("autoscaling/v2", "HorizontalPodAutoscaler", "probe-scale")
INGRESS = ("networking.k8s.io/v1", "Ingress", "probe-web")
WALL = ("networking.k8s.io/v1", "NetworkPolicy", "probe-wall")
ROLE = ("rbac.authorization.k8s.io/v1", "Role", "probe-role")
ACCOUNT = ("v1", "ServiceAccount", "probe-account")
NIGHTLY = ("batch/v1", "CronJob", "probe-nightly")
WIDGET = ("probe.example.org/v1", "Widget", "probe-widget")

POD: Path = ("spec", "template", "spec")
WEB: Path = (*POD, "containers", Item("name", "web"))
JOB: Path = ("spec", "jobTemplate", "spec", "template", "spec", "containers", Item("name", "job"))


def env(name: str) -> Path:
    return (*WEB, "env", Item("name", name))


@dataclass(frozen=True)
class LiveChange:
    """One change: of which object of the chart, which field, to what."""

    about: str
    target: tuple[str, str, str]
    path: Path
    value: Any


def term(weight: int) -> dict[str, Any]:
    return {"weight": weight, "podAffinityTerm": {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "other"}}}}


CHANGES = [
    LiveChange("scalar stated", DEPLOYMENT, ("spec", "replicas"), 2),
    LiveChange("scalar stated as a big number, same value", DEPLOYMENT, ("spec", "progressDeadlineSeconds"), 1000000),
    LiveChange("scalar omitted", DEPLOYMENT, ("spec", "revisionHistoryLimit"), 3),
    LiveChange("scalar omitted in the pod", DEPLOYMENT, (*POD, "terminationGracePeriodSeconds"), 77),
    LiveChange("scalar stated, removed, the server has a default", DEPLOYMENT, ("spec", "replicas"), ABSENT),
    LiveChange("boolean stated", DEPLOYMENT, ("spec", "paused"), False),
    LiveChange("env value stated", DEPLOYMENT, (*env("MODE"), "value"), "admin_only"),
    LiveChange("env value stated, to the same", DEPLOYMENT, (*env("MODE"), "value"), "enabled"),
    LiveChange("env value stated empty", DEPLOYMENT, (*env("EMPTY"), "value"), "4"),
    LiveChange("env of another container", DEPLOYMENT, (*POD, "containers", Item("name", "side"), "env", Item("name", "MODE"), "value"), "x"),
    LiveChange("env of an init container", DEPLOYMENT, (*POD, "initContainers", Item("name", "first"), "env", Item("name", "MODE"), "value"), "x"),
    LiveChange("env added", DEPLOYMENT, env("ADDED"), {"name": "ADDED", "value": "1"}),
    LiveChange("env added to a container that states none", PLAIN, (*WEB, "env"), [{"name": "ADDED", "value": "1"}]),
    LiveChange("env removed", DEPLOYMENT, env("MODE"), ABSENT),
    LiveChange("env from a Secret instead of a value", DEPLOYMENT, env("MODE"), {"name": "MODE", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}),
    LiveChange("env value instead of one from a Secret", DEPLOYMENT, env("FROM"), {"name": "FROM", "value": "plain"}),
    LiveChange("key of a Secret reference", DEPLOYMENT, (*env("FROM"), "valueFrom", "secretKeyRef", "key"), "other"),
    LiveChange("field added to an atomic map", DEPLOYMENT, (*env("FROM"), "valueFrom", "secretKeyRef", "optional"), True),
    LiveChange("image", DEPLOYMENT, (*WEB, "image"), "probe:2"),
    LiveChange("imagePullPolicy, omitted", DEPLOYMENT, (*WEB, "imagePullPolicy"), "Always"),
    LiveChange("atomic list of texts, one added", DEPLOYMENT, (*WEB, "args"), ["--one", "--two", "--three"]),
    LiveChange("atomic list of texts, to the same", DEPLOYMENT, (*WEB, "args"), ["--one", "--two"]),
    LiveChange("atomic list of texts, removed", DEPLOYMENT, (*WEB, "command"), ABSENT),
    LiveChange("atomic list omitted", PLAIN, (*WEB, "args"), ["--x"]),
    LiveChange("envFrom", DEPLOYMENT, (*WEB, "envFrom"), [{"configMapRef": {"name": "a"}}, {"secretRef": {"name": "b"}}]),
    LiveChange("toleration added", DEPLOYMENT, (*POD, "tolerations"), [{"key": "dedicated", "operator": "Exists"}, {"key": "x", "operator": "Exists"}]),
    LiveChange("tolerations omitted", PLAIN, (*POD, "tolerations"), [{"key": "x", "operator": "Exists"}]),
    LiveChange("affinity replaced", DEPLOYMENT, (*POD, "affinity", "podAntiAffinity", "preferredDuringSchedulingIgnoredDuringExecution"), [term(100)]),
    LiveChange(
        "hard affinity beside a stated soft one",
        DEPLOYMENT,
        (*POD, "affinity", "podAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution"),
        [term(1)["podAffinityTerm"]],
    ),
    LiveChange("affinity omitted", PLAIN, (*POD, "affinity"), {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term(100)]}}),
    LiveChange("spread constraint changed", DEPLOYMENT, (*POD, "topologySpreadConstraints", Item("topologyKey", "zone"), "maxSkew"), 2),
    LiveChange(
        "spread constraint added",
        DEPLOYMENT,
        (*POD, "topologySpreadConstraints", Item("topologyKey", "kubernetes.io/hostname")),
        {"topologyKey": "kubernetes.io/hostname", "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"},
    ),
    LiveChange("strategy stated", DEPLOYMENT, ("spec", "strategy", "rollingUpdate", "maxUnavailable"), 1),
    LiveChange("strategy of which only the type is stated", PLAIN, ("spec", "strategy", "rollingUpdate", "maxUnavailable"), 0),
    LiveChange("node selector, key added", DEPLOYMENT, (*POD, "nodeSelector", "added"), "yes"),
    LiveChange("node selector omitted", PLAIN, (*POD, "nodeSelector"), {"added": "yes"}),
    LiveChange("port's name, entry named by its port", DEPLOYMENT, (*WEB, "ports", Item("containerPort", 8080), "name"), "web"),
    LiveChange("port's hostPort, entry named by its name", DEPLOYMENT, (*WEB, "ports", Item("name", "admin"), "hostPort"), 9090),
    LiveChange("port added", DEPLOYMENT, (*WEB, "ports", Item("containerPort", 2222)), {"name": "ssh", "containerPort": 2222, "protocol": "TCP"}),
    LiveChange("quantity stated", DEPLOYMENT, (*WEB, "resources", "limits", "memory"), "2Gi"),
    LiveChange("quantity stated in another spelling, other value", DEPLOYMENT, (*WEB, "resources", "limits", "cpu"), "2"),
    LiveChange("quantity added", DEPLOYMENT, (*WEB, "resources", "requests", "memory"), "64Mi"),
    LiveChange("resources stated empty", PLAIN, (*WEB, "resources", "limits"), {"memory": "64Mi"}),
    LiveChange("annotation of the pod where the chart writes an empty map", PLAIN, ("spec", "template", "metadata", "annotations"), {"added": "yes"}),
    LiveChange("probe's number", DEPLOYMENT, (*WEB, "readinessProbe", "periodSeconds"), 3),
    LiveChange("probe's number, omitted", DEPLOYMENT, (*WEB, "readinessProbe", "failureThreshold"), 5),
    LiveChange("probe of another sort", DEPLOYMENT, (*WEB, "readinessProbe"), {"tcpSocket": {"port": 9090}}),
    LiveChange("probe added", DEPLOYMENT, (*WEB, "livenessProbe"), {"tcpSocket": {"port": 9090}}),
    LiveChange("volume of another sort", DEPLOYMENT, (*POD, "volumes", Item("name", "data")), {"name": "data", "persistentVolumeClaim": {"claimName": "c"}}),
    LiveChange("volume's field, omitted", DEPLOYMENT, (*POD, "volumes", Item("name", "settings"), "configMap", "defaultMode"), 256),
    LiveChange("volume added", DEPLOYMENT, (*POD, "volumes", Item("name", "more")), {"name": "more", "emptyDir": {}}),
    LiveChange("mount made read-only", DEPLOYMENT, (*WEB, "volumeMounts", Item("mountPath", "/settings"), "readOnly"), True),
    LiveChange("security context, key added", DEPLOYMENT, (*POD, "securityContext", "runAsNonRoot"), True),
    LiveChange("list inside the security context", DEPLOYMENT, (*WEB, "securityContext", "capabilities", "drop"), ["ALL"]),
    LiveChange("list of numbers", DEPLOYMENT, (*POD, "securityContext", "supplementalGroups"), [1, 2, 3]),
    LiveChange("pull secret added", DEPLOYMENT, (*POD, "imagePullSecrets", Item("name", "pull-two")), {"name": "pull-two"}),
    LiveChange("host alias, inner list", DEPLOYMENT, (*POD, "hostAliases", Item("ip", "10.0.0.1"), "hostnames"), ["one", "two"]),
    LiveChange("label stated", DEPLOYMENT, ("metadata", "labels", "routable"), "false"),
    LiveChange("label stated, removed", DEPLOYMENT, ("metadata", "labels", "routable"), ABSENT),
    LiveChange("label added", DEPLOYMENT, ("metadata", "labels", "added"), "yes"),
    LiveChange("annotation stated", DEPLOYMENT, ("metadata", "annotations", "probe.example.org/nginx.enforce"), "true"),
    LiveChange("annotation added", DEPLOYMENT, ("metadata", "annotations", "probe.example.org/nginx.hsts.enabled"), "true"),
    LiveChange("annotation added where the chart states none", PLAIN, ("metadata", "annotations", "probe.example.org/x"), "y"),
    LiveChange("finalizer added", DEPLOYMENT, ("metadata", "finalizers"), ["probe.example.org/wait"]),
    LiveChange("container added", DEPLOYMENT, (*POD, "containers", Item("name", "third")), {"name": "third", "image": "probe:3"}),
    LiveChange("boolean in a DaemonSet", AGENT, (*POD, "containers", Item("name", "agent"), "securityContext", "readOnlyRootFilesystem"), False),
    LiveChange("update strategy of a DaemonSet, omitted", AGENT, ("spec", "updateStrategy", "rollingUpdate", "maxUnavailable"), 2),
    LiveChange("env of a CronJob", NIGHTLY, (*JOB, "env", Item("name", "MODE"), "value"), "x"),
    LiveChange("schedule of a CronJob", NIGHTLY, ("spec", "schedule"), "0 4 * * *"),
    LiveChange("history of a CronJob, omitted", NIGHTLY, ("spec", "successfulJobsHistoryLimit"), 1),
    LiveChange("Service port added", SERVICE, ("spec", "ports", Item("port", 9090)), {"name": "healthz", "port": 9090, "targetPort": 9090, "protocol": "TCP"}),
    LiveChange("Service port changed", SERVICE, ("spec", "ports", Item("name", "http"), "targetPort"), 6443),
    LiveChange("Service port, number to text", SERVICE, ("spec", "ports", Item("port", 80), "targetPort"), "web"),
    LiveChange("Service port removed", SERVICE, ("spec", "ports", Item("port", 443)), ABSENT),
    LiveChange("Service type", SERVICE, ("spec", "type"), "LoadBalancer"),
    LiveChange("Service field omitted", SERVICE, ("spec", "externalTrafficPolicy"), "Local"),
    LiveChange("Service source ranges, omitted list", SERVICE, ("spec", "sessionAffinity"), "ClientIP"),
    LiveChange("Service annotation added", SERVICE, ("metadata", "annotations", "probe.example.org/whitelist"), "10.0.0.0/8"),
    LiveChange("Service selector, key added", SERVICE, ("spec", "selector", "more"), "x"),
    LiveChange("ConfigMap key changed", SETTINGS, ("data", "shade"), "dark"),
    LiveChange("ConfigMap key to the same", SETTINGS, ("data", "shade"), "default"),
    LiveChange("ConfigMap key added", SETTINGS, ("data", "added"), "1"),
    LiveChange("ConfigMap key removed", SETTINGS, ("data", "greeting"), ABSENT),
    LiveChange("Secret rotated, chart uses data", SECRET_DATA, ("data", "password"), "cm90YXRlZA=="),
    LiveChange("Secret to the same, chart uses data", SECRET_DATA, ("data", "password"), "Zmlyc3Q="),
    LiveChange("Secret key added, chart uses data", SECRET_DATA, ("data", "more"), "cm90YXRlZA=="),
    LiveChange("Secret key removed, chart uses data", SECRET_DATA, ("data", "password"), ABSENT),
    LiveChange("Secret rotated, chart uses stringData", SECRET_TEXT, ("data", "token"), "cm90YXRlZA=="),
    LiveChange("Secret to the same, chart uses stringData", SECRET_TEXT, ("data", "token"), "Zmlyc3Q="),
    LiveChange("Secret key added, chart uses stringData", SECRET_TEXT, ("data", "more"), "cm90YXRlZA=="),
    LiveChange("Secret key removed, chart uses stringData", SECRET_TEXT, ("data", "token"), ABSENT),
    LiveChange("budget changed", BUDGET, ("spec", "minAvailable"), 2),
    LiveChange("budget of the other sort", BUDGET, ("spec",), {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "other"}}}),
    LiveChange("budget's selector, key added", BUDGET, ("spec", "selector", "matchLabels", "more"), "x"),
    LiveChange("budget's field, omitted", BUDGET, ("spec", "unhealthyPodEvictionPolicy"), "AlwaysAllow"),
    LiveChange("scaler's lower bound", SCALER, ("spec", "minReplicas"), 2),
    LiveChange("scaler's target", SCALER, ("spec", "scaleTargetRef", "name"), "other"),
    LiveChange("scaler's behaviour, omitted", SCALER, ("spec", "behavior", "scaleDown", "stabilizationWindowSeconds"), 60),
    LiveChange(
        "scaler's metrics",
        SCALER,
        ("spec", "metrics"),
        [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}],
    ),
    LiveChange("ingress TLS added", INGRESS, ("spec", "tls"), [{"hosts": ["probe.example.org"], "secretName": "cert"}]),
    LiveChange("ingress class, omitted", INGRESS, ("spec", "ingressClassName"), "public"),
    LiveChange("ingress rules", INGRESS, ("spec", "rules"), [{"host": "other.example.org"}]),
    LiveChange("network policy rules", WALL, ("spec", "ingress"), []),
    LiveChange("network policy types", WALL, ("spec", "policyTypes"), ["Ingress", "Egress"]),
    LiveChange("network policy egress, omitted", WALL, ("spec", "egress"), [{"ports": [{"port": 53, "protocol": "UDP"}]}]),
    LiveChange("role's rules", ROLE, ("rules",), [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]),
    LiveChange("pull secrets of a ServiceAccount", ACCOUNT, ("imagePullSecrets",), [{"name": "pull-one"}, {"name": "pull-two"}]),
    LiveChange("token mount of a ServiceAccount, omitted", ACCOUNT, ("automountServiceAccountToken",), False),
    LiveChange("custom resource, scalar stated", WIDGET, ("spec", "mode"), "closed"),
    LiveChange("custom resource, scalar to the same", WIDGET, ("spec", "mode"), "open"),
    LiveChange("custom resource, scalar omitted", WIDGET, ("spec", "note"), "x"),
    LiveChange("custom resource, scalar removed", WIDGET, ("spec", "size"), ABSENT),
    LiveChange("custom resource, atomic list", WIDGET, ("spec", "plain"), ["a", "b", "c"]),
    LiveChange("custom resource, set", WIDGET, ("spec", "bag"), ["a", "b", "c"]),
    LiveChange("custom resource, keyed list, field", WIDGET, ("spec", "doors", Item("name", "front"), "open"), False),
    LiveChange("custom resource, keyed list, entry added", WIDGET, ("spec", "doors", Item("name", "back")), {"name": "back", "port": 81}),
    LiveChange("custom resource, atomic map", WIDGET, ("spec", "whole", "two"), "2"),
    LiveChange("custom resource, plain map", WIDGET, ("spec", "labels", "two"), "2"),
    LiveChange("custom resource, map value", WIDGET, ("spec", "labels", "one"), "2"),
]
