"""Containers: what they run, see, are probed by and report."""

from shared.objects import schema
from shared.objects.schema import field

package = schema.package("core/v1")

MESSAGE_POLICIES = ("FallbackToLogsOnError", "File")
PROFILE_TYPES = ("Localhost", "RuntimeDefault", "Unconfined")
PROTOCOLS = ("SCTP", "TCP", "UDP")
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_SIGNAL_NAMES = (
    "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP "
    "TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN RTMAX"
)
SIGNALS = (
    *(f"SIG{name}" for name in _SIGNAL_NAMES.split()),
    *(f"SIGRTMIN+{offset}" for offset in range(1, 16)),
    *(f"SIGRTMAX-{offset}" for offset in range(1, 15)),
)

package.struct(
    "Container",
    field("name", 1, "string", required=True),
    field("image", 2, "string"),
    field("command", 3, "[string]", list_type="atomic"),
    field("args", 4, "[string]", list_type="atomic"),
    field("workingDir", 5, "string"),
    field("ports", 6, "[ContainerPort]", merge_key="containerPort", map_keys=("containerPort", "protocol")),
    field("env", 7, "[EnvVar]", merge_key="name", map_keys=("name",)),
    field("resources", 8, "ResourceRequirements", always=True),
    field("volumeMounts", 9, "[VolumeMount]", merge_key="mountPath", map_keys=("mountPath",)),
    field("livenessProbe", 10, "Probe"),
    field("readinessProbe", 11, "Probe"),
    field("lifecycle", 12, "Lifecycle"),
    field("terminationMessagePath", 13, "string", fill="/dev/termination-log"),
    field("imagePullPolicy", 14, "string", enum=PULL_POLICIES),
    field("securityContext", 15, "SecurityContext"),
    field("stdin", 16, "bool"),
    field("stdinOnce", 17, "bool"),
    field("tty", 18, "bool"),
    field("envFrom", 19, "[EnvFromSource]", list_type="atomic"),
    field("terminationMessagePolicy", 20, "string", fill="File", enum=MESSAGE_POLICIES),
    field("volumeDevices", 21, "[VolumeDevice]", merge_key="devicePath", map_keys=("devicePath",)),
    field("startupProbe", 22, "Probe"),
    field("resizePolicy", 23, "[ContainerResizePolicy]", list_type="atomic"),
    field("restartPolicy", 24, "string?"),
    field("restartPolicyRules", 25, "[ContainerRestartRule]", list_type="atomic"),
)
package.struct(
    "ContainerPort",
    field("name", 1, "string"),
    field("hostPort", 2, "int32"),
    field("containerPort", 3, "int32", required=True),
    field("protocol", 4, "string", default="TCP", enum=PROTOCOLS),
    field("hostIP", 5, "string"),
)
package.struct(
    "EnvVar",
    field("name", 1, "string", required=True),
    field("value", 2, "string"),
    field("valueFrom", 3, "EnvVarSource"),
)
package.struct(
    "EnvVarSource",
    field("fieldRef", 1, "ObjectFieldSelector"),
    field("resourceFieldRef", 2, "ResourceFieldSelector"),
    field("configMapKeyRef", 3, "ConfigMapKeySelector"),
    field("secretKeyRef", 4, "SecretKeySelector"),
    field("fileKeyRef", 5, "FileKeySelector"),
)
package.struct(
    "ObjectFieldSelector",
    field("apiVersion", 1, "string", fill="v1"),
    field("fieldPath", 2, "string", required=True),
    atomic=True,
)
package.struct(
    "ResourceFieldSelector",
    field("containerName", 1, "string"),
    field("resource", 2, "string", required=True),
    field("divisor", 3, "Quantity", always=True),
    atomic=True,
)
package.struct(
    "ConfigMapKeySelector",
    field("name", "1.1", "string", default=""),
    field("key", 2, "string", required=True),
    field("optional", 3, "bool?"),
    atomic=True,
)
package.struct(
    "SecretKeySelector",
    field("name", "1.1", "string", default=""),
    field("key", 2, "string", required=True),
    field("optional", 3, "bool?"),
    atomic=True,
)
package.struct(
    "FileKeySelector",
    field("volumeName", 1, "string", required=True),
    field("path", 2, "string", required=True),
    field("key", 3, "string", required=True),
    field("optional", 4, "bool?", default=False),
    atomic=True,
)
package.struct(
    "ResourceRequirements",
    field("limits", 1, "{Quantity}"),
    field("requests", 2, "{Quantity}"),
    field("claims", 3, "[ResourceClaim]", map_keys=("name",)),
)
package.struct(
    "ResourceClaim",
    field("name", 1, "string", required=True),
    field("request", 2, "string"),
)
package.struct(
    "VolumeMount",
    field("name", 1, "string", required=True),
    field("readOnly", 2, "bool"),
    field("mountPath", 3, "string", required=True),
    field("subPath", 4, "string"),
    field("mountPropagation", 5, "string?", enum=("Bidirectional", "HostToContainer", "None")),
    field("subPathExpr", 6, "string"),
    field("recursiveReadOnly", 7, "string?"),
)
package.struct(
    "Probe",
    field("exec", "1.1", "ExecAction"),
    field("httpGet", "1.2", "HTTPGetAction"),
    field("tcpSocket", "1.3", "TCPSocketAction"),
    field("grpc", "1.4", "GRPCAction"),
    field("initialDelaySeconds", 2, "int32"),
    field("timeoutSeconds", 3, "int32", fill=1),
    field("periodSeconds", 4, "int32", fill=10),
    field("successThreshold", 5, "int32", fill=1),
    field("failureThreshold", 6, "int32", fill=3),
    field("terminationGracePeriodSeconds", 7, "int64?"),
)
package.struct(
    "ExecAction",
    field("command", 1, "[string]", list_type="atomic"),
)
package.struct(
    "HTTPGetAction",
    field("path", 1, "string", fill="/"),
    field("port", 2, "IntOrString", required=True),
    field("host", 3, "string"),
    field("scheme", 4, "string", fill="HTTP", enum=("HTTP", "HTTPS")),
    field("httpHeaders", 5, "[HTTPHeader]", list_type="atomic"),
)
package.struct(
    "HTTPHeader",
    field("name", 1, "string", required=True),
    field("value", 2, "string", required=True),
)
package.struct(
    "TCPSocketAction",
    field("port", 1, "IntOrString", required=True),
    field("host", 2, "string"),
)
package.struct(
    "GRPCAction",
    field("port", 1, "int32", required=True),
    field("service", 2, "string?", default=""),
)
package.struct(
    "Lifecycle",
    field("postStart", 1, "LifecycleHandler"),
    field("preStop", 2, "LifecycleHandler"),
    field("stopSignal", 3, "string?", enum=SIGNALS),
)
package.struct(
    "LifecycleHandler",
    field("exec", 1, "ExecAction"),
    field("httpGet", 2, "HTTPGetAction"),
    field("tcpSocket", 3, "TCPSocketAction"),
    field("sleep", 4, "SleepAction"),
)
package.struct(
    "SleepAction",
    field("seconds", 1, "int64", required=True),
)
package.struct(
    "SecurityContext",
    field("capabilities", 1, "Capabilities"),
    field("privileged", 2, "bool?"),
    field("seLinuxOptions", 3, "SELinuxOptions"),
    field("runAsUser", 4, "int64?"),
    field("runAsNonRoot", 5, "bool?"),
    field("readOnlyRootFilesystem", 6, "bool?"),
    field("allowPrivilegeEscalation", 7, "bool?"),
    field("runAsGroup", 8, "int64?"),
    field("procMount", 9, "string?", enum=("Default", "Unmasked")),
    field("windowsOptions", 10, "WindowsSecurityContextOptions"),
    field("seccompProfile", 11, "SeccompProfile"),
    field("appArmorProfile", 12, "AppArmorProfile"),
)
package.struct(
    "Capabilities",
    field("add", 1, "[string]", list_type="atomic"),
    field("drop", 2, "[string]", list_type="atomic"),
)
package.struct(
    "SELinuxOptions",
    field("user", 1, "string"),
    field("role", 2, "string"),
    field("type", 3, "string"),
    field("level", 4, "string"),
)
package.struct(
    "WindowsSecurityContextOptions",
    field("gmsaCredentialSpecName", 1, "string?"),
    field("gmsaCredentialSpec", 2, "string?"),
    field("runAsUserName", 3, "string?"),
    field("hostProcess", 4, "bool?"),
)
package.struct(
    "SeccompProfile",
    field("type", 1, "string", required=True, enum=PROFILE_TYPES),
    field("localhostProfile", 2, "string?"),
)
package.struct(
    "AppArmorProfile",
    field("type", 1, "string", required=True, enum=PROFILE_TYPES),
    field("localhostProfile", 2, "string?"),
)
package.struct(
    "EnvFromSource",
    field("prefix", 1, "string"),
    field("configMapRef", 2, "ConfigMapEnvSource"),
    field("secretRef", 3, "SecretEnvSource"),
)
package.struct(
    "ConfigMapEnvSource",
    field("name", "1.1", "string", default=""),
    field("optional", 2, "bool?"),
)
package.struct(
    "SecretEnvSource",
    field("name", "1.1", "string", default=""),
    field("optional", 2, "bool?"),
)
package.struct(
    "VolumeDevice",
    field("name", 1, "string", required=True),
    field("devicePath", 2, "string", required=True),
)
package.struct(
    "ContainerResizePolicy",
    field("resourceName", 1, "string", required=True),
    field("restartPolicy", 2, "string", required=True),
)
package.struct(
    "ContainerRestartRule",
    field("action", 1, "string", required=True, always=False),
    field("exitCodes", 2, "ContainerRestartRuleOnExitCodes"),
)
package.struct(
    "ContainerRestartRuleOnExitCodes",
    field("operator", 1, "string", required=True, always=False),
    field("values", 2, "[int32]", list_type="set"),
)
package.struct(
    "ContainerExtendedResourceRequest",
    field("containerName", 1, "string", required=True),
    field("resourceName", 2, "string", required=True),
    field("requestName", 3, "string", required=True),
)
package.struct(
    "ContainerStatus",
    field("name", 1, "string", required=True),
    field("state", 2, "ContainerState", always=True),
    field("lastState", 3, "ContainerState", always=True),
    field("ready", 4, "bool", required=True),
    field("restartCount", 5, "int32", required=True),
    field("image", 6, "string", required=True),
    field("imageID", 7, "string", required=True),
    field("containerID", 8, "string"),
    field("started", 9, "bool?"),
    field("allocatedResources", 10, "{Quantity}"),
    field("resources", 11, "ResourceRequirements"),
    field("volumeMounts", 12, "[VolumeMountStatus]", merge_key="mountPath", map_keys=("mountPath",)),
    field("user", 13, "ContainerUser"),
    field("allocatedResourcesStatus", 14, "[ResourceStatus]", merge_key="name", map_keys=("name",)),
    field("stopSignal", 15, "string?", enum=SIGNALS),
)
package.struct(
    "ContainerState",
    field("waiting", 1, "ContainerStateWaiting"),
    field("running", 2, "ContainerStateRunning"),
    field("terminated", 3, "ContainerStateTerminated"),
)
package.struct(
    "ContainerStateWaiting",
    field("reason", 1, "string"),
    field("message", 2, "string"),
)
package.struct(
    "ContainerStateRunning",
    field("startedAt", 1, "Time"),
)
package.struct(
    "ContainerStateTerminated",
    field("exitCode", 1, "int32", required=True),
    field("signal", 2, "int32"),
    field("reason", 3, "string"),
    field("message", 4, "string"),
    field("startedAt", 5, "Time"),
    field("finishedAt", 6, "Time"),
    field("containerID", 7, "string"),
)
package.struct(
    "VolumeMountStatus",
    field("name", 1, "string", required=True),
    field("mountPath", 2, "string", required=True),
    field("readOnly", 3, "bool"),
    field("recursiveReadOnly", 4, "string?"),
    field("volumeStatus", 5, "VolumeStatus"),
)
package.struct(
    "VolumeStatus",
    field("image", 1, "ImageVolumeStatus"),
)
package.struct(
    "ImageVolumeStatus",
    field("imageRef", 1, "string", required=True, always=False),
)
package.struct(
    "ContainerUser",
    field("linux", 1, "LinuxContainerUser"),
)
package.struct(
    "LinuxContainerUser",
    field("uid", 1, "int64", required=True),
    field("gid", 2, "int64", required=True),
    field("supplementalGroups", 3, "[int64]", list_type="atomic"),
)
package.struct(
    "ResourceStatus",
    field("name", 1, "string", required=True),
    field("resources", 2, "[ResourceHealth]", map_keys=("resourceID",)),
)
package.struct(
    "ResourceHealth",
    field("resourceID", 1, "string", required=True),
    field("health", 2, "string"),
    field("message", 6, "string?"),
)
package.struct(
    "EphemeralContainer",
    field("name", "1.1", "string", required=True),
    field("image", "1.2", "string"),
    field("command", "1.3", "[string]", list_type="atomic"),
    field("args", "1.4", "[string]", list_type="atomic"),
    field("workingDir", "1.5", "string"),
    field("ports", "1.6", "[ContainerPort]", merge_key="containerPort", map_keys=("containerPort", "protocol")),
    field("env", "1.7", "[EnvVar]", merge_key="name", map_keys=("name",)),
    field("resources", "1.8", "ResourceRequirements", always=True),
    field("volumeMounts", "1.9", "[VolumeMount]", merge_key="mountPath", map_keys=("mountPath",)),
    field("livenessProbe", "1.10", "Probe"),
    field("readinessProbe", "1.11", "Probe"),
    field("lifecycle", "1.12", "Lifecycle"),
    field("terminationMessagePath", "1.13", "string", fill="/dev/termination-log"),
    field("imagePullPolicy", "1.14", "string", enum=PULL_POLICIES),
    field("securityContext", "1.15", "SecurityContext"),
    field("stdin", "1.16", "bool"),
    field("stdinOnce", "1.17", "bool"),
    field("tty", "1.18", "bool"),
    field("envFrom", "1.19", "[EnvFromSource]", list_type="atomic"),
    field("terminationMessagePolicy", "1.20", "string", fill="File", enum=MESSAGE_POLICIES),
    field("volumeDevices", "1.21", "[VolumeDevice]", merge_key="devicePath", map_keys=("devicePath",)),
    field("startupProbe", "1.22", "Probe"),
    field("resizePolicy", "1.23", "[ContainerResizePolicy]", list_type="atomic"),
    field("restartPolicy", "1.24", "string?"),
    field("restartPolicyRules", "1.25", "[ContainerRestartRule]", list_type="atomic"),
    field("targetContainerName", 2, "string"),
)
