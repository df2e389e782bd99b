{{- define "controller.env" -}}
{{- $v := .Values }}
- VERSION: "1"
- REGISTRATION_MODE: {{ $v.registrationMode | quote }}
- K8S_API_VERIFY_TLS: {{ $v.k8sApiVerifyTls | quote }}
- DRYCC_REGISTRY_LOCATION: {{ ternary "on-cluster" "off-cluster" $v.registry.enabled }}
- DRYCC_REGISTRY_SECRET_PREFIX: {{ $v.registrySecretPrefix }}
- IMAGE_PULL_POLICY: {{ $v.appImagePullPolicy }}
- DRYCC_FILER_IMAGE: {{ $v.filerImage }}
- DRYCC_FILER_IMAGE_PULL_POLICY: {{ $v.filerImagePullPolicy }}
- KUBERNETES_CLUSTER_DOMAIN: {{ $v.global.clusterDomain }}
- DRYCC_APP_GATEWAY_CLASS: {{ $v.appGatewayClass | quote }}
- DRYCC_APP_STORAGE_CLASS: {{ $v.appStorageClass | quote }}
- DRYCC_APP_POD_EXEC_TIMEOUT: {{ $v.appPodExecTimeout | quote }}
- TZ: {{ $v.timezone | quote }}
- DJANGO_SETTINGS_MODULE: api.settings.production
{{- with $v.deployHookUrls }}
- DRYCC_DEPLOY_HOOK_URLS: {{ . | quote }}
- DRYCC_DEPLOY_HOOK_SECRET_KEY: {secret: [controller-creds, deploy-hook-secret-key]}
{{- end }}
- DRYCC_SECRET_KEY: {secret: [controller-creds, django-secret-key]}
- DRYCC_BUILDER_KEY: {secret: [builder-key-auth, builder-key]}
{{- if $v.valkeyUrl }}
- DRYCC_VALKEY_URL: {secret: [controller-creds, valkey-url]}
{{- else }}
- VALKEY_PASSWORD: {secret: [valkey-creds, password]}
- DRYCC_VALKEY_URL: redis://:$(VALKEY_PASSWORD)@{{ include "variant.host" (list . "drycc-valkey") }}:16379/0
{{- end }}
{{- if $v.databaseUrl }}
- DRYCC_DATABASE_URL: {secret: [controller-creds, database-url]}
{{- with $v.databaseReplicaUrl }}
- DRYCC_DATABASE_REPLICA_URL: {secret: [controller-creds, database-replica-url]}
{{- end }}
{{- else }}
- DRYCC_PG_USER: {secret: [database-creds, user]}
- DRYCC_PG_PASSWORD: {secret: [database-creds, password]}
- DRYCC_DATABASE_URL: postgres://$(DRYCC_PG_USER):$(DRYCC_PG_PASSWORD)@{{ include "variant.host" (list . "drycc-database") }}:5432/controller
- DRYCC_DATABASE_REPLICA_URL: postgres://$(DRYCC_PG_USER):$(DRYCC_PG_PASSWORD)@{{ include "variant.host" (list . "drycc-database-replica") }}:5432/controller
{{- end }}
- WORKFLOW_NAMESPACE: {field: metadata.namespace}
- DRYCC_PROMETHEUS_URL: {{ $v.prometheusUrl | default (printf "http://%s:8481/select/0/prometheus" (include "variant.host" (list .
    "drycc-victoriametrics-vmselect"))) | quote }}
- DRYCC_PASSPORT_URL: {{ $v.passportUrl | default (printf "%s://drycc-passport.%s" (include "drycc.scheme" .) .Values.global.platformDomain) | quote }}
- DRYCC_PASSPORT_KEY: {secret: [passport-creds, drycc-passport-controller-key]}
- DRYCC_PASSPORT_SECRET: {secret: [passport-creds, drycc-passport-controller-secret]}
{{- range $name, $value := $v.environment }}
- {{ $name }}: {{ $value | toString | quote }}
{{- end }}
{{- end }}

{{- define "controller.ends" -}}$(DRYCC_DATABASE_URL),$(DRYCC_VALKEY_URL),$(DRYCC_DATABASE_REPLICA_URL){{- end }}
{{- define "controller.self" -}}$(DRYCC_CONTROLLER_API_SERVICE_HOST):$(DRYCC_CONTROLLER_API_SERVICE_PORT){{- end }}
