{{/* The name of every object: the release's, with the chart's if it is not in it. */}}
{{- define "mooring.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* What Pods are selected by; it never changes. */}}
{{- define "mooring.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of Pods. */}}
{{- define "mooring.podLabels" -}}
{{ include "mooring.selector" . }}
app.kubernetes.io/component: agent
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{/* Labels of everything else. */}}
{{- define "mooring.labels" -}}
{{ include "mooring.podLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* The heading of every object. */}}
{{- define "mooring.metadata" -}}
metadata:
  name: {{ include "mooring.name" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "mooring.labels" . | nindent 4 }}
{{- end }}

{{/* Each security profile has an image of its own. */}}
{{- define "mooring.tag" -}}
{{- $suffix := ternary "" "-file-capabilities" (eq .Values.securityProfile "root") -}}
{{- .Values.image.tag | default (print .Chart.AppVersion $suffix) -}}
{{- end }}
