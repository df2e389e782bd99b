{{/* What both shapes of the controller have in common. */}}

{{- define "controller.cronjob" -}}
apiVersion: batch/v1
kind: CronJob
metadata:
  name: drycc-controller-cronjob-{{ .span }}
  labels:
    heritage: drycc
  annotations:
    component.drycc.cc/version: {{ .at.Values.imageTag }}
spec:
  schedule: {{ .schedule | quote }}
  concurrencyPolicy: {{ .at.Values.concurrencyPolicy }}
  jobTemplate:
    spec:
      template:
        metadata:
          labels:
            {{- merge (dict "heritage" "drycc") .pod | toYaml | nindent 12 }}
        spec:
          restartPolicy: OnFailure
          serviceAccountName: drycc-controller
          initContainers:
            {{- include "drycc.wait" (merge (dict "values" .at.Values "env" .env) .wait) | nindent 12 }}
          containers:
            {{- range .commands }}
            - name: drycc-controller-{{ index . 0 }}
              {{- $image := include "drycc.image" (list $.at.Values "controller") }}
              {{- /* one of them states a pull policy, the others leave it to the tag */}}
              {{- if ne (index . 0) "load-db-state-to-k8s" }}{{ $image = splitList "\n" $image | first }}{{ end }}
              {{- $image | nindent 14 }}
              args: [/bin/bash, -c, "python {{ if ne (index . 0) "load-db-state-to-k8s" }}-u {{ end }}/workspace/manage.py {{ index . 1 }}"]
              {{- include "drycc.env" $.env | nindent 14 }}
              {{- with $.mounts }}
              {{- include "drycc.mounts" . | nindent 14 }}
              {{- end }}
            {{- end }}
          {{- with .mounts }}
          {{- include "drycc.volumes" . | nindent 10 }}
          {{- end }}
{{- end }}

{{- define "controller.upgrade_job" -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: drycc-controller-job-upgrade
  annotations:
    component.drycc.cc/version: {{ .at.Values.imageTag }}
    {{- with .hook }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  template:
    spec:
      restartPolicy: OnFailure
      serviceAccountName: drycc-controller
      initContainers:
        {{- include "drycc.wait" (dict "values" .at.Values "name" "drycc-controller-job-upgrade-init" "env" .env "args" .args) | nindent 8 }}
      containers:
        - name: drycc-controller-job-upgrade
          {{- include "drycc.image" (list .at.Values "controller") | nindent 10 }}
          args:
            - /usr/bin/env
            - bash
            - -ec
            - "python -u /workspace/manage.py migrate --noinput\npython -u /workspace/manage.py load_db_state_to_k8s"
          {{- include "drycc.env" .env | nindent 10 }}
          {{- include "drycc.mounts" .mounts | nindent 10 }}
      {{- include "drycc.volumes" .mounts | nindent 6 }}
{{- end }}

{{/* The webhook that guards scaling, and the certificate that it is trusted by: kept once made. */}}
{{- define "controller.webhook" -}}
{{- $host := printf "drycc-controller-mutate.%s.svc" .Release.Namespace }}
{{- $live := (lookup "v1" "Secret" .Release.Namespace "controller-mutate-cert").data | default dict }}
{{- $data := pick $live "ca.crt" "ca.key" "key" "tls.crt" "tls.key" }}
{{- if not (index $data "tls.crt") }}
{{- $ca := genCA "drycc-controller-mutate" 3650 }}
{{- $cert := genSignedCert $host nil (list $host) 3650 $ca }}
{{- $data = dict "ca.crt" (b64enc $ca.Cert) "ca.key" (b64enc $ca.Key) "key" (randAlphaNum 32 | b64enc) "tls.crt" (b64enc $cert.Cert)
    "tls.key" (b64enc $cert.Key) }}
{{- end }}
---
{{ include "drycc.secret" (dict "name" "controller-mutate-cert" "annotations" (dict "component.drycc.cc/version" .Values.imageTag) "data" $data) }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata:
  name: {{ .Release.Namespace }}-controller-mutate
  labels:
    heritage: drycc
  annotations:
    component.drycc.cc/version: {{ .Values.imageTag }}
webhooks:
  - name: mutate.drycc.cc
    failurePolicy: Fail
    sideEffects: None
    admissionReviewVersions: [v1]
    clientConfig:
      caBundle: {{ index $data "ca.crt" }}
      service:
        name: drycc-controller-mutate
        namespace: {{ .Release.Namespace }}
        path: /mutate
    objectSelector:
      matchLabels:
        heritage: drycc
    rules:
      - {operations: [UPDATE], apiGroups: [batch], apiVersions: ["*"], resources: [jobs/status]}
      - {operations: [UPDATE], apiGroups: [apps], apiVersions: ["*"], resources: [deployments/scale]}
      - {operations: [UPDATE], apiGroups: [servicecatalog.k8s.io], apiVersions: ["*"], resources: [serviceinstances/status, servicebindings/status]}
{{- end }}

{{/* Where databases and queues outside the cluster are: (list . data), which gets the keys */}}
{{- define "controller.locations" -}}
{{- $v := (index . 0).Values }}
{{- $data := index . 1 }}
{{- range $key, $value := dict "database-url" $v.databaseUrl "database-replica-url" $v.databaseReplicaUrl "valkey-url" $v.valkeyUrl }}
{{- if $value }}{{ $_ := set $data $key (b64enc $value) }}{{ end }}
{{- end }}
{{- end }}

{{/* (list . rules-in-the-middle rules-near-the-end) */}}
{{- define "controller.rights" -}}
{{- $first := list
    "|namespaces|get,list,create,delete"
    "|services|get,list,create,patch,update,delete"
    "|nodes|get,list"
    "events.k8s.io|events|list,create"
    "|secrets|list,get,create,patch,update,delete"
    "|replicationcontrollers|get,list,create,update,delete"
    "|replicationcontrollers/scale|get,update"
    "|pods/log|get"
    "|pods/exec|get,create"
    "|pods|get,list,create,delete"
    "|resourcequotas|get,create"
    "|limitranges|get,create"
    "extensions|replicasets|get,list,delete,update"
    "extensions,apps|deployments|get,list,create,update,patch,delete"
    "extensions,apps|deployments/scale,replicasets/scale|get,update" }}
{{- $second := list
    "extensions,autoscaling|horizontalpodautoscalers|get,list,create,update,delete"
    "cert-manager.io|certificates,certificaterequest,issuers|get,list,watch,create,update,delete"
    "apps|replicasets|get,list,watch,delete"
    "|persistentvolumes|get,list,watch,create,delete,patch,update"
    "|persistentvolumeclaims|get,list,watch,create,delete,patch,update" }}
{{- include "drycc.rights" (dict "at" (index . 0) "name" "drycc-controller" "labels" (dict "app" "drycc-controller")
    "cluster" (concat $first (index . 1) $second (index . 2) (list "batch|jobs|create"))) }}
{{- end }}
