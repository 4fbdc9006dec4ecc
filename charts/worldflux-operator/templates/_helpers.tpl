{{/*
Names are fixed and not derived from the release: the operator acts on the whole cluster, so a second installation must
collide instead of fighting with the first over every run.
*/}}
{{- define "worldflux-operator.name" -}}
worldflux-operator
{{- end }}

{{- define "worldflux-operator.selectorLabels" -}}
app.kubernetes.io/name: worldflux-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "worldflux-operator.labels" -}}
{{ include "worldflux-operator.selectorLabels" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: worldflux
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "worldflux-operator.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "worldflux-operator.claim" -}}
{{ .Values.store.files.existingClaim | default "worldflux-operator-store" }}
{{- end }}

{{/* The Secret that cert-manager writes; another one than the operator's own, which holds the key of an authority. */}}
{{- define "worldflux-operator.certificate" -}}
worldflux-operator-certificate
{{- end }}

{{/* What no values schema can say: rules between two values. */}}
{{- define "worldflux-operator.check" -}}
{{- if and (eq .Values.store.kind "files") (gt (int .Values.replicas) 1) -}}
{{- fail "replicas: more than one needs store.kind s3, because two operators cannot write one volume of files" -}}
{{- end -}}
{{- if and (eq .Values.store.kind "s3") (not .Values.store.s3.bucket) -}}
{{- fail "store.s3.bucket: store.kind s3 needs the name of a bucket" -}}
{{- end -}}
{{- if and .Values.settings.otlpHeadersSecret (not .Values.settings.otlpEndpoint) -}}
{{- fail "settings.otlpHeadersSecret: headers need settings.otlpEndpoint, to which they are sent" -}}
{{- end -}}
{{- if and .Values.certManager.enabled (not .Values.certManager.issuerRef.name) -}}
{{- fail "certManager.issuerRef.name: certManager.enabled needs the name of an issuer" -}}
{{- end -}}
{{- end }}
