"""Pods: their spec, status, placement and security."""

from shared.objects import schema
from shared.objects.schema import CREATE_ONLY, NAME_COLUMN, PROXIED, column, field, subresource

package = schema.package("core/v1")

INCLUSION_POLICIES = ("Honor", "Ignore")
PREEMPTION_POLICIES = ("Never", "PreemptLowerPriority")
TAINT_EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")

package.kind(
    "Binding",
    field("target", 2, "ObjectReference", required=True),
)
package.kind(
    "Pod",
    field("spec", 2, "PodSpec", always=True),
    field("status", 3, "PodStatus", always=True),
)
package.struct(
    "PodSpec",
    field("volumes", 1, "[Volume]", merge_key="name", patch=("merge", "retainKeys"), map_keys=("name",)),
    field("containers", 2, "[Container]", required=True, merge_key="name", map_keys=("name",)),
    field("restartPolicy", 3, "string", fill="Always", enum=("Always", "Never", "OnFailure")),
    field("terminationGracePeriodSeconds", 4, "int64?", fill=30),
    field("activeDeadlineSeconds", 5, "int64?"),
    field(
        "dnsPolicy",
        6,
        "string",
        fill="ClusterFirst",
        enum=("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
    ),
    field("nodeSelector", 7, "{string}", map_type="atomic"),
    field("serviceAccountName", 8, "string"),
    field("serviceAccount", 9, "string"),
    field("nodeName", 10, "string"),
    field("hostNetwork", 11, "bool"),
    field("hostPID", 12, "bool"),
    field("hostIPC", 13, "bool"),
    field("securityContext", 14, "PodSecurityContext", fill={}),
    field("imagePullSecrets", 15, "[LocalObjectReference]", merge_key="name", map_keys=("name",)),
    field("hostname", 16, "string"),
    field("subdomain", 17, "string"),
    field("affinity", 18, "Affinity"),
    field("schedulerName", 19, "string", fill="default-scheduler"),
    field("initContainers", 20, "[Container]", merge_key="name", map_keys=("name",)),
    field("automountServiceAccountToken", 21, "bool?"),
    field("tolerations", 22, "[Toleration]", list_type="atomic"),
    field("hostAliases", 23, "[HostAlias]", merge_key="ip", map_keys=("ip",)),
    field("priorityClassName", 24, "string"),
    field("priority", 25, "int32?"),
    field("dnsConfig", 26, "PodDNSConfig"),
    field("shareProcessNamespace", 27, "bool?"),
    field("readinessGates", 28, "[PodReadinessGate]", list_type="atomic"),
    field("runtimeClassName", 29, "string?"),
    field("enableServiceLinks", 30, "bool?"),
    field("preemptionPolicy", 31, "string?", enum=PREEMPTION_POLICIES),
    field("overhead", 32, "{Quantity}"),
    field(
        "topologySpreadConstraints",
        33,
        "[TopologySpreadConstraint]",
        merge_key="topologyKey",
        map_keys=("topologyKey", "whenUnsatisfiable"),
    ),
    field("ephemeralContainers", 34, "[EphemeralContainer]", merge_key="name", map_keys=("name",)),
    field("setHostnameAsFQDN", 35, "bool?"),
    field("os", 36, "PodOS"),
    field("hostUsers", 37, "bool?"),
    field("schedulingGates", 38, "[PodSchedulingGate]", merge_key="name", map_keys=("name",)),
    field(
        "resourceClaims", 39, "[PodResourceClaim]", merge_key="name", patch=("merge", "retainKeys"), map_keys=("name",)
    ),
    field("resources", 40, "ResourceRequirements"),
    field("hostnameOverride", 41, "string?"),
    field("schedulingGroup", 43, "PodSchedulingGroup"),
)
package.struct(
    "PodSecurityContext",
    field("seLinuxOptions", 1, "SELinuxOptions"),
    field("runAsUser", 2, "int64?"),
    field("runAsNonRoot", 3, "bool?"),
    field("supplementalGroups", 4, "[int64]", list_type="atomic"),
    field("fsGroup", 5, "int64?"),
    field("runAsGroup", 6, "int64?"),
    field("sysctls", 7, "[Sysctl]", list_type="atomic"),
    field("windowsOptions", 8, "WindowsSecurityContextOptions"),
    field("fsGroupChangePolicy", 9, "string?", enum=("Always", "OnRootMismatch")),
    field("seccompProfile", 10, "SeccompProfile"),
    field("appArmorProfile", 11, "AppArmorProfile"),
    field("supplementalGroupsPolicy", 12, "string?", enum=("Merge", "Strict")),
    field("seLinuxChangePolicy", 13, "string?"),
)
package.struct(
    "Sysctl",
    field("name", 1, "string", required=True),
    field("value", 2, "string", required=True),
)
package.struct(
    "Affinity",
    field("nodeAffinity", 1, "NodeAffinity"),
    field("podAffinity", 2, "PodAffinity"),
    field("podAntiAffinity", 3, "PodAntiAffinity"),
)
package.struct(
    "NodeAffinity",
    field("requiredDuringSchedulingIgnoredDuringExecution", 1, "NodeSelector"),
    field("preferredDuringSchedulingIgnoredDuringExecution", 2, "[PreferredSchedulingTerm]", list_type="atomic"),
)
package.struct(
    "NodeSelector",
    field("nodeSelectorTerms", 1, "[NodeSelectorTerm]", required=True, list_type="atomic"),
    atomic=True,
)
package.struct(
    "NodeSelectorTerm",
    field("matchExpressions", 1, "[NodeSelectorRequirement]", list_type="atomic"),
    field("matchFields", 2, "[NodeSelectorRequirement]", list_type="atomic"),
    atomic=True,
)
package.struct(
    "NodeSelectorRequirement",
    field("key", 1, "string", required=True),
    field("operator", 2, "string", required=True, enum=("DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn")),
    field("values", 3, "[string]", list_type="atomic"),
)
package.struct(
    "PreferredSchedulingTerm",
    field("weight", 1, "int32", required=True),
    field("preference", 2, "NodeSelectorTerm", required=True),
)
package.struct(
    "PodAffinity",
    field("requiredDuringSchedulingIgnoredDuringExecution", 1, "[PodAffinityTerm]", list_type="atomic"),
    field("preferredDuringSchedulingIgnoredDuringExecution", 2, "[WeightedPodAffinityTerm]", list_type="atomic"),
)
package.struct(
    "PodAffinityTerm",
    field("labelSelector", 1, "meta/v1.LabelSelector"),
    field("namespaces", 2, "[string]", list_type="atomic"),
    field("topologyKey", 3, "string", required=True),
    field("namespaceSelector", 4, "meta/v1.LabelSelector"),
    field("matchLabelKeys", 5, "[string]", list_type="atomic"),
    field("mismatchLabelKeys", 6, "[string]", list_type="atomic"),
)
package.struct(
    "WeightedPodAffinityTerm",
    field("weight", 1, "int32", required=True),
    field("podAffinityTerm", 2, "PodAffinityTerm", required=True),
)
package.struct(
    "PodAntiAffinity",
    field("requiredDuringSchedulingIgnoredDuringExecution", 1, "[PodAffinityTerm]", list_type="atomic"),
    field("preferredDuringSchedulingIgnoredDuringExecution", 2, "[WeightedPodAffinityTerm]", list_type="atomic"),
)
package.struct(
    "Toleration",
    field("key", 1, "string"),
    field("operator", 2, "string", enum=("Equal", "Exists", "Gt", "Lt")),
    field("value", 3, "string"),
    field("effect", 4, "string", enum=TAINT_EFFECTS),
    field("tolerationSeconds", 5, "int64?"),
)
package.struct(
    "HostAlias",
    field("ip", 1, "string", required=True),
    field("hostnames", 2, "[string]", list_type="atomic"),
)
package.struct(
    "PodDNSConfig",
    field("nameservers", 1, "[string]", list_type="atomic"),
    field("searches", 2, "[string]", list_type="atomic"),
    field("options", 3, "[PodDNSConfigOption]", list_type="atomic"),
)
package.struct(
    "PodDNSConfigOption",
    field("name", 1, "string"),
    field("value", 2, "string?"),
)
package.struct(
    "PodReadinessGate",
    field("conditionType", 1, "string", required=True),
)
package.struct(
    "TopologySpreadConstraint",
    field("maxSkew", 1, "int32", required=True),
    field("topologyKey", 2, "string", required=True),
    field("whenUnsatisfiable", 3, "string", required=True, enum=("DoNotSchedule", "ScheduleAnyway")),
    field("labelSelector", 4, "meta/v1.LabelSelector"),
    field("minDomains", 5, "int32?"),
    field("nodeAffinityPolicy", 6, "string?", enum=INCLUSION_POLICIES),
    field("nodeTaintsPolicy", 7, "string?", enum=INCLUSION_POLICIES),
    field("matchLabelKeys", 8, "[string]", list_type="atomic"),
)
package.struct(
    "PodOS",
    field("name", 1, "string", required=True),
)
package.struct(
    "PodSchedulingGate",
    field("name", 1, "string", required=True),
)
package.struct(
    "PodResourceClaim",
    field("name", 1, "string", required=True),
    field("resourceClaimName", 3, "string?"),
    field("resourceClaimTemplateName", 4, "string?"),
)
package.struct(
    "PodSchedulingGroup",
    field("podGroupName", 1, "string?"),
)
package.struct(
    "PodStatus",
    field("phase", 1, "string", enum=("Failed", "Pending", "Running", "Succeeded", "Unknown")),
    field("conditions", 2, "[PodCondition]", merge_key="type", map_keys=("type",)),
    field("message", 3, "string"),
    field("reason", 4, "string"),
    field("hostIP", 5, "string"),
    field("podIP", 6, "string"),
    field("startTime", 7, "Time?"),
    field("containerStatuses", 8, "[ContainerStatus]", list_type="atomic"),
    field("qosClass", 9, "string", enum=("BestEffort", "Burstable", "Guaranteed")),
    field("initContainerStatuses", 10, "[ContainerStatus]", list_type="atomic"),
    field("nominatedNodeName", 11, "string"),
    field("podIPs", 12, "[PodIP]", merge_key="ip", map_keys=("ip",)),
    field("ephemeralContainerStatuses", 13, "[ContainerStatus]", list_type="atomic"),
    field("resize", 14, "string"),
    field(
        "resourceClaimStatuses",
        15,
        "[PodResourceClaimStatus]",
        merge_key="name",
        patch=("merge", "retainKeys"),
        map_keys=("name",),
    ),
    field("hostIPs", 16, "[HostIP]", merge_key="ip", list_type="atomic"),
    field("observedGeneration", 17, "int64"),
    field("extendedResourceClaimStatus", 18, "PodExtendedResourceClaimStatus"),
    field("allocatedResources", 19, "{Quantity}"),
    field("resources", 20, "ResourceRequirements"),
    field("nodeAllocatableResourceClaimStatuses", 21, "[NodeAllocatableResourceClaimStatus]", list_type="atomic"),
)
package.struct(
    "PodCondition",
    field("type", 1, "string", required=True),
    field("status", 2, "string", required=True),
    field("lastProbeTime", 3, "Time"),
    field("lastTransitionTime", 4, "Time"),
    field("reason", 5, "string"),
    field("message", 6, "string"),
    field("observedGeneration", 7, "int64"),
)
package.struct(
    "PodIP",
    field("ip", 1, "string", required=True),
)
package.struct(
    "PodResourceClaimStatus",
    field("name", 1, "string", required=True),
    field("resourceClaimName", 2, "string?"),
)
package.struct(
    "HostIP",
    field("ip", 1, "string", required=True),
)
package.struct(
    "PodExtendedResourceClaimStatus",
    field("requestMappings", 1, "[ContainerExtendedResourceRequest]", required=True, list_type="atomic"),
    field("resourceClaimName", 2, "string", required=True),
)
package.struct(
    "NodeAllocatableResourceClaimStatus",
    field("resourceClaimName", 1, "string", required=True),
    field("containers", 2, "[string]", list_type="set"),
    field("resources", 3, "{Quantity}", required=True),
)
package.struct(
    "PodTemplateSpec",
    field("metadata", 1, "meta/v1.ObjectMeta", always=True),
    field("spec", 2, "PodSpec", always=True),
)

package.resource(
    "bindings",
    "Binding",
    verbs=CREATE_ONLY,
)
package.resource(
    "pods",
    "Pod",
    short_names=("po",),
    categories=("all",),
    subresources=(
        subresource("attach", "PodAttachOptions", verbs=("create", "get")),
        subresource("binding", "Binding", verbs=("create",)),
        subresource("checkpoint", "Pod", verbs=("create",), own=True),
        subresource("ephemeralcontainers", "Pod"),
        subresource("eviction", "Eviction", verbs=("create",), api_version="policy/v1"),
        subresource("exec", "PodExecOptions", verbs=("create", "get")),
        subresource("log", "Pod", verbs=("get",)),
        subresource("migrate", "Binding", verbs=("create",), own=True),
        subresource("portforward", "PodPortForwardOptions", verbs=("create", "get")),
        subresource("proxy", "PodProxyOptions", verbs=PROXIED),
        subresource("resize", "Pod"),
        subresource("status", "Pod"),
    ),
    columns=(
        NAME_COLUMN,
        column("Ready"),
        column("Status"),
        column("Restarts"),
        column("Age"),
        column("IP", priority=1),
        column("Node", priority=1),
        column("Nominated Node", priority=1),
        column("Readiness Gates", priority=1),
    ),
    field_selectors=(
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    ),
)
