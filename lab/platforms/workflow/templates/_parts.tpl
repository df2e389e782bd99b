{{/*
What the component charts share. Named templates are global in a Helm release, so the sub-charts use these through the umbrella.
`at` is the chart's root context; `values` the settings of one component (org, docker_tag, pull_policy, limits_*).
*/}}

{{/* The image line and its pull policy: (dict "values" .Values "image" "builder" "registry" "quay.io/") */}}
{{- define "workflow.image" -}}
image: {{ .registry | default (include "variant.registry" .) }}{{ .values.org }}/{{ .image }}:{{ .values.docker_tag }}
imagePullPolicy: {{ .values.pull_policy }}
{{- if or .values.limits_cpu .values.limits_memory }}
resources:
  limits:
    {{- with .values.limits_cpu }}
    cpu: {{ . }}
    {{- end }}
    {{- with .values.limits_memory }}
    memory: {{ . }}
    {{- end }}
{{- end }}
{{- end }}

{{/*
A workload up to and without its containers:
(dict "values" .Values "name" "deis-builder" "kind" "Deployment" "account" "deis-builder" "strategy" "Recreate")
*/}}
{{- define "workflow.workload" -}}
{{- $daemon := eq (.kind | default "Deployment") "DaemonSet" -}}
{{- $own := .labels | default dict -}}
{{- $pod := dict "app" .name -}}
{{- if .heritage }}{{ $_ := set $pod "heritage" "deis" }}{{ end -}}
apiVersion: apps/v1
kind: {{ .kind | default "Deployment" }}
metadata:
  name: {{ .name }}
  labels:
    {{- merge (dict "heritage" "deis") $own | toYaml | nindent 4 }}
  annotations:
    {{- merge (dict "component.deis.io/version" .values.docker_tag) (.annotations | default dict) | toYaml | nindent 4 }}
spec:
  {{- if not $daemon }}
  replicas: 1
  {{- end }}
  {{- if eq (.kind | default "Deployment") "StatefulSet" }}
  serviceName: {{ .name }}
  updateStrategy:
    type: RollingUpdate
  {{- else if eq (.strategy | default "") "Recreate" }}
  strategy:
    type: Recreate
  {{- else if not $daemon }}
  strategy:
    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 0
    type: RollingUpdate
  {{- end }}
  selector:
    matchLabels:
      {{- toYaml $pod | nindent 6 }}
  template:
    metadata:
      labels:
        {{- toYaml $pod | nindent 8 }}
    spec:
      {{- with .account }}
      serviceAccountName: {{ . }}
      {{- end }}
{{- end }}

{{/* Both HTTP probes; `live` and `live_delay` only where they differ from readiness. global.lab.probe_seconds shortens the waits of readiness alone,
and gives every probe the time that a busy machine takes to answer. */}}
{{- define "workflow.probes" -}}
{{- $seconds := (.at.Values.global.lab | default dict).probe_seconds -}}
livenessProbe:
  httpGet:
    path: {{ .live | default .ready }}
    port: {{ .port }}
  initialDelaySeconds: {{ .live_delay | default .delay }}
  timeoutSeconds: {{ if $seconds }}{{ max 10 (int .timeout) }}{{ else }}{{ .timeout | default 1 }}{{ end }}
readinessProbe:
  httpGet:
    path: {{ .ready }}
    port: {{ .port }}
  {{- include "workflow.readiness_times" (dict "at" .at "delay" .delay "timeout" .timeout) | nindent 2 }}
{{- end }}

{{- define "workflow.readiness_times" -}}
{{- $seconds := (.at.Values.global.lab | default dict).probe_seconds -}}
initialDelaySeconds: {{ if $seconds }}{{ min (int $seconds) (int .delay) }}{{ else }}{{ .delay }}{{ end }}
timeoutSeconds: {{ if $seconds }}{{ max 10 (int .timeout) }}{{ else }}{{ .timeout | default 1 }}{{ end }}
{{- with $seconds }}
periodSeconds: {{ $.period | default . }}
{{- end }}
{{- end }}

{{/* One environment variable out of a Secret: (list "NAME" "secret" "key") */}}
{{- define "workflow.from_secret" -}}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef:
      name: {{ index . 1 }}
      key: {{ index . 2 }}
{{- end }}

{{- define "workflow.from_config" -}}
- name: {{ index . 0 }}
  valueFrom:
    configMapKeyRef:
      name: {{ index . 1 }}
      key: {{ index . 2 }}
{{- end }}

{{- define "workflow.namespace_env" -}}
- name: {{ . }}
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- end }}

{{/* A Service: (dict "name" "deis-builder" "app" "deis-builder" "ports" (list "ssh 2222 2223") "labels" dict "routed" "deis" "headless" true) */}}
{{- define "workflow.service" -}}
{{- $labels := merge (dict "heritage" (.heritage | default "deis")) (.labels | default dict) -}}
{{- $notes := .annotations | default dict -}}
{{- if .routed }}
{{- $_ := set $labels "router.deis.io/routable" "true" }}
{{- $_ := set $notes "router.deis.io/domains" .routed }}
{{- if .timeouts }}
{{- $_ := set $notes "router.deis.io/connectTimeout" "10" }}
{{- $_ := set $notes "router.deis.io/tcpTimeout" "1200" }}
{{- end }}
{{- end -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}
  labels:
    {{- toYaml $labels | nindent 4 }}
  {{- with $notes }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- if .headless }}
  clusterIP: None
  {{- end }}
  {{- with .type }}
  type: {{ . }}
  {{- end }}
  {{- if .sticky }}
  sessionAffinity: ClientIP
  {{- end }}
  ports:
    {{- range .ports }}
    {{- $p := splitList " " . }}
    - port: {{ index $p 1 }}
      targetPort: {{ index $p 2 }}
      {{- with index $p 0 }}
      name: {{ . }}
      {{- end }}
    {{- end }}
  selector:
    app: {{ .app | default .name }}
{{- end }}

{{- define "workflow.account" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ . }}
{{- end }}

{{/* A Secret. With "hook" it is made once, before the install, and belongs to no release. */}}
{{- define "workflow.secret" -}}
apiVersion: v1
kind: Secret
metadata:
  name: {{ .name }}
  labels:
    {{- merge (dict "heritage" "deis") (.labels | default dict) | toYaml | nindent 4 }}
  {{- if or .hook .annotations }}
  annotations:
    {{- merge (ternary (dict "helm.sh/hook" "pre-install") dict (.hook | default false)) (.annotations | default dict) | toYaml | nindent 4 }}
  {{- end }}
type: Opaque
data:
  {{- range $key, $value := .data }}
  {{ $key }}: {{ $value | toString | b64enc | quote }}
  {{- end }}
{{- end }}

{{/* Rights: "cluster" and "local" are lists of "groups|resources|verbs". Nothing comes of it where the platform sees no RBAC version (variant.rbac). */}}
{{- define "workflow.rights" -}}
{{- $version := include "variant.rbac" .at -}}
{{- if and .at.Values.global.use_rbac $version -}}
{{- $name := .name -}}
{{- $space := .at.Release.Namespace -}}
{{- range $scope := list "Cluster" "" }}
{{- $rules := ternary $.cluster $.local (eq $scope "Cluster") }}
{{- $full := ternary (printf "%s:%s" $space $name) $name (eq $scope "Cluster") }}
{{- if $rules }}
---
apiVersion: {{ $version }}
kind: {{ $scope }}Role
metadata:
  name: {{ $full }}
  labels:
    app: {{ $name }}
    heritage: deis
rules:
  {{- range $rules }}
  {{- $r := splitList "|" . }}
  - apiGroups: {{ splitList "," (index $r 0) | toJson }}
    resources: {{ splitList "," (index $r 1) | toJson }}
    verbs: {{ splitList "," (index $r 2) | toJson }}
  {{- end }}
---
apiVersion: {{ $version }}
kind: {{ $scope }}RoleBinding
metadata:
  name: {{ $full }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ $scope }}Role
  name: {{ $full }}
subjects:
  - kind: ServiceAccount
    name: {{ $name }}
    namespace: {{ $space }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
