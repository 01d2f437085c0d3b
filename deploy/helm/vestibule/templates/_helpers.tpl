{{- /*
What other templates are made of, and other charts: one that has this chart as a dependency, in mode `sidecar` without
containers, adds "vestibule.sidecar" and "vestibule.volumes" to a Deployment of its own, as README.md shows.
*/}}

{{- define "vestibule.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* Short enough for what is added to it. */}}
{{- define "vestibule.fullname" -}}
{{- $name := include "vestibule.name" . }}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- default $full .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "vestibule.selector" -}}
app.kubernetes.io/name: {{ include "vestibule.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "vestibule.podLabels" -}}
{{ include "vestibule.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "vestibule.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "vestibule.podLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "vestibule.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}
{{- else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end }}
{{- end }}
{{- end }}

{{- define "vestibule.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "vestibule.fullname" .) "") }}
{{- end }}

{{- define "vestibule.rulesConfigMap" -}}
{{- .Values.rules.existingConfigMap | default (printf "%s-rules" (include "vestibule.fullname" .)) }}
{{- end }}

{{- /* Whether there are containers of a storefront here, or a Deployment of its own. */}}
{{- define "vestibule.hasPods" -}}
{{- if or (eq .Values.mode "standalone") .Values.storefront.containers }}true{{ end }}
{{- end }}

{{- define "vestibule.replicas" -}}
{{- eq .Values.mode "standalone" | ternary .Values.replicas .Values.storefront.replicas }}
{{- end }}

{{- /* What the schema of the values cannot say. */}}
{{- define "vestibule.validate" -}}
{{- $store := .Values.settings.store | default "" }}
{{- if regexMatch "://[^/]*:[^/]*@" $store }}
{{- fail "settings.store: its password would stand in a ConfigMap. Put the whole address into the Secret, and the key that it has there into secrets.storeKey" }}
{{- end }}
{{- $one := and (not .Values.autoscaling.enabled) (eq (int (include "vestibule.replicas" .)) 1) }}
{{- $shared := or .Values.secrets.storeKey (regexMatch "^rediss?(\\+cluster)?://" $store) }}
{{- if and (include "vestibule.hasPods" .) (not $one) (not $shared) (not .Values.unsharedStore) }}
{{- fail "settings.store: several pods would each count by themselves, so that a lock-out held in one of them alone. Give redis://host:port, or say unsharedStore=true if no rule stores anything" }}
{{- end }}
{{- if and .Values.autoscaling.enabled (lt (int .Values.autoscaling.maxReplicas) (int .Values.autoscaling.minReplicas)) }}
{{- fail "autoscaling.maxReplicas: this must be at least autoscaling.minReplicas" }}
{{- end }}
{{- if and .Values.settings.serve (not .Values.extraPorts) (eq .Values.mode "standalone") }}
{{- fail "extraPorts: settings.serve has adapters, and nobody could reach them. Give each its port: extraPorts: [{name: ext-proc, port: 9001}]" }}
{{- end }}
{{- if and .Values.rules.files .Values.rules.existingConfigMap }}
{{- fail "rules: give either files or existingConfigMap" }}
{{- end }}
{{- if not (or .Values.rules.files .Values.rules.existingConfigMap) }}
{{- fail "rules: there are none. Give --set-file rules.files.login\\.yaml=login.yaml, or rules.existingConfigMap" }}
{{- end }}
{{- if and .Values.drain.preStopSleepSeconds (semverCompare "<1.30.0-0" .Capabilities.KubeVersion.Version) }}
{{- fail "drain.preStopSleepSeconds: Kubernetes has this from 1.30 on; drain.delaySeconds does the same" }}
{{- end }}
{{- end }}

{{- /* vestibule.yaml: what the values say, and what the chart decides. */}}
{{- define "vestibule.settings" -}}
{{- include "vestibule.validate" . }}
{{- $settings := deepCopy .Values.settings }}
{{- $sidecar := eq .Values.mode "sidecar" }}
{{- $_ := set $settings "listen" ($sidecar | ternary (printf "127.0.0.1:%v" .Values.sidecar.port) "0.0.0.0:8080") }}
{{- /* A pod that leaves its Service when the upstream is down could not even say so. */}}
{{- $_ := set $settings "admin" (dict "listen" "0.0.0.0:9090" "token" .Values.secrets.adminTokenKey "ready" "workers") }}
{{- $_ := set $settings "rules" "/etc/vestibule/rules" }}
{{- $_ := set $settings "secrets" "/etc/vestibule/secrets" }}
{{- $_ := set $settings "drain_delay" (printf "%vs" ($sidecar | ternary 0 .Values.drain.delaySeconds)) }}
{{- $_ := set $settings "drain" (printf "%vs" .Values.drain.waitSeconds) }}
{{- if .Values.tls.existingSecret }}
{{- $_ := set $settings "tls" (dict "cert" "/etc/vestibule/tls/tls.crt" "key" "/etc/vestibule/tls/tls.key") }}
{{- end }}
{{- toYaml $settings }}
{{- end }}

{{- /* Settings are read at the start, so that other ones are another pod. */}}
{{- define "vestibule.checksum" -}}
checksum/settings: {{ include "vestibule.settings" . | sha256sum }}
{{- end }}

{{- /* How long a stop may take, and some more for what did not end. A sidecar is told to stop after the storefront has. */}}
{{- define "vestibule.grace" -}}
{{- with .Values.drain }}
{{- $before := eq $.Values.mode "sidecar" | ternary $.Values.storefront.graceSeconds (add .preStopSleepSeconds .delaySeconds) }}
{{- add $before .waitSeconds 10 }}
{{- end }}
{{- end }}

{{- define "vestibule.probe" -}}
httpGet:
  path: {{ . }}
  port: admin
timeoutSeconds: 2
{{- end }}

{{- /* The container, without what tells one mode from the other. */}}
{{- define "vestibule.container" -}}
name: vestibule
image: {{ include "vestibule.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [run, --watch, --config, /etc/vestibule/settings/vestibule.yaml]
{{- if or .Values.secrets.storeKey .Values.extraEnv }}
env:
  {{- with .Values.secrets.storeKey }}
  - name: VESTIBULE_STORE
    valueFrom:
      secretKeyRef:
        name: {{ $.Values.secrets.existingSecret }}
        key: {{ . }}
  {{- end }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
ports:
  {{- if and (eq .Values.mode "standalone") .Values.settings.upstream }}
  - name: http
    containerPort: 8080
  {{- end }}
  - name: admin
    containerPort: 9090
  {{- range .Values.extraPorts }}
  - name: {{ .name }}
    containerPort: {{ .port }}
  {{- end }}
startupProbe:
  {{- include "vestibule.probe" "/readyz" | nindent 2 }}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  {{- include "vestibule.probe" "/livez" | nindent 2 }}
  periodSeconds: 10
  failureThreshold: 3
readinessProbe:
  {{- include "vestibule.probe" "/readyz" | nindent 2 }}
  periodSeconds: 2
  failureThreshold: 1
{{- with .Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  {{- if not (kindIs "invalid" .Values.runAsUser) }}
  runAsUser: {{ .Values.runAsUser }}
  runAsGroup: {{ .Values.runAsUser }}
  {{- end }}
  capabilities:
    drop: [ALL]
  seccompProfile:
    type: RuntimeDefault
volumeMounts:
  - name: vestibule-settings
    mountPath: /etc/vestibule/settings
    readOnly: true
  - name: vestibule-rules
    mountPath: /etc/vestibule/rules
    readOnly: true
  - name: vestibule-secrets
    mountPath: /etc/vestibule/secrets
    readOnly: true
  {{- if .Values.tls.existingSecret }}
  - name: vestibule-tls
    mountPath: /etc/vestibule/tls
    readOnly: true
  {{- end }}
  - name: vestibule-tmp
    mountPath: /tmp
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- /*
An item of initContainers: it runs as long as the pod does, starts before the containers and ends after them. Readiness is
left to the storefront: a pod is not taken out of its Service for its sidecar, which says what is wrong itself.
*/}}
{{- define "vestibule.sidecar" -}}
{{- $container := include "vestibule.container" . | fromYaml }}
{{- $_ := set $container "restartPolicy" "Always" }}
{{- $_ := unset $container "readinessProbe" }}
{{- list $container | toYaml }}
{{- end }}

{{- /* For the group alone, 0440, where the pod's volumes have one; else for all, 0444, in a volume that one container has. */}}
{{- define "vestibule.fileMode" -}}
{{- and (eq .Values.mode "standalone") (not (kindIs "invalid" .Values.runAsUser)) | ternary 288 292 }}
{{- end }}

{{- define "vestibule.volumes" -}}
- name: vestibule-settings
  configMap:
    name: {{ include "vestibule.fullname" . }}-settings
- name: vestibule-rules
  configMap:
    name: {{ include "vestibule.rulesConfigMap" . }}
    {{- with .Values.rules.items }}
    items:
      {{- toYaml . | nindent 6 }}
    {{- end }}
- name: vestibule-secrets
  secret:
    secretName: {{ .Values.secrets.existingSecret }}
    defaultMode: {{ include "vestibule.fileMode" . }}
{{- with .Values.tls.existingSecret }}
- name: vestibule-tls
  secret:
    secretName: {{ . }}
    defaultMode: {{ include "vestibule.fileMode" $ }}
{{- end }}
- name: vestibule-tmp
  emptyDir:
    sizeLimit: 64Mi
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
