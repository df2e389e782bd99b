{{/*
What the component charts share. Named templates are global in a Helm release, so the sub-charts use these through the umbrella.
`at` is the chart's root context; environment is written as a YAML list of single entries, in the order in which one may refer to another:
  - NAME: text                     - NAME: {secret: [name, key]}
  - NAME: {config: [name, key]}    - NAME: {field: status.podIP}
*/}}

{{/* The image lines: (list .Values "controller" "canary"); the tag is optional. */}}
{{- define "drycc.image" -}}
{{- $v := index . 0 -}}
image: {{ $v.imageRegistry }}/{{ $v.imageOrg }}/{{ index . 1 }}:{{ if gt (len .) 2 }}{{ index . 2 }}{{ else }}{{ $v.imageTag }}{{ end }}
imagePullPolicy: {{ $v.imagePullPolicy }}
{{- end }}

{{/* env: out of the text of a YAML list */}}
{{- define "drycc.env" -}}
env:
  {{- range fromYamlArray . }}
  {{- range $name, $value := . }}
  - name: {{ $name }}
    {{- if not (kindIs "map" $value) }}
    value: {{ $value | default "" | toString | quote }}
    {{- else if $value.field }}
    valueFrom:
      fieldRef:
        fieldPath: {{ $value.field }}
    {{- else }}
    valueFrom:
      {{ ternary "secretKeyRef" "configMapKeyRef" (hasKey $value "secret") }}:
        name: {{ index ($value.secret | default $value.config) 0 }}
        key: {{ index ($value.secret | default $value.config) 1 }}
    {{- end }}
  {{- end }}
  {{- end }}
{{- end }}

{{/* The init container that waits for others: (dict "values" .Values "name" "x-init" "args" (list "-u" "http://...") "env" "text") */}}
{{- define "drycc.wait" -}}
- name: {{ .name }}
  {{- include "drycc.image" (list .values "python-dev" "latest") | nindent 2 }}
  args:
    - netcat
    - -v
    {{- range .args }}
    - {{ . | quote }}
    {{- end }}
  {{- with .env }}
  {{- include "drycc.env" . | nindent 2 }}
  {{- end }}
{{- end }}

{{/*
A workload up to and without its containers. `select` is the selector, `version` whether it carries the version annotation, `rolling` whether the chart
states a strategy.
*/}}
{{- define "drycc.workload" -}}
{{- $kind := .kind | default "Deployment" -}}
{{- $pod := merge (dict) .select -}}
{{- if not .bare }}{{ $_ := set $pod "heritage" "drycc" }}{{ end -}}
apiVersion: apps/v1
kind: {{ $kind }}
metadata:
  name: {{ .name }}
  {{- if not .unlabelled }}
  labels:
    {{- merge (dict "heritage" "drycc") (.labels | default dict) | toYaml | nindent 4 }}
  {{- end }}
  {{- if .version }}
  annotations:
    component.drycc.cc/version: {{ .values.imageTag }}
  {{- end }}
spec:
  {{- if eq $kind "StatefulSet" }}
  serviceName: {{ .service | default .name }}
  {{- end }}
  {{- with .replicas }}
  replicas: {{ . }}
  {{- end }}
  {{- if .rolling }}
  {{ ternary "strategy" "updateStrategy" (eq $kind "Deployment") }}:
    type: RollingUpdate
    {{- if eq $kind "Deployment" }}
    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 0
    {{- end }}
  {{- end }}
  selector:
    matchLabels:
      {{- toYaml .select | nindent 6 }}
  template:
    metadata:
      labels:
        {{- toYaml $pod | nindent 8 }}
      {{- with .notes }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      {{- with .account }}
      serviceAccountName: {{ . }}
      {{- end }}
{{- end }}

{{/*
Probes in short: "GET /path port delay timeout", "GETS ..." over TLS, "tcp port delay timeout", "exec delay timeout word word ...".
global.lab.probeSeconds shortens the waits of readiness alone, and gives every probe the time that a busy machine takes to answer.
*/}}
{{- define "drycc.probes" -}}
{{- $seconds := ($.at.Values.global.lab | default dict).probeSeconds -}}
{{- with .live }}
livenessProbe:
  {{- include "drycc.probe" (list . nil $seconds) | nindent 2 }}
{{- end }}
{{- with .ready }}
readinessProbe:
  {{- include "drycc.probe" (list . $seconds $seconds) | nindent 2 }}
{{- end }}
{{- end }}

{{- define "drycc.probe" -}}
{{- $words := splitList " " (index . 0) -}}
{{- $seconds := index . 1 -}}
{{- $patient := index . 2 -}}
{{- $how := first $words -}}
{{- $times := list -}}
{{- if hasPrefix "GET" $how }}
{{- $times = slice $words 3 -}}
httpGet:
  path: {{ index $words 1 }}
  port: {{ index $words 2 }}
  {{- if eq $how "GETS" }}
  scheme: HTTPS
  {{- end }}
{{- else if eq $how "tcp" }}
{{- $times = slice $words 2 -}}
tcpSocket:
  port: {{ index $words 1 }}
{{- else }}
{{- $times = slice $words 1 3 -}}
exec:
  command: {{ slice $words 3 | toJson }}
{{- end }}
initialDelaySeconds: {{ if $seconds }}{{ min (int $seconds) (int (index $times 0)) }}{{ else }}{{ index $times 0 }}{{ end }}
timeoutSeconds: {{ if $patient }}{{ max 10 (int (index $times 1)) }}{{ else }}{{ index $times 1 }}{{ end }}
{{- with $seconds }}
{{- /* a program in a container costs much more than a request */}}
periodSeconds: {{ ternary 5 . (eq $how "exec") }}
{{- end }}
{{- end }}

{{/* A Service; ports as "name port target" or "name port target protocol". Without "select" its ends are written by somebody else. */}}
{{- define "drycc.service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}
  {{- if not .unlabelled }}
  labels:
    {{- merge (dict "heritage" "drycc") (.labels | default dict) | toYaml | nindent 4 }}
  {{- end }}
  {{- with .notes }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ .type | default "ClusterIP" }}
  {{- if .headless }}
  clusterIP: None
  publishNotReadyAddresses: true
  {{- end }}
  {{- if .ports }}
  ports:
  {{- end }}
    {{- range .ports }}
    {{- $p := splitList " " . }}
    - port: {{ index $p 1 }}
      targetPort: {{ index $p 2 }}
      {{- with index $p 0 }}
      name: {{ . }}
      {{- end }}
      {{- if gt (len $p) 3 }}
      protocol: {{ index $p 3 }}
      {{- end }}
    {{- end }}
  {{- with .select }}
  selector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "drycc.scraped" -}}
{{- dict "prometheus.io/scrape" "true" "prometheus.io/port" (index . 0) "prometheus.io/path" (index . 1) | toYaml }}
{{- end }}

{{- define "drycc.account" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ . }}
{{- end }}

{{/* resources: of a component's settings, nothing when they are empty */}}
{{- define "drycc.resources" -}}
{{- with .resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* A Secret or ConfigMap: (dict "name" n "data" (dict key base64)); values come encoded, out of drycc.kept or b64enc. */}}
{{- define "drycc.secret" -}}
apiVersion: v1
kind: Secret
metadata:
  name: {{ .name }}
  labels:
    {{- merge (dict "heritage" "drycc") (.labels | default dict) | toYaml | nindent 4 }}
  {{- with .annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
type: Opaque
{{- with .data }}
data:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "drycc.config" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .name }}
  labels:
    heritage: drycc
data:
  {{- toYaml .data | nindent 2 }}
{{- end }}

{{/* The value that the live Secret has, base64, else the given one: (list . "secret" "key" "text") */}}
{{- define "drycc.kept" -}}
{{- $live := (lookup "v1" "Secret" (index . 0).Release.Namespace (index . 1)).data | default dict -}}
{{- index $live (index . 2) | default (index . 3 | b64enc) -}}
{{- end }}

{{/* Rights: "cluster" and "local" are lists of "groups|resources|verbs"; no group and no resource means the path /metrics. */}}
{{- define "drycc.rights" -}}
{{- range $scope := list "Cluster" "" }}
{{- $rules := ternary $.cluster $.local (eq $scope "Cluster") }}
{{- $prefix := ternary (printf "%s:" $.at.Release.Namespace) "" (eq $scope "Cluster") }}
{{- if $rules }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $scope }}Role
metadata:
  name: {{ $prefix }}{{ $.name }}
  {{- with $.labels }}
  labels:
    {{- merge (dict "heritage" "drycc") . | toYaml | nindent 4 }}
  {{- end }}
rules:
  {{- range $rules }}
  {{- $r := splitList "|" . }}
  {{- if index $r 1 }}
  - apiGroups: {{ splitList "," (index $r 0) | toJson }}
    resources: {{ splitList "," (index $r 1) | toJson }}
  {{- else }}
  - nonResourceURLs: ["/metrics"]
  {{- end }}
    verbs: {{ splitList "," (index $r 2) | toJson }}
  {{- end }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $scope }}RoleBinding
metadata:
  name: {{ $prefix }}{{ $.binding | default $.name }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ $scope }}Role
  name: {{ $prefix }}{{ $.name }}
subjects:
  - kind: ServiceAccount
    name: {{ $.name }}
    namespace: {{ $.at.Release.Namespace }}
{{- end }}
{{- end }}
{{- end }}

{{/*
A NetworkPolicy for incoming traffic: (dict "at" . "name" n "select" labels "from" (list of apps in the platform's namespace)); an empty list means the
whole namespace.
*/}}
{{- define "drycc.ingress_policy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ .name }}
spec:
  podSelector:
    matchLabels:
      {{- toYaml .select | nindent 6 }}
  policyTypes: [Ingress]
  ingress:
    {{- range .from }}
    - from:
        - namespaceSelector:
            matchLabels:
              kubernetes.io/metadata.name: {{ $.at.Release.Namespace }}
          podSelector:
            matchLabels:
              app: {{ . }}
    {{- else }}
    - from:
        - podSelector: {}
    {{- end }}
{{- end }}

{{/* volumes and mounts for configurations: (list "/path" "config|secret|empty" "name" "ro") */}}
{{- define "drycc.mounts" -}}
volumeMounts:
  {{- range . }}
  - name: {{ index . 2 }}
    mountPath: {{ index . 0 }}
    {{- if gt (len .) 3 }}
    readOnly: true
    {{- end }}
    {{- if gt (len .) 4 }}
    subPath: {{ index . 4 }}
    {{- end }}
  {{- end }}
{{- end }}

{{- define "drycc.volumes" -}}
volumes:
  {{- range . }}
  - name: {{ index . 2 }}
    {{- if eq (index . 1) "secret" }}
    secret:
      secretName: {{ index . 2 }}
    {{- else if eq (index . 1) "config" }}
    configMap:
      name: {{ index . 2 }}
    {{- else if eq (index . 1) "host" }}
    hostPath:
      path: {{ index . 4 }}
    {{- else }}
    emptyDir: {}
    {{- end }}
  {{- end }}
{{- end }}

{{- define "drycc.claims" -}}
{{- if .persistence.enabled }}
volumeClaimTemplates:
  - metadata:
      name: {{ .name }}
    spec:
      accessModes: [ReadWriteOnce]
      {{- with .persistence.storageClass }}
      storageClassName: {{ . }}
      {{- end }}
      resources:
        requests:
          storage: {{ .persistence.size }}
{{- end }}
{{- end }}

{{/* Where the object store of a component is, and the Secret with its credentials: (list . "builder" "builder-secret" "drycc-storage") */}}
{{- define "drycc.storage_env" -}}
{{- $at := index . 0 -}}
{{- $bucket := index . 1 -}}
{{- if and $at.Values.storage.enabled (not $at.Values.storageEndpoint) }}
- DRYCC_STORAGE_BUCKET: {{ $bucket }}
- DRYCC_STORAGE_ENDPOINT: {{ printf "http://%s:9000" (index . 3) | quote }}
- DRYCC_STORAGE_ACCESSKEY: {secret: [storage-creds, accesskey]}
- DRYCC_STORAGE_SECRETKEY: {secret: [storage-creds, secretkey]}
{{- else }}
{{- range $name := list "bucket" "endpoint" "accesskey" "secretkey" }}
- DRYCC_STORAGE_{{ upper $name }}: {secret: [{{ index $ 2 }}, storage-{{ $name }}]}
{{- end }}
{{- end }}
{{- end }}

{{- define "drycc.storage_data" -}}
{{- if .Values.storageEndpoint -}}
storage-bucket: {{ .Values.storageBucket | b64enc }}
storage-endpoint: {{ .Values.storageEndpoint | b64enc }}
storage-accesskey: {{ .Values.storageAccesskey | b64enc }}
storage-secretkey: {{ .Values.storageSecretkey | b64enc }}
storage-path-style: {{ .Values.storagePathStyle | default "true" | toString | b64enc }}
{{- end }}
{{- end }}

{{- define "drycc.scheme" -}}{{ ternary "https" "http" (.Values.global.certManagerEnabled | default false) }}{{- end }}
