{{- define "grafana.env" -}}
{{- $v := .Values -}}
{{- $scheme := include "drycc.scheme" . -}}
- NAMESPACE: {field: metadata.namespace}
- GF_DATABASE_TYPE: postgres
{{- if $v.databaseUrl }}
- GF_DATABASE_URL: {{ $v.databaseUrl | quote }}
{{- else }}
- GF_DATABASE_USER: {secret: [database-creds, user]}
- GF_DATABASE_PASSWORD: {secret: [database-creds, password]}
- GF_DATABASE_URL: postgres://$(GF_DATABASE_USER):$(GF_DATABASE_PASSWORD)@{{ include "variant.host" (list . "drycc-database") }}:5432/grafana
{{- end }}
- PROMETHEUS_URL: {{ $v.prometheusUrl | default (printf "http://%s:8481/select/0/prometheus" (include "variant.host" (list .
    "drycc-victoriametrics-vmselect"))) | quote }}
- BIND_PORT: "3000"
- DEFAULT_USER: {{ $v.environment.DEFAULT_USER | default (randAlphaNum 32) }}
- DEFAULT_USER_PASSWORD: {{ $v.environment.DEFAULT_USER_PASSWORD | default (randAlphaNum 32) }}
- KUBERNETES_CLUSTER_DOMAIN: {{ $v.global.clusterDomain }}
{{- range $name, $value := omit $v.environment "DEFAULT_USER" "DEFAULT_USER_PASSWORD" }}
- {{ $name }}: {{ $value | toString | quote }}
{{- end }}
- DRYCC_GRAFANA_URL: {{ printf "%s://drycc-grafana.%s" $scheme $v.global.platformDomain | quote }}
- DRYCC_PASSPORT_URL: {{ $v.passportUrl | default (printf "%s://drycc-passport.%s" $scheme $v.global.platformDomain) | quote }}
- DRYCC_PASSPORT_KEY: {secret: [passport-creds, drycc-passport-grafana-key]}
- DRYCC_PASSPORT_SECRET: {secret: [passport-creds, drycc-passport-grafana-secret]}
{{- range list "valkey" "storage" "database" "passport" "registry" "prometheus" }}
- {{ upper . }}_LOCATION: {{ ternary "on-cluster" "off-cluster" (index $v .).enabled }}
{{- end }}
{{- end }}
