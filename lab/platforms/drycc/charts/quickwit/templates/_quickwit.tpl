{{- define "quickwit.env" -}}
- NAMESPACE: {field: metadata.namespace}
- POD_NAME: {field: metadata.name}
- POD_IP: {field: status.podIP}
{{- if .Values.databaseUrl }}
- DRYCC_DATABASE_URL: {secret: [quickwit-creds, database-url]}
{{- else }}
- DRYCC_PG_USER: {secret: [database-creds, user]}
- DRYCC_PG_PASSWORD: {secret: [database-creds, password]}
- DRYCC_DATABASE_URL: postgres://$(DRYCC_PG_USER):$(DRYCC_PG_PASSWORD)@drycc-database:5432/quickwit
{{- end }}
{{- include "drycc.storage_env" (list . "quickwit" "quickwit-creds" "drycc-storage") }}
{{- if .Values.storageEndpoint }}
- DRYCC_STORAGE_PATH_STYLE: {secret: [quickwit-creds, storage-path-style]}
{{- else }}
- DRYCC_STORAGE_PATH_STYLE: "true"
{{- end }}
- QW_CLUSTER_ID: drycc-quickwit
- QW_NODE_ID: $(POD_NAME)
- QW_PEER_SEEDS: drycc-quickwit
- QW_ADVERTISE_ADDRESS: $(POD_IP)
- QW_CLUSTER_ENDPOINT: http://drycc-quickwit-metastore:7280
{{- end }}
