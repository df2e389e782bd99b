{{- define "nsqd.ports" -}}
[{{ printf "http %v http" .Values.http_port | quote }}, {{ printf "transport %v transport" .Values.tcp_port | quote }}]
{{- end }}

{{- define "nsqd.container" -}}
- name: deis-nsqd
  {{- include "workflow.image" (dict "values" .Values "image" "nsq") | nindent 2 }}
  command: [/opt/nsq/bin/start-nsqd]
  env:
    {{- include "workflow.namespace_env" "POD_NAMESPACE" | nindent 4 }}
  ports:
    - containerPort: {{ .Values.http_port }}
      name: http
    - containerPort: {{ .Values.tcp_port }}
      name: transport
  {{- include "workflow.probes" (dict "at" . "port" .Values.http_port "ready" "/ping" "delay" 5) | nindent 2 }}
{{- end }}
