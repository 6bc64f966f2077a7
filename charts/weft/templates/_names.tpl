{{- define "weft.revision" -}}
{{ .Values.revision | default "default" }}
{{- end }}

{{- /* What labels call this control plane: its revision and its tags, as JSON. */}}
{{- define "weft.names" -}}
{{ prepend .Values.revisionTags (include "weft.revision" .) | uniq | toJson }}
{{- end }}

{{- define "weft.suffix" -}}
{{ if ne (include "weft.revision" .) "default" }}-{{ .Values.revision }}{{ end }}
{{- end }}

{{- /* What the objects of a release are called, so that two revisions stand side by side. */}}
{{- define "weft.fullname" -}}
weft{{ include "weft.suffix" . }}
{{- end }}

{{- define "weft.injector" -}}
weft-injector{{ include "weft.suffix" . }}
{{- end }}

{{- define "weft.validator" -}}
weft-validator{{ include "weft.suffix" . }}
{{- end }}

{{- /* A label selector as `weft serve` and kubectl take it. */}}
{{- define "weft.selectorText" -}}
{{- $parts := list }}
{{- range $key, $value := .matchLabels }}{{ $parts = append $parts (printf "%s=%s" $key $value) }}{{ end }}
{{- range .matchExpressions }}
{{- if eq .operator "Exists" }}{{ $parts = append $parts .key }}
{{- else if eq .operator "DoesNotExist" }}{{ $parts = append $parts (printf "!%s" .key) }}
{{- else }}{{ $parts = append $parts (printf "%s %s (%s)" .key (lower .operator) (join "," .values)) }}{{ end }}
{{- end }}
{{- join "," $parts }}
{{- end }}

{{- /* The Leases of each name of this revision, and that of the state, which revisions share. */}}
{{- define "weft.leases" -}}
{{- range include "weft.names" . | fromJsonArray }}
- weft-leader{{ if ne . "default" }}-{{ . }}{{ end }}
{{- end }}
- weft-state
{{- end }}

{{- define "weft.labels" -}}
{{ include "weft.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: weft
weft.dev/rev: {{ include "weft.revision" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "weft.selector" -}}
app.kubernetes.io/name: {{ include "weft.fullname" . }}
app.kubernetes.io/component: control-plane
{{- end }}

{{- define "weft.image" -}}
{{ required "image.repository is missing: no image is published; name the one that you have built" .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "weft.sidecarImage" -}}
{{- if .Values.injection.image }}{{ .Values.injection.image }}{{ else }}{{ .Values.image.repository }}-proxy:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "weft.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "weft.unprivileged" -}}
runAsNonRoot: true
runAsUser: 1337
runAsGroup: 1337
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "weft.namespacedKinds" -}}
- credentialpolicies
- csrfpolicies
- ejectionpolicies
- fallbackpolicies
- healthcheckpolicies
- oidcpolicies
- overloadpolicies
- ratelimitpolicies
{{- end }}

{{- define "weft.groups" -}}
- gateway.networking.k8s.io
- gateway.networking.x-k8s.io
- networking.istio.io
- security.istio.io
- telemetry.istio.io
- weft.dev
{{- end }}

{{- define "weft.cniSelector" -}}
app.kubernetes.io/name: weft-cni
app.kubernetes.io/component: cni
{{- end }}

{{- define "weft.cniLabels" -}}
{{ include "weft.cniSelector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: weft
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "weft.cniImage" -}}
{{- if .Values.cni.image }}{{ .Values.cni.image }}{{ else }}{{ .Values.image.repository }}-cni:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}
