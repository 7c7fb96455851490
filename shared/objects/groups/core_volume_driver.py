"""Volume sources of storage vendors' drivers: kept so that objects which name them survive a round trip."""

from shared.objects import schema
from shared.objects.schema import field

package = schema.package("core/v1")

package.struct(
    "AWSElasticBlockStoreVolumeSource",
    field("volumeID", 1, "string", required=True),
    field("fsType", 2, "string"),
    field("partition", 3, "int32"),
    field("readOnly", 4, "bool"),
)
package.struct(
    "AzureDiskVolumeSource",
    field("diskName", 1, "string", required=True),
    field("diskURI", 2, "string", required=True),
    field("cachingMode", 3, "string?", default="ReadWrite", enum=("None", "ReadOnly", "ReadWrite")),
    field("fsType", 4, "string?", default="ext4"),
    field("readOnly", 5, "bool?", default=False),
    field("kind", 6, "string?", default="Shared", enum=("Dedicated", "Managed", "Shared")),
)
package.struct(
    "AzureFilePersistentVolumeSource",
    field("secretName", 1, "string", required=True),
    field("shareName", 2, "string", required=True),
    field("readOnly", 3, "bool"),
    field("secretNamespace", 4, "string?"),
)
package.struct(
    "AzureFileVolumeSource",
    field("secretName", 1, "string", required=True),
    field("shareName", 2, "string", required=True),
    field("readOnly", 3, "bool"),
)
package.struct(
    "CephFSPersistentVolumeSource",
    field("monitors", 1, "[string]", required=True, list_type="atomic"),
    field("path", 2, "string"),
    field("user", 3, "string"),
    field("secretFile", 4, "string"),
    field("secretRef", 5, "SecretReference"),
    field("readOnly", 6, "bool"),
)
package.struct(
    "CephFSVolumeSource",
    field("monitors", 1, "[string]", required=True, list_type="atomic"),
    field("path", 2, "string"),
    field("user", 3, "string"),
    field("secretFile", 4, "string"),
    field("secretRef", 5, "LocalObjectReference"),
    field("readOnly", 6, "bool"),
)
package.struct(
    "CinderPersistentVolumeSource",
    field("volumeID", 1, "string", required=True),
    field("fsType", 2, "string"),
    field("readOnly", 3, "bool"),
    field("secretRef", 4, "SecretReference"),
)
package.struct(
    "CinderVolumeSource",
    field("volumeID", 1, "string", required=True),
    field("fsType", 2, "string"),
    field("readOnly", 3, "bool"),
    field("secretRef", 4, "LocalObjectReference"),
)
package.struct(
    "FCVolumeSource",
    field("targetWWNs", 1, "[string]", list_type="atomic"),
    field("lun", 2, "int32?"),
    field("fsType", 3, "string"),
    field("readOnly", 4, "bool"),
    field("wwids", 5, "[string]", list_type="atomic"),
)
package.struct(
    "FlexPersistentVolumeSource",
    field("driver", 1, "string", required=True),
    field("fsType", 2, "string"),
    field("secretRef", 3, "SecretReference"),
    field("readOnly", 4, "bool"),
    field("options", 5, "{string}"),
)
package.struct(
    "FlexVolumeSource",
    field("driver", 1, "string", required=True),
    field("fsType", 2, "string"),
    field("secretRef", 3, "LocalObjectReference"),
    field("readOnly", 4, "bool"),
    field("options", 5, "{string}"),
)
package.struct(
    "FlockerVolumeSource",
    field("datasetName", 1, "string"),
    field("datasetUUID", 2, "string"),
)
package.struct(
    "GCEPersistentDiskVolumeSource",
    field("pdName", 1, "string", required=True),
    field("fsType", 2, "string"),
    field("partition", 3, "int32"),
    field("readOnly", 4, "bool"),
)
package.struct(
    "GlusterfsPersistentVolumeSource",
    field("endpoints", 1, "string", required=True),
    field("path", 2, "string", required=True),
    field("readOnly", 3, "bool"),
    field("endpointsNamespace", 4, "string?"),
)
package.struct(
    "GlusterfsVolumeSource",
    field("endpoints", 1, "string", required=True),
    field("path", 2, "string", required=True),
    field("readOnly", 3, "bool"),
)
package.struct(
    "ISCSIPersistentVolumeSource",
    field("targetPortal", 1, "string", required=True),
    field("iqn", 2, "string", required=True),
    field("lun", 3, "int32", required=True),
    field("iscsiInterface", 4, "string", default="default"),
    field("fsType", 5, "string"),
    field("readOnly", 6, "bool"),
    field("portals", 7, "[string]", list_type="atomic"),
    field("chapAuthDiscovery", 8, "bool"),
    field("secretRef", 10, "SecretReference"),
    field("chapAuthSession", 11, "bool"),
    field("initiatorName", 12, "string?"),
)
package.struct(
    "ISCSIVolumeSource",
    field("targetPortal", 1, "string", required=True),
    field("iqn", 2, "string", required=True),
    field("lun", 3, "int32", required=True),
    field("iscsiInterface", 4, "string", default="default"),
    field("fsType", 5, "string"),
    field("readOnly", 6, "bool"),
    field("portals", 7, "[string]", list_type="atomic"),
    field("chapAuthDiscovery", 8, "bool"),
    field("secretRef", 10, "LocalObjectReference"),
    field("chapAuthSession", 11, "bool"),
    field("initiatorName", 12, "string?"),
)
package.struct(
    "PhotonPersistentDiskVolumeSource",
    field("pdID", 1, "string", required=True),
    field("fsType", 2, "string"),
)
package.struct(
    "PortworxVolumeSource",
    field("volumeID", 1, "string", required=True),
    field("fsType", 2, "string"),
    field("readOnly", 3, "bool"),
)
package.struct(
    "QuobyteVolumeSource",
    field("registry", 1, "string", required=True),
    field("volume", 2, "string", required=True),
    field("readOnly", 3, "bool"),
    field("user", 4, "string"),
    field("group", 5, "string"),
    field("tenant", 6, "string"),
)
package.struct(
    "RBDPersistentVolumeSource",
    field("monitors", 1, "[string]", required=True, list_type="atomic"),
    field("image", 2, "string", required=True),
    field("fsType", 3, "string"),
    field("pool", 4, "string", default="rbd"),
    field("user", 5, "string", default="admin"),
    field("keyring", 6, "string", default="/etc/ceph/keyring"),
    field("secretRef", 7, "SecretReference"),
    field("readOnly", 8, "bool"),
)
package.struct(
    "RBDVolumeSource",
    field("monitors", 1, "[string]", required=True, list_type="atomic"),
    field("image", 2, "string", required=True),
    field("fsType", 3, "string"),
    field("pool", 4, "string", default="rbd"),
    field("user", 5, "string", default="admin"),
    field("keyring", 6, "string", default="/etc/ceph/keyring"),
    field("secretRef", 7, "LocalObjectReference"),
    field("readOnly", 8, "bool"),
)
package.struct(
    "ScaleIOPersistentVolumeSource",
    field("gateway", 1, "string", required=True),
    field("system", 2, "string", required=True),
    field("secretRef", 3, "SecretReference", required=True, always=False),
    field("sslEnabled", 4, "bool"),
    field("protectionDomain", 5, "string"),
    field("storagePool", 6, "string"),
    field("storageMode", 7, "string", default="ThinProvisioned"),
    field("volumeName", 8, "string"),
    field("fsType", 9, "string", default="xfs"),
    field("readOnly", 10, "bool"),
)
package.struct(
    "ScaleIOVolumeSource",
    field("gateway", 1, "string", required=True),
    field("system", 2, "string", required=True),
    field("secretRef", 3, "LocalObjectReference", required=True, always=False),
    field("sslEnabled", 4, "bool"),
    field("protectionDomain", 5, "string"),
    field("storagePool", 6, "string"),
    field("storageMode", 7, "string", default="ThinProvisioned"),
    field("volumeName", 8, "string"),
    field("fsType", 9, "string", default="xfs"),
    field("readOnly", 10, "bool"),
)
package.struct(
    "StorageOSPersistentVolumeSource",
    field("volumeName", 1, "string"),
    field("volumeNamespace", 2, "string"),
    field("fsType", 3, "string"),
    field("readOnly", 4, "bool"),
    field("secretRef", 5, "ObjectReference"),
)
package.struct(
    "StorageOSVolumeSource",
    field("volumeName", 1, "string"),
    field("volumeNamespace", 2, "string"),
    field("fsType", 3, "string"),
    field("readOnly", 4, "bool"),
    field("secretRef", 5, "LocalObjectReference"),
)
package.struct(
    "VsphereVirtualDiskVolumeSource",
    field("volumePath", 1, "string", required=True),
    field("fsType", 2, "string"),
    field("storagePolicyName", 3, "string"),
    field("storagePolicyID", 4, "string"),
)
