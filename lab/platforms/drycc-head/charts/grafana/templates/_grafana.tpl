{{- define "grafana.env" -}}
{{- $v := .Values -}}
{{- $scheme := include "drycc.scheme" . -}}
- POD_IP: {field: status.podIP}
- NAMESPACE: {field: metadata.namespace}
- DRYCC_VALKEY_PASSWORD: {secret: [valkey-creds, password]}
- DRYCC_VALKEY_URL: redis://:$(DRYCC_VALKEY_PASSWORD)@drycc-valkey:16379/2
- DRYCC_SERVICE_KEY: {secret: [controller-creds, service-key]}
- DRYCC_CONTROLLER_URL: http://drycc-controller-api
- DRYCC_QUICKWIT_URL: $(DRYCC_CONTROLLER_URL)/v2/quickwit/drycc
- DRYCC_VICTORIAMETRICS_URL: $(DRYCC_CONTROLLER_URL)/v2/prometheus/drycc
- DRYCC_PASSPORT_URL: {{ $v.passportUrl | default (printf "%s://drycc-passport.%s" $scheme $v.global.platformDomain) | quote }}
- DRYCC_PASSPORT_KEY: {secret: [passport-creds, drycc-passport-grafana-key]}
- DRYCC_PASSPORT_SECRET: {secret: [passport-creds, drycc-passport-grafana-secret]}
- GF_DATABASE_TYPE: postgres
{{- if $v.databaseUrl }}
- GF_DATABASE_URL: {{ $v.databaseUrl | quote }}
{{- else }}
- GF_DATABASE_USER: {secret: [database-creds, user]}
- GF_DATABASE_PASSWORD: {secret: [database-creds, password]}
- GF_DATABASE_URL: postgres://$(GF_DATABASE_USER):$(GF_DATABASE_PASSWORD)@drycc-database:5432/grafana
{{- end }}
- GF_SECURITY_ADMIN_USER: {secret: [grafana-creds, admin-username]}
- GF_SECURITY_ADMIN_PASSWORD: {secret: [grafana-creds, admin-password]}
- GF_SERVER_ROOT_URL: {{ printf "%s://drycc-grafana.%s" $scheme $v.global.platformDomain | quote }}
- GF_UNIFIED_ALERTING_HA_PEERS: drycc-grafana:9094
- GF_UNIFIED_ALERTING_HA_ADVERTISE_ADDRESS: $(POD_IP):9094
{{- range $name, $value := $v.environment }}
- {{ $name }}: {{ $value | toString | quote }}
{{- end }}
{{- end }}
