{{/* What Deis 2.18 does in its own way. */}}

{{- define "variant.registry" -}}quay.io/{{- end }}

{{/* The minor version is compared as a string, so that 1.10 and later come out as "older than 6": no rights are rendered there. */}}
{{- define "variant.rbac" -}}
{{- $minor := regexFind "^[0-9]+" .Capabilities.KubeVersion.Minor -}}
{{- $version := "rbac.authorization.k8s.io/v1alpha1" -}}
{{- if eq (index (list $minor "6" | sortAlpha) 0) "6" }}{{ $version = "rbac.authorization.k8s.io/v1beta1" }}{{ end -}}
{{- if .Capabilities.APIVersions.Has $version }}{{ $version }}{{ end -}}
{{- end }}

{{- define "variant.apps" -}}extensions{{- end }}
{{- define "variant.scale" -}}get,update{{- end }}
{{- define "variant.controller_pods" -}}|pods|get,list,delete{{- end }}
{{- define "variant.builder_cluster" -}}["|namespaces|list"]{{- end }}
{{- define "variant.controller_env" -}}{{- end }}
{{- define "variant.workflow_manager_rights" -}}{{- end }}
