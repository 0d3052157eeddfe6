{{- /* TOML of a map of sections. Helm's own toToml writes whole numbers as floats, 1048576 as 1.048576e+06. */}}
{{- define "fanout-gateway.toml" -}}
{{- range $name, $section := . }}
{{- if kindIs "slice" $section }}
{{- range $section }}
[[{{ $name }}]]
{{- range $key, $value := . }}
{{- if not (kindIs "invalid" $value) }}
{{ include "fanout-gateway.toml.key" $key }} = {{ include "fanout-gateway.toml.value" $value }}
{{- end }}
{{- end }}
{{ end }}
{{- else if not (kindIs "invalid" $section) }}
{{- include "fanout-gateway.toml.table" (dict "path" $name "table" $section) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Tables come after their parent's other keys, for what follows a header belongs to it. */}}
{{- define "fanout-gateway.toml.table" }}
[{{ .path }}]
{{- range $key, $value := .table }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ include "fanout-gateway.toml.key" $key }} = {{ include "fanout-gateway.toml.value" $value }}
{{- end }}
{{- end }}
{{ $path := .path }}
{{- range $key, $value := .table }}
{{- if kindIs "map" $value }}
{{- $inner := printf "%s.%s" $path (include "fanout-gateway.toml.key" $key) }}
{{- include "fanout-gateway.toml.table" (dict "path" $inner "table" $value) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "fanout-gateway.toml.key" -}}
{{- regexMatch "^[A-Za-z0-9_-]+$" . | ternary . (toRawJson .) }}
{{- end }}

{{- /* JSON's numbers, booleans and strings are TOML's; its objects are not. */}}
{{- define "fanout-gateway.toml.value" -}}
{{- if kindIs "map" . -}}
{{- $parts := list }}
{{- range $key, $value := . }}
{{- if not (kindIs "invalid" $value) }}
{{- $parts = append $parts (printf "%s = %s" (include "fanout-gateway.toml.key" $key) (include "fanout-gateway.toml.value" $value)) }}
{{- end }}
{{- end -}}
{ {{ join ", " $parts }} }
{{- else if kindIs "slice" . -}}
{{- $parts := list }}
{{- range . }}
{{- $parts = append $parts (include "fanout-gateway.toml.value" .) }}
{{- end -}}
[{{ join ", " $parts }}]
{{- else -}}
{{ toRawJson . }}
{{- end }}
{{- end }}
