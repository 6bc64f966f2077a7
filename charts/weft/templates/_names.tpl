{{- define "weft.labels" -}}
{{ include "weft.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: weft
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "weft.selector" -}}
app.kubernetes.io/name: weft
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
