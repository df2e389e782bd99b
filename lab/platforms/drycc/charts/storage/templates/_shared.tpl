{{- define "storage.data" -}}
{{- include "drycc.resources" .Values }}
volumeMounts:
  {{- range $drive := until (int .Values.drivesPerNode) }}
  - name: storage-data-{{ $drive }}
    mountPath: /data/{{ $drive }}
  {{- end }}
{{- end }}

{{/* At the level of the StatefulSet's spec: volumes below the pod, or claims. */}}
{{- define "storage.volumes" -}}
{{- if .Values.persistence.enabled }}
volumeClaimTemplates:
  {{- range $drive := until (int .Values.drivesPerNode) }}
  - metadata:
      name: storage-data-{{ $drive }}
    spec:
      accessModes: [ReadWriteOnce]
      {{- with $.Values.persistence.storageClass }}
      storageClassName: {{ . }}
      {{- end }}
      resources:
        requests:
          storage: {{ $.Values.persistence.size }}
  {{- end }}
{{- else }}
    volumes:
      {{- range $drive := until (int .Values.drivesPerNode) }}
      - name: storage-data-{{ $drive }}
        emptyDir: {}
      {{- end }}
{{- end }}
{{- end }}

{{- define "storage.secret" -}}
{{- $v := .Values }}
{{- include "drycc.secret" (dict "name" "storage-creds" "data" (dict
    "accesskey" (include "drycc.kept" (list . "storage-creds" "accesskey" ($v.accesskey | default (randAlphaNum 20))))
    "secretkey" (include "drycc.kept" (list . "storage-creds" "secretkey" ($v.secretkey | default (randAlphaNum 40)))))) }}
{{- end }}
