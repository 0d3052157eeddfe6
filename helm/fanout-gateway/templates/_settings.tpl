{{- define "fanout-gateway.settings" -}}
{{- $settings := deepCopy .Values.settings }}
{{- $server := dict "host" .Values.listenAddress "port" 8080 "drain_seconds" .Values.drainSeconds }}
{{- if .Values.insecure }}
{{- $_ := set $server "insecure" true }}
{{- end }}
{{- $_ := set $settings "server" (merge $server ($settings.server | default dict)) }}
{{- if include "fanout-gateway.hasredis" . }}
{{- $_ := set $settings "redis" (merge (dict "url" "env:REDIS_URL") ($settings.redis | default dict)) }}
{{- end }}
{{- include "fanout-gateway.toml" $settings | trim }}
{{- end }}

{{- /* The empty text is false. */}}
{{- define "fanout-gateway.hasredis" -}}
{{- if or .Values.redis.bundled.enabled .Values.redis.urlSecret.name }}yes{{ end }}
{{- end }}

{{- define "fanout-gateway.authenticates" -}}
{{- $auth := .Values.settings.auth | default dict }}
{{- if has ($auth.mode | default "none") (list "required" "optional") }}yes{{ end }}
{{- end }}

{{- define "fanout-gateway.manynodes" -}}
{{- if ternary (gt (int .Values.autoscaling.maxReplicas) 1) (gt (int .Values.replicas) 1) .Values.autoscaling.enabled }}yes{{ end }}
{{- end }}

{{- define "fanout-gateway.scheme" -}}
{{- $server := .Values.settings.server | default dict }}
{{- $server.tls_certificate | empty | ternary "HTTP" "HTTPS" }}
{{- end }}

{{- /* The password stands before the URL, for Kubernetes expands only what it has already read. */}}
{{- define "fanout-gateway.redisenv" -}}
{{- with .Values.redis }}
{{- if .bundled.enabled }}
{{- $server := printf "%s:6379/0" (include "fanout-gateway.redisname" $) }}
{{- if .bundled.passwordSecret.name }}
- name: REDIS_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ .bundled.passwordSecret.name }}
      key: {{ .bundled.passwordSecret.key }}
- name: REDIS_URL
  value: redis://:$(REDIS_PASSWORD)@{{ $server }}
{{- else }}
- name: REDIS_URL
  value: redis://{{ $server }}
{{- end }}
{{- else if .urlSecret.name }}
- name: REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ .urlSecret.name }}
      key: {{ .urlSecret.key }}
{{- end }}
{{- end }}
{{- end }}
