"""Persistent volumes and claims."""

from shared.objects import schema
from shared.objects.schema import NAME_COLUMN, column, field, subresource

package = schema.package("core/v1")

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
RECLAIM_POLICIES = ("Delete", "Recycle", "Retain")
VOLUME_MODES = ("Block", "Filesystem")

package.kind(
    "PersistentVolume",
    field("spec", 2, "PersistentVolumeSpec", always=True),
    field("status", 3, "PersistentVolumeStatus", always=True),
)
package.struct(
    "PersistentVolumeSpec",
    field("capacity", 1, "{Quantity}"),
    field("gcePersistentDisk", "2.1", "GCEPersistentDiskVolumeSource"),
    field("awsElasticBlockStore", "2.2", "AWSElasticBlockStoreVolumeSource"),
    field("hostPath", "2.3", "HostPathVolumeSource"),
    field("glusterfs", "2.4", "GlusterfsPersistentVolumeSource"),
    field("nfs", "2.5", "NFSVolumeSource"),
    field("rbd", "2.6", "RBDPersistentVolumeSource"),
    field("iscsi", "2.7", "ISCSIPersistentVolumeSource"),
    field("cinder", "2.8", "CinderPersistentVolumeSource"),
    field("cephfs", "2.9", "CephFSPersistentVolumeSource"),
    field("fc", "2.10", "FCVolumeSource"),
    field("flocker", "2.11", "FlockerVolumeSource"),
    field("flexVolume", "2.12", "FlexPersistentVolumeSource"),
    field("azureFile", "2.13", "AzureFilePersistentVolumeSource"),
    field("vsphereVolume", "2.14", "VsphereVirtualDiskVolumeSource"),
    field("quobyte", "2.15", "QuobyteVolumeSource"),
    field("azureDisk", "2.16", "AzureDiskVolumeSource"),
    field("photonPersistentDisk", "2.17", "PhotonPersistentDiskVolumeSource"),
    field("portworxVolume", "2.18", "PortworxVolumeSource"),
    field("scaleIO", "2.19", "ScaleIOPersistentVolumeSource"),
    field("local", "2.20", "LocalVolumeSource"),
    field("storageos", "2.21", "StorageOSPersistentVolumeSource"),
    field("csi", "2.22", "CSIPersistentVolumeSource"),
    field("accessModes", 3, "[string]", enum=ACCESS_MODES, list_type="atomic"),
    field("claimRef", 4, "ObjectReference", map_type="granular"),
    field("persistentVolumeReclaimPolicy", 5, "string", fill="Retain", enum=RECLAIM_POLICIES),
    field("storageClassName", 6, "string"),
    field("mountOptions", 7, "[string]", list_type="atomic"),
    field("volumeMode", 8, "string?", fill="Filesystem", enum=VOLUME_MODES),
    field("nodeAffinity", 9, "VolumeNodeAffinity"),
    field("volumeAttributesClassName", 10, "string?"),
)
package.struct(
    "LocalVolumeSource",
    field("path", 1, "string", required=True),
    field("fsType", 2, "string?"),
)
package.struct(
    "CSIPersistentVolumeSource",
    field("driver", 1, "string", required=True),
    field("volumeHandle", 2, "string", required=True),
    field("readOnly", 3, "bool"),
    field("fsType", 4, "string"),
    field("volumeAttributes", 5, "{string}"),
    field("controllerPublishSecretRef", 6, "SecretReference"),
    field("nodeStageSecretRef", 7, "SecretReference"),
    field("nodePublishSecretRef", 8, "SecretReference"),
    field("controllerExpandSecretRef", 9, "SecretReference"),
    field("nodeExpandSecretRef", 10, "SecretReference"),
)
package.struct(
    "VolumeNodeAffinity",
    field("required", 1, "NodeSelector"),
)
package.struct(
    "PersistentVolumeStatus",
    field("phase", 1, "string", fill="Pending", enum=("Available", "Bound", "Failed", "Pending", "Released")),
    field("message", 2, "string"),
    field("reason", 3, "string"),
    field("lastPhaseTransitionTime", 4, "Time?"),
)
package.kind(
    "PersistentVolumeClaim",
    field("spec", 2, "PersistentVolumeClaimSpec", always=True),
    field("status", 3, "PersistentVolumeClaimStatus", always=True),
)
package.struct(
    "PersistentVolumeClaimSpec",
    field("accessModes", 1, "[string]", enum=ACCESS_MODES, list_type="atomic"),
    field("resources", 2, "VolumeResourceRequirements", always=True),
    field("volumeName", 3, "string"),
    field("selector", 4, "meta/v1.LabelSelector"),
    field("storageClassName", 5, "string?"),
    field("volumeMode", 6, "string?", fill="Filesystem", enum=VOLUME_MODES),
    field("dataSource", 7, "TypedLocalObjectReference"),
    field("dataSourceRef", 8, "TypedObjectReference"),
    field("volumeAttributesClassName", 9, "string?"),
)
package.struct(
    "VolumeResourceRequirements",
    field("limits", 1, "{Quantity}"),
    field("requests", 2, "{Quantity}"),
)
package.struct(
    "PersistentVolumeClaimStatus",
    field("phase", 1, "string", fill="Pending", enum=("Bound", "Lost", "Pending")),
    field("accessModes", 2, "[string]", enum=ACCESS_MODES, list_type="atomic"),
    field("capacity", 3, "{Quantity}"),
    field("conditions", 4, "[PersistentVolumeClaimCondition]", merge_key="type", map_keys=("type",)),
    field("allocatedResources", 5, "{Quantity}"),
    field("allocatedResourceStatuses", 7, "{string}", map_type="granular"),
    field("currentVolumeAttributesClassName", 8, "string?"),
    field("modifyVolumeStatus", 9, "ModifyVolumeStatus"),
)
package.struct(
    "PersistentVolumeClaimCondition",
    field("type", 1, "string", required=True),
    field("status", 2, "string", required=True),
    field("lastProbeTime", 3, "Time"),
    field("lastTransitionTime", 4, "Time"),
    field("reason", 5, "string"),
    field("message", 6, "string"),
)
package.struct(
    "ModifyVolumeStatus",
    field("targetVolumeAttributesClassName", 1, "string"),
    field("status", 2, "string", required=True, enum=("InProgress", "Infeasible", "Pending")),
)
package.struct(
    "PersistentVolumeClaimTemplate",
    field("metadata", 1, "meta/v1.ObjectMeta", always=True),
    field("spec", 2, "PersistentVolumeClaimSpec", required=True),
)
package.struct(
    "TopologySelectorTerm",
    field("matchLabelExpressions", 1, "[TopologySelectorLabelRequirement]", list_type="atomic"),
    atomic=True,
)
package.struct(
    "TopologySelectorLabelRequirement",
    field("key", 1, "string", required=True),
    field("values", 2, "[string]", required=True, list_type="atomic"),
)

package.resource(
    "persistentvolumeclaims",
    "PersistentVolumeClaim",
    short_names=("pvc",),
    subresources=(subresource("status", "PersistentVolumeClaim"),),
    columns=(
        NAME_COLUMN,
        column("Status"),
        column("Volume"),
        column("Capacity"),
        column("Access Modes"),
        column("StorageClass"),
        column("VolumeAttributesClass"),
        column("Age"),
        column("VolumeMode", priority=1),
    ),
)
package.resource(
    "persistentvolumes",
    "PersistentVolume",
    namespaced=False,
    short_names=("pv",),
    subresources=(subresource("status", "PersistentVolume"),),
    columns=(
        NAME_COLUMN,
        column("Capacity"),
        column("Access Modes"),
        column("Reclaim Policy"),
        column("Status"),
        column("Claim"),
        column("StorageClass"),
        column("VolumeAttributesClass"),
        column("Reason"),
        column("Age"),
        column("VolumeMode", priority=1),
    ),
)
