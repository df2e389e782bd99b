{{- define "registry.env" -}}
- REGISTRY_STORAGE_DELETE_ENABLED: "true"
- REGISTRY_LOG_LEVEL: info
- REGISTRY_HTTP_SECRET: {secret: [registry-secret, secret]}
- DRYCC_REGISTRY_REDIRECT: {secret: [registry-secret, redirect]}
- DRYCC_REGISTRY_USERNAME: {secret: [registry-secret, username]}
- DRYCC_REGISTRY_PASSWORD: {secret: [registry-secret, password]}
{{- include "variant.storage_lookup" . }}
{{- include "drycc.storage_env" (list . "registry" "registry-secret" (include "variant.host" (list . "drycc-storage"))) }}
{{- include "variant.storage_style" (list . "on" "registry-secret") }}
{{- end }}
