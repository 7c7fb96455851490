"""Volumes a pod mounts, other than those of storage vendors' drivers."""

from shared.objects import schema
from shared.objects.schema import field

package = schema.package("core/v1")

PULL_POLICIES = ("Always", "IfNotPresent", "Never")

package.struct(
    "Volume",
    field("name", 1, "string", required=True),
    field("hostPath", "2.1", "HostPathVolumeSource"),
    field("emptyDir", "2.2", "EmptyDirVolumeSource"),
    field("gcePersistentDisk", "2.3", "GCEPersistentDiskVolumeSource"),
    field("awsElasticBlockStore", "2.4", "AWSElasticBlockStoreVolumeSource"),
    field("gitRepo", "2.5", "GitRepoVolumeSource"),
    field("secret", "2.6", "SecretVolumeSource"),
    field("nfs", "2.7", "NFSVolumeSource"),
    field("iscsi", "2.8", "ISCSIVolumeSource"),
    field("glusterfs", "2.9", "GlusterfsVolumeSource"),
    field("persistentVolumeClaim", "2.10", "PersistentVolumeClaimVolumeSource"),
    field("rbd", "2.11", "RBDVolumeSource"),
    field("flexVolume", "2.12", "FlexVolumeSource"),
    field("cinder", "2.13", "CinderVolumeSource"),
    field("cephfs", "2.14", "CephFSVolumeSource"),
    field("flocker", "2.15", "FlockerVolumeSource"),
    field("downwardAPI", "2.16", "DownwardAPIVolumeSource"),
    field("fc", "2.17", "FCVolumeSource"),
    field("azureFile", "2.18", "AzureFileVolumeSource"),
    field("configMap", "2.19", "ConfigMapVolumeSource"),
    field("vsphereVolume", "2.20", "VsphereVirtualDiskVolumeSource"),
    field("quobyte", "2.21", "QuobyteVolumeSource"),
    field("azureDisk", "2.22", "AzureDiskVolumeSource"),
    field("photonPersistentDisk", "2.23", "PhotonPersistentDiskVolumeSource"),
    field("portworxVolume", "2.24", "PortworxVolumeSource"),
    field("scaleIO", "2.25", "ScaleIOVolumeSource"),
    field("projected", "2.26", "ProjectedVolumeSource"),
    field("storageos", "2.27", "StorageOSVolumeSource"),
    field("csi", "2.28", "CSIVolumeSource"),
    field("ephemeral", "2.29", "EphemeralVolumeSource"),
    field("image", "2.30", "ImageVolumeSource"),
)
package.struct(
    "HostPathVolumeSource",
    field("path", 1, "string", required=True),
    field(
        "type",
        2,
        "string?",
        fill="",
        enum=("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"),
    ),
)
package.struct(
    "EmptyDirVolumeSource",
    field("medium", 1, "string"),
    field("sizeLimit", 2, "Quantity?"),
)
package.struct(
    "GitRepoVolumeSource",
    field("repository", 1, "string", required=True),
    field("revision", 2, "string"),
    field("directory", 3, "string"),
)
package.struct(
    "SecretVolumeSource",
    field("secretName", 1, "string"),
    field("items", 2, "[KeyToPath]", list_type="atomic"),
    field("defaultMode", 3, "int32?", fill=420),
    field("optional", 4, "bool?"),
)
package.struct(
    "KeyToPath",
    field("key", 1, "string", required=True),
    field("path", 2, "string", required=True),
    field("mode", 3, "int32?"),
)
package.struct(
    "NFSVolumeSource",
    field("server", 1, "string", required=True),
    field("path", 2, "string", required=True),
    field("readOnly", 3, "bool"),
)
package.struct(
    "PersistentVolumeClaimVolumeSource",
    field("claimName", 1, "string", required=True),
    field("readOnly", 2, "bool"),
)
package.struct(
    "DownwardAPIVolumeSource",
    field("items", 1, "[DownwardAPIVolumeFile]", list_type="atomic"),
    field("defaultMode", 2, "int32?", fill=420),
)
package.struct(
    "DownwardAPIVolumeFile",
    field("path", 1, "string", required=True),
    field("fieldRef", 2, "ObjectFieldSelector"),
    field("resourceFieldRef", 3, "ResourceFieldSelector"),
    field("mode", 4, "int32?"),
)
package.struct(
    "ConfigMapVolumeSource",
    field("name", "1.1", "string", default=""),
    field("items", 2, "[KeyToPath]", list_type="atomic"),
    field("defaultMode", 3, "int32?", fill=420),
    field("optional", 4, "bool?"),
)
package.struct(
    "ProjectedVolumeSource",
    field("sources", 1, "[VolumeProjection]", always=True, list_type="atomic"),
    field("defaultMode", 2, "int32?", fill=420),
)
package.struct(
    "VolumeProjection",
    field("secret", 1, "SecretProjection"),
    field("downwardAPI", 2, "DownwardAPIProjection"),
    field("configMap", 3, "ConfigMapProjection"),
    field("serviceAccountToken", 4, "ServiceAccountTokenProjection"),
    field("clusterTrustBundle", 5, "ClusterTrustBundleProjection"),
    field("podCertificate", 6, "PodCertificateProjection"),
)
package.struct(
    "SecretProjection",
    field("name", "1.1", "string", default=""),
    field("items", 2, "[KeyToPath]", list_type="atomic"),
    field("optional", 4, "bool?"),
)
package.struct(
    "DownwardAPIProjection",
    field("items", 1, "[DownwardAPIVolumeFile]", list_type="atomic"),
)
package.struct(
    "ConfigMapProjection",
    field("name", "1.1", "string", default=""),
    field("items", 2, "[KeyToPath]", list_type="atomic"),
    field("optional", 4, "bool?"),
)
package.struct(
    "ServiceAccountTokenProjection",
    field("audience", 1, "string"),
    field("expirationSeconds", 2, "int64?", fill=3600),
    field("path", 3, "string", required=True),
)
package.struct(
    "ClusterTrustBundleProjection",
    field("name", 1, "string?"),
    field("signerName", 2, "string?"),
    field("labelSelector", 3, "meta/v1.LabelSelector"),
    field("path", 4, "string", required=True),
    field("optional", 5, "bool?"),
)
package.struct(
    "PodCertificateProjection",
    field("signerName", 1, "string", required=True, always=False),
    field("keyType", 2, "string", required=True, always=False),
    field("maxExpirationSeconds", 3, "int32?"),
    field("credentialBundlePath", 4, "string"),
    field("keyPath", 5, "string"),
    field("certificateChainPath", 6, "string"),
    field("userAnnotations", 7, "{string}"),
)
package.struct(
    "CSIVolumeSource",
    field("driver", 1, "string", required=True),
    field("readOnly", 2, "bool?"),
    field("fsType", 3, "string?"),
    field("volumeAttributes", 4, "{string}"),
    field("nodePublishSecretRef", 5, "LocalObjectReference"),
)
package.struct(
    "EphemeralVolumeSource",
    field("volumeClaimTemplate", 1, "PersistentVolumeClaimTemplate"),
)
package.struct(
    "ImageVolumeSource",
    field("reference", 1, "string"),
    field("pullPolicy", 2, "string", enum=PULL_POLICIES),
)
