{{- /* The pod's address, which Kubernetes would send as Host, is none of the names that a gateway must know. */}}
{{- define "fanout-gateway.probe" -}}
httpGet:
  path: {{ .path }}
  port: http
  scheme: {{ .scheme }}
  httpHeaders:
    - name: Host
      value: localhost
{{- end }}
