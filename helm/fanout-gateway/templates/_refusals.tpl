{{- /* What would install and then not work, or not be safe: all of it at once, each with the way out. */}}
{{- define "fanout-gateway.refusals" -}}
{{- $problems := list }}
{{- $redis := include "fanout-gateway.hasredis" . }}
{{- $authenticates := include "fanout-gateway.authenticates" . }}
{{- if not (or $authenticates .Values.insecure) }}
{{- $problems = append $problems "pods listen beyond loopback, where anyone could publish and subscribe: set settings.auth.mode to \"required\" or \"optional\" and say there which credentials count, or set insecure=true if everyone who reaches the service may do both" }}
{{- end }}
{{- if and (include "fanout-gateway.manynodes" .) (not $redis) }}
{{- $problems = append $problems "several nodes without Redis would not hear one another's messages: name the Secret with its URL in redis.urlSecret.name, or set redis.bundled.enabled=true, or replicas=1 with autoscaling off" }}
{{- end }}
{{- if and .Values.redis.bundled.enabled .Values.redis.urlSecret.name }}
{{- $problems = append $problems "redis.urlSecret.name and redis.bundled.enabled exclude each other: a gateway has one Redis" }}
{{- end }}
{{- if and $redis .Values.data.existingClaim }}
{{- $problems = append $problems "data.existingClaim is for one node without Redis: with Redis there is nothing to keep in a node" }}
{{- end }}
{{- range list "host" "port" "workers" "insecure" "drain_seconds" }}
{{- if hasKey ($.Values.settings.server | default dict) . }}
{{- $problems = append $problems (printf "settings.server.%s is the chart's to set: see listenAddress, service.port, replicas, insecure and drainSeconds" .) }}
{{- end }}
{{- end }}
{{- if hasKey (.Values.settings.redis | default dict) "url" }}
{{- $problems = append $problems "settings.redis.url is the chart's to set: see redis.urlSecret and redis.bundled" }}
{{- end }}
{{- with .Values.autoscaling }}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) }}
{{- $problems = append $problems (printf "autoscaling.minReplicas (%d) is more than maxReplicas (%d)" (int .minReplicas) (int .maxReplicas)) }}
{{- end }}
{{- if and .enabled (not ($.Values.resources.requests | default dict).cpu) }}
{{- $problems = append $problems "autoscaling counts in per cent of resources.requests.cpu: set it" }}
{{- end }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
{{- $problems = append $problems "ingress.enabled needs a name in ingress.hosts" }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled $authenticates (not .Values.serviceMonitor.tokenSecret.name) }}
{{- $problems = append $problems "with authentication /metrics needs a token with the grant admin: name its Secret in serviceMonitor.tokenSecret.name" }}
{{- end }}
{{- if $problems }}
{{- fail (printf "\n- %s\n" (join "\n- " $problems)) }}
{{- end }}
{{- end }}
