{{- define "gateway.certificate" -}}
{{- if .Values.global.certManagerEnabled }}
---
apiVersion: cert-manager.io/v1
kind: Issuer
metadata:
  name: drycc-issuer
spec:
  acme:
    server: {{ .Values.acme.server }}
    email: {{ .Values.global.email }}
    privateKeySecretRef: {name: drycc-issuer}
    solvers:
      - http01:
          gatewayHTTPRoute:
            parentRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: drycc-gateway}]
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  name: drycc-auto-tls
spec:
  secretName: drycc-auto-tls
  issuerRef: {name: drycc-issuer, kind: Issuer}
  dnsNames:
    {{- range .Values.apps }}
    {{- if eq .protocol "HTTP" }}
    - {{ .subdomain }}.{{ $.Values.global.platformDomain }}
    {{- end }}
    {{- end }}
{{- end }}
{{- end }}
