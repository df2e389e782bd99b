{{- define "database.env" -}}
{{- include "variant.database_storage" . }}
- PGCTLTIMEOUT: {{ .Values.timeout | quote }}
- PATRONI_KUBERNETES_POD_IP: {field: status.podIP}
- PATRONI_KUBERNETES_NAMESPACE: {field: metadata.namespace}
- PATRONI_KUBERNETES_BYPASS_API_SERVICE: "true"
- PATRONI_KUBERNETES_USE_ENDPOINTS: "true"
- PATRONI_KUBERNETES_LABELS: "{app: drycc-database, cluster-name: drycc-database}"
- PATRONI_SCOPE: drycc-database
- PATRONI_NAME: {field: metadata.name}
- PATRONI_POSTGRESQL_PGPASS: /tmp/pgpass
- PATRONI_POSTGRESQL_LISTEN: "0.0.0.0:5432"
- PATRONI_RESTAPI_LISTEN: "0.0.0.0:8008"
- DRYCC_DATABASE_INIT_NAMES: {{ .Values.initDatabases }}
- DRYCC_DATABASE_EXTENSIONS: {{ .Values.databaseExtensions | quote }}
- DRYCC_DATABASE_SUPERUSER: {secret: [database-creds, superuser]}
- DRYCC_DATABASE_SUPERUSER_PASSWORD: {secret: [database-creds, superuser-password]}
- DRYCC_DATABASE_REPLICATOR: {secret: [database-creds, replicator]}
- DRYCC_DATABASE_REPLICATOR_PASSWORD: {secret: [database-creds, replicator-password]}
- DRYCC_DATABASE_USER: {secret: [database-creds, user]}
- DRYCC_DATABASE_PASSWORD: {secret: [database-creds, password]}
{{- end }}
