{{/* What Hephy 2.23 does in its own way. */}}

{{- define "variant.registry" -}}{{- end }}

{{/* The newest to the oldest that it knows, the stable version last. */}}
{{- define "variant.rbac" -}}
{{- $api := "rbac.authorization.k8s.io" -}}
{{- $found := "" -}}
{{- range $version := list "v1" "v1alpha1" "v1beta1" -}}
{{- if $.Capabilities.APIVersions.Has (printf "%s/%s" $api $version) }}{{ $found = printf "%s/%s" $api $version }}{{ end -}}
{{- end -}}
{{- $found -}}
{{- end }}

{{- define "variant.apps" -}}extensions,apps{{- end }}
{{- define "variant.scale" -}}get,update,patch{{- end }}
{{- define "variant.controller_pods" -}}|pods|get,list,create,delete{{- end }}
{{- define "variant.builder_cluster" -}}["|namespaces|list", "|secrets|list,get"]{{- end }}

{{- define "variant.controller_env" -}}
- name: GUNICORN_WORKERS
  value: {{ .Values.global.gunicorn_workers | default "" | quote }}
- name: CONN_MAX_AGE
  value: {{ .Values.global.conn_max_age | default "" | quote }}
{{- end }}

{{- define "variant.workflow_manager_rights" -}}
{{- include "workflow.rights" (dict "at" . "name" "deis-workflow-manager" "cluster" (list
    "extensions,apps|deployments,daemonsets|get,list"
    "|namespaces,replicationcontrollers|get,list"
    "|secrets|get,list,create,delete,update")) }}
{{- end }}
