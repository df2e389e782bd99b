{{/* What both shapes of passport have in common. */}}

{{- define "passport.replica" -}}{{ include "variant.host" (list . "drycc-database-replica") }}{{- end }}

{{- define "passport.env" -}}
{{- $v := .Values -}}
- VERSION: "1"
- ADMIN_USERNAME: {{ $v.adminUsername | quote }}
- ADMIN_PASSWORD: {{ $v.adminPassword | quote }}
- ADMIN_EMAIL: {{ $v.adminEmail | quote }}
- PLATFORM_DOMAIN: {{ $v.global.platformDomain | quote }}
- CERT_MANAGER_ENABLED: {{ $v.global.certManagerEnabled | toString | quote }}
{{- if $v.valkeyUrl }}
- DRYCC_VALKEY_URL: {secret: [passport-creds, valkey-url]}
{{- else }}
- VALKEY_PASSWORD: {secret: [valkey-creds, password]}
- DRYCC_VALKEY_URL: redis://:$(VALKEY_PASSWORD)@{{ include "variant.host" (list . "drycc-valkey") }}:16379/1
{{- end }}
{{- if $v.databaseUrl }}
- DRYCC_DATABASE_URL: {secret: [passport-creds, database-url]}
{{- if $v.databaseReplicaUrl }}
- DRYCC_DATABASE_REPLICA_URL: {secret: [passport-creds, database-replica-url]}
{{- end }}
{{- else }}
- DRYCC_DATABASE_USER: {secret: [database-creds, user]}
- DRYCC_DATABASE_PASSWORD: {secret: [database-creds, password]}
- DRYCC_DATABASE_URL: postgres://$(DRYCC_DATABASE_USER):$(DRYCC_DATABASE_PASSWORD)@{{ include "variant.host" (list . "drycc-database") }}:5432/passport
- DRYCC_DATABASE_REPLICA_URL: postgres://$(DRYCC_DATABASE_USER):$(DRYCC_DATABASE_PASSWORD)@{{ include "passport.replica" . }}:5432/passport
{{- end }}
{{- range $name, $value := $v.environment }}
- {{ $name }}: {{ $value | toString | quote }}
{{- end }}
{{- end }}

{{- define "passport.data" -}}
{{- $v := .Values -}}
django-secret-key: {{ include "drycc.kept" (list . "passport-creds" "django-secret-key" (randAlphaNum 64)) }}
oidc-rsa-private-key: {{ genPrivateKey "rsa" | b64enc }}
{{- range $key, $value := dict "database-url" $v.databaseUrl "database-replica-url" $v.databaseReplicaUrl "valkey-url" $v.valkeyUrl }}
{{- if $value }}
{{ $key }}: {{ b64enc $value }}
{{- end }}
{{- end }}
{{- end }}

{{- define "passport.upgrade_job" -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: drycc-passport-job-upgrade
  annotations:
    component.drycc.cc/version: {{ .at.Values.imageTag }}
    helm.sh/hook: post-install,post-upgrade,post-rollback
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
spec:
  template:
    spec:
      restartPolicy: OnFailure
      initContainers:
        {{- include "drycc.wait" (dict "values" .at.Values "name" "drycc-passport-init" "env" .env
            "args" (list "-u" "$(DRYCC_DATABASE_URL),$(DRYCC_DATABASE_REPLICA_URL)")) | nindent 8 }}
      containers:
        - name: drycc-passport-job-upgrade
          {{- include "drycc.image" (list .at.Values "passport") | nindent 10 }}
          args:
            - /usr/bin/env
            - bash
            - -ec
            - |
              python -u /workspace/manage.py migrate --noinput
              if [ "${ADMIN_USERNAME}" ] && [ "${ADMIN_PASSWORD}" ]; then python -u /workspace/manage.py createadminuser --noinput; fi
          {{- include "drycc.env" .env | nindent 10 }}
          {{- include "drycc.mounts" .mounts | nindent 10 }}
      {{- include "drycc.volumes" .mounts | nindent 6 }}
{{- end }}
