{{- define "mooring.pod" -}}
metadata:
  annotations:
    kubectl.kubernetes.io/default-container: mooring
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  labels:
    {{- include "mooring.podLabels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "mooring.name" . }}
  automountServiceAccountToken: true
  enableServiceLinks: false
  terminationGracePeriodSeconds: 30
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  affinity:
    {{- if .Values.affinity }}
    {{- toYaml .Values.affinity | nindent 4 }}
    {{- else }}
    podAntiAffinity:
      preferredDuringSchedulingIgnoredDuringExecution:
        - weight: 100
          podAffinityTerm:
            topologyKey: kubernetes.io/hostname
            labelSelector:
              matchLabels:
                {{- include "mooring.selector" . | nindent 16 }}
    {{- end }}
  securityContext:
    {{- $user := ternary 0 65532 (eq .Values.securityProfile "root") }}
    runAsUser: {{ $user }}
    runAsGroup: {{ $user }}
    {{- if $user }}
    runAsNonRoot: true
    fsGroup: {{ $user }}
    {{- end }}
    seccompProfile:
      type: RuntimeDefault
    {{- if eq .Values.forwarding "sysctl" }}
    sysctls:
      - name: net.ipv4.ip_forward
        value: "0"
    {{- end }}
  {{- if eq .Values.forwarding "init-container" }}
  initContainers:
    {{- include "mooring.forwardingOff" . | nindent 4 }}
  {{- end }}
  containers:
    {{- include "mooring.agent" . | nindent 4 }}
  volumes:
    - name: config
      configMap:
        name: {{ include "mooring.name" . }}
    - name: podinfo
      downwardAPI:
        items:
          - path: annotations
            fieldRef:
              fieldPath: metadata.annotations
    - name: run
      emptyDir:
        medium: Memory
        sizeLimit: 1Mi
    {{- if .Values.tun }}
    - name: tun
      hostPath:
        path: /dev/net/tun
        type: CharDevice
    {{- end }}
{{- end }}

{{- define "mooring.agent" -}}
- name: mooring
  image: "{{ .Values.image.repository }}:{{ include "mooring.tag" . }}"
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [/mooring, run, -c, /etc/mooring/mooring.toml]
  env:
    - name: POD_NAME
      valueFrom:
        fieldRef:
          fieldPath: metadata.name
    - name: POD_NAMESPACE
      valueFrom:
        fieldRef:
          fieldPath: metadata.namespace
    - name: POD_UID
      valueFrom:
        fieldRef:
          fieldPath: metadata.uid
  ports:
    - name: health
      containerPort: 9465
    - name: metrics
      containerPort: 9464
  startupProbe:
    httpGet:
      path: /healthz
      port: health
    periodSeconds: 1
    failureThreshold: 60
  livenessProbe:
    httpGet:
      path: /healthz
      port: health
    periodSeconds: 5
    failureThreshold: 3
  readinessProbe:
    httpGet:
      path: /readyz
      port: health
    periodSeconds: 1
    failureThreshold: 3
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  securityContext:
    allowPrivilegeEscalation: {{ ne .Values.securityProfile "root" }}
    readOnlyRootFilesystem: true
    capabilities:
      drop: [ALL]
      add:
        - NET_RAW
        {{- if .Values.netAdmin }}
        - NET_ADMIN
        {{- end }}
  volumeMounts:
    - name: config
      mountPath: /etc/mooring
      readOnly: true
    - name: podinfo
      mountPath: /etc/podinfo
      readOnly: true
    - name: run
      mountPath: /run/mooring
    {{- if .Values.tun }}
    - name: tun
      mountPath: /dev/net/tun
    {{- end }}
{{- end }}

{{- define "mooring.forwardingOff" -}}
- name: forwarding-off
  image: {{ .Values.forwardingImage | quote }}
  imagePullPolicy: IfNotPresent
  command:
    - sh
    - -ec
    - |
      for file in /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding; do
        if [ -e "$file" ]; then echo 0 > "$file"; fi
      done
  resources:
    requests:
      cpu: 10m
      memory: 16Mi
    limits:
      memory: 16Mi
  securityContext:
    privileged: true
    runAsUser: 0
    runAsNonRoot: false
    readOnlyRootFilesystem: true
{{- end }}
