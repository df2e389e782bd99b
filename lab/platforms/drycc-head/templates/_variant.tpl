{{/* What the newest commits do in their own way. */}}

{{/* How others in the namespace are called: (list . "drycc-storage") */}}
{{- define "variant.host" -}}{{ index . 1 }}{{- end }}

{{- define "variant.storage_lookup" -}}{{- end }}
{{/* (list . "true" "builder-secret"): that of the store in the cluster, or of the one outside that the component was told of */}}
{{- define "variant.storage_style" }}
{{- if (index . 0).Values.storageEndpoint }}
- DRYCC_STORAGE_PATH_STYLE: {secret: [{{ index . 2 }}, storage-path-style]}
{{- else }}
- DRYCC_STORAGE_PATH_STYLE: {{ index . 1 | quote }}
{{- end }}
{{- end }}

{{- define "variant.tenant" -}}multitenant{{- end }}
{{- define "variant.imagebuilder_policy" -}}drycc-imagebuilder{{- end }}

{{- define "variant.builder_key" }}
- DRYCC_CONTROLLER_URL: http://drycc-controller-api
{{- end }}
{{- define "variant.builder_wait" -}}["-u", "$(DRYCC_STORAGE_ENDPOINT),$(DRYCC_CONTROLLER_URL)"]{{- end }}
{{- define "variant.builder_mounts" -}}
- [/var/run/secrets/drycc/controller, secret, controller-creds, ro]
- [/etc/imagebuilder, config, imagebuilder-config, ro]
- [/var/run/secrets/drycc/builder/ssh, secret, builder-ssh-private-keys, ro]
{{- end }}

{{- define "variant.vmagent_wait" -}}
{{- include "drycc.wait" (dict "values" (index . 0).Values "name" "drycc-victoriametrics-vmagent-init"
    "args" (list "-u" (printf "http://drycc-controller-api,http://%s" (index . 1)))) }}
{{- end }}

{{- define "variant.database_storage" -}}
- RETAIN_BACKUPS_AGE: {{ .Values.cronjob.retainBackupsAge }}
{{- include "drycc.storage_env" (list . "database" "database-creds" "drycc-storage") }}
{{- include "variant.storage_style" (list . "true" "database-creds") }}
{{- end }}

{{- define "variant.backup" -}}
{{- if .Values.cronjob.enabled }}
---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: drycc-database-cronjob-backup
  labels:
    heritage: drycc
  annotations:
    component.drycc.cc/version: {{ .Values.imageTag }}
spec:
  schedule: {{ .Values.cronjob.scheduleCronJob | quote }}
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: OnFailure
          containers:
            - name: drycc-database-cronjob-backup
              {{- include "drycc.image" (list .Values "database") | nindent 14 }}
              command: [init-stack]
              args: [/usr/share/scripts/backup.sh]
              {{- include "drycc.env" (include "database.env" .) | nindent 14 }}
{{- end }}
{{- end }}

{{/* The NetworkPolicies of a component: (list . "valkey") */}}
{{- define "variant.policies" -}}
{{- $name := printf "drycc-%s" (index . 1) }}
{{- $from := ternary (list "drycc-controller" "drycc-victoriametrics") list (eq (index . 1) "victoriametrics") }}
---
{{ include "drycc.ingress_policy" (dict "at" (index . 0) "name" $name "select" (dict "app" $name) "from" $from) }}
{{- end }}
