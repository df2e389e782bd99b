{{- define "builder.env" -}}
- HEALTH_SERVER_PORT: "8092"
- EXTERNAL_PORT: "2223"
- TTL_SECONDS_AFTER_FINISHED: {{ .Values.global.ttlSecondsAfterFinished | default "" | quote }}
- GIT_LOCK_TIMEOUT: "30"
- IMAGEBUILDER_IMAGE_PULL_POLICY: {config: [imagebuilder-config, imagePullPolicy]}
- DRYCC_DEBUG: "false"
- POD_NAMESPACE: {field: metadata.namespace}
{{- include "variant.builder_key" . }}
{{- include "variant.storage_lookup" . }}
{{- include "drycc.storage_env" (list . "builder" "builder-secret" (include "variant.host" (list . "drycc-storage"))) }}
{{- include "variant.storage_style" (list . "true" "builder-secret") }}
- DRYCC_REGISTRY_LOCATION: {{ ternary "on-cluster" "off-cluster" .Values.registry.enabled }}
{{- if .Values.registry.enabled }}
- DRYCC_REGISTRY_HOST: {{ printf "%s:5000" (include "variant.host" (list . "drycc-registry")) | quote }}
- DRYCC_REGISTRY_PROXY_HOST: {{ printf "127.0.0.1:%v" .Values.registry.proxy.port | quote }}
- DRYCC_REGISTRY_USERNAME: {secret: [registry-secret, username]}
- DRYCC_REGISTRY_PASSWORD: {secret: [registry-secret, password]}
{{- else }}
{{- range list "host" "username" "password" "organization" }}
- DRYCC_REGISTRY_{{ upper . }}: {secret: [builder-secret, registry-{{ . }}]}
{{- end }}
{{- end }}
{{- end }}
