{{/* What release 1.8 does in its own way. */}}

{{/*
How others in the namespace are called: (list . "drycc-storage"). Components without a default of their own for the domain render a broken name when it is
not set.
*/}}
{{- define "variant.host" -}}
{{- $at := index . 0 -}}
{{- printf "%s.%s.svc.%s" (index . 1) $at.Release.Namespace $at.Values.global.clusterDomain -}}
{{- end }}

{{- define "variant.storage_lookup" }}
- DRYCC_STORAGE_LOOKUP: path
{{- end }}
{{- define "variant.storage_style" -}}{{- end }}

{{- define "variant.tenant" -}}0{{- end }}
{{- define "variant.imagebuilder_policy" -}}imagebuilder-networkpolicy{{- end }}

{{- define "variant.builder_key" }}
- DRYCC_BUILDER_KEY: {secret: [builder-key-auth, builder-key]}
{{- end }}
{{- define "variant.builder_wait" -}}
["-u", "$(DRYCC_STORAGE_ENDPOINT)", "-a", "$(DRYCC_CONTROLLER_API_SERVICE_HOST):$(DRYCC_CONTROLLER_API_SERVICE_PORT)"]
{{- end }}
{{- define "variant.builder_mounts" -}}
- [/var/run/secrets/api/auth, secret, builder-key-auth, ro]
- [/var/run/secrets/drycc/builder/ssh, secret, builder-ssh-private-keys, ro]
- [/etc/imagebuilder, config, imagebuilder-config, ro]
{{- end }}

{{- define "variant.vmagent_wait" -}}
{{- include "drycc.wait" (dict "values" (index . 0).Values "name" "drycc-victoriametrics-vmstorage-init" "args" (list "-a" (index . 1))) }}
{{- end }}

{{- define "variant.database_storage" -}}{{- end }}
{{- define "variant.backup" -}}{{- end }}

{{/* Only metrics are guarded: (list . "valkey") */}}
{{- define "variant.policies" -}}
{{- if eq (index . 1) "victoriametrics" }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: drycc-victoriametrics-networkpolicy
spec:
  podSelector:
    matchLabels:
      app: drycc-victoriametrics
  policyTypes: [Ingress]
  ingress:
    - from:
        - namespaceSelector:
            matchLabels:
              kubernetes.io/metadata.name: {{ (index . 0).Release.Namespace }}
          podSelector: {}
{{- end }}
{{- end }}
