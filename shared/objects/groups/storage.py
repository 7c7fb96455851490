"""Storage classes, CSI drivers, attachments."""

from shared.objects import schema
from shared.objects.schema import NAME_COLUMN, column, field, subresource

package = schema.package("storage/v1")

RECLAIM_POLICIES = ("Delete", "Recycle", "Retain")

package.kind(
    "CSIDriver",
    field("spec", 2, "CSIDriverSpec", required=True),
)
package.struct(
    "CSIDriverSpec",
    field("attachRequired", 1, "bool?", fill=True),
    field("podInfoOnMount", 2, "bool?", fill=False),
    field("volumeLifecycleModes", 3, "[string]", fill=["Persistent"], list_type="set"),
    field("storageCapacity", 4, "bool?", fill=False),
    field("fsGroupPolicy", 5, "string?", fill="ReadWriteOnceWithFSType"),
    field("tokenRequests", 6, "[TokenRequest]", list_type="atomic"),
    field("requiresRepublish", 7, "bool?", fill=False),
    field("seLinuxMount", 8, "bool?", fill=False),
    field("nodeAllocatableUpdatePeriodSeconds", 9, "int64?"),
    field("serviceAccountTokenInSecrets", 10, "bool?"),
    field("preventPodSchedulingIfMissing", 11, "bool?"),
)
package.struct(
    "TokenRequest",
    field("audience", 1, "string", required=True),
    field("expirationSeconds", 2, "int64?"),
)
package.kind(
    "CSINode",
    field("spec", 2, "CSINodeSpec", required=True),
)
package.struct(
    "CSINodeSpec",
    field("drivers", 1, "[CSINodeDriver]", required=True, merge_key="name", map_keys=("name",)),
)
package.struct(
    "CSINodeDriver",
    field("name", 1, "string", required=True),
    field("nodeID", 2, "string", required=True),
    field("topologyKeys", 3, "[string]", always=True, list_type="atomic"),
    field("allocatable", 4, "VolumeNodeResources"),
)
package.struct(
    "VolumeNodeResources",
    field("count", 1, "int32?"),
)
package.kind(
    "CSIStorageCapacity",
    field("nodeTopology", 2, "meta/v1.LabelSelector", immutable=True),
    field("storageClassName", 3, "string", required=True, immutable=True),
    field("capacity", 4, "Quantity?"),
    field("maximumVolumeSize", 5, "Quantity?"),
)
package.kind(
    "StorageClass",
    field("provisioner", 2, "string", required=True),
    field("parameters", 3, "{string}"),
    field("reclaimPolicy", 4, "string?", fill="Delete", enum=RECLAIM_POLICIES),
    field("mountOptions", 5, "[string]", list_type="atomic"),
    field("allowVolumeExpansion", 6, "bool?"),
    field(
        "volumeBindingMode", 7, "string?", fill="Immediate", enum=("Immediate", "WaitForFirstConsumer"), immutable=True
    ),
    field("allowedTopologies", 8, "[core/v1.TopologySelectorTerm]", list_type="atomic"),
)
package.kind(
    "VolumeAttachment",
    field("spec", 2, "VolumeAttachmentSpec", required=True, immutable=True),
    field("status", 3, "VolumeAttachmentStatus", always=True),
)
package.struct(
    "VolumeAttachmentSpec",
    field("attacher", 1, "string", required=True),
    field("source", 2, "VolumeAttachmentSource", required=True),
    field("nodeName", 3, "string", required=True),
)
package.struct(
    "VolumeAttachmentSource",
    field("persistentVolumeName", 1, "string?"),
    field("inlineVolumeSpec", 2, "core/v1.PersistentVolumeSpec"),
)
package.struct(
    "VolumeAttachmentStatus",
    field("attached", 1, "bool", required=True),
    field("attachmentMetadata", 2, "{string}"),
    field("attachError", 3, "VolumeError"),
    field("detachError", 4, "VolumeError"),
)
package.struct(
    "VolumeError",
    field("time", 1, "Time"),
    field("message", 2, "string"),
    field("errorCode", 3, "int32?"),
)
package.kind(
    "VolumeAttributesClass",
    field("driverName", 2, "string", required=True),
    field("parameters", 3, "{string}"),
)

package.resource(
    "csidrivers",
    "CSIDriver",
    namespaced=False,
    columns=(
        NAME_COLUMN,
        column("AttachRequired", "boolean"),
        column("PodInfoOnMount", "boolean"),
        column("StorageCapacity", "boolean"),
        column("TokenRequests"),
        column("RequiresRepublish", "boolean"),
        column("Modes"),
        column("Age"),
    ),
)
package.resource(
    "csinodes",
    "CSINode",
    namespaced=False,
    columns=(
        NAME_COLUMN,
        column("Drivers", "integer"),
        column("Age"),
    ),
)
package.resource(
    "csistoragecapacities",
    "CSIStorageCapacity",
    columns=(
        NAME_COLUMN,
        column("Created At", "date"),
    ),
)
package.resource(
    "storageclasses",
    "StorageClass",
    namespaced=False,
    short_names=("sc",),
    columns=(
        NAME_COLUMN,
        column("Provisioner"),
        column("ReclaimPolicy"),
        column("VolumeBindingMode"),
        column("AllowVolumeExpansion"),
        column("Age"),
    ),
)
package.resource(
    "volumeattachments",
    "VolumeAttachment",
    namespaced=False,
    subresources=(subresource("status", "VolumeAttachment"),),
    columns=(
        NAME_COLUMN,
        column("Attacher", format="name"),
        column("PV"),
        column("Node"),
        column("Attached", "boolean"),
        column("Age"),
    ),
)
package.resource(
    "volumeattributesclasses",
    "VolumeAttributesClass",
    namespaced=False,
    short_names=("vac",),
    columns=(
        NAME_COLUMN,
        column("DriverName"),
        column("Age"),
    ),
)
