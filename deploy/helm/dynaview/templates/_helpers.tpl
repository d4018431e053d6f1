{{- define "dynaview.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "dynaview.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "dynaview.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "dynaview.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "dynaview.selector" -}}
app.kubernetes.io/name: {{ include "dynaview.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "dynaview.labels" -}}
{{ include "dynaview.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "dynaview.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "dynaview.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "dynaview.configMap" -}}
{{- default (include "dynaview.fullname" .) .Values.existingConfigMap -}}
{{- end -}}

{{- define "dynaview.claim" -}}
{{- default (include "dynaview.fullname" .) .Values.persistence.existingClaim -}}
{{- end -}}
