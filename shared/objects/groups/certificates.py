"""Certificate signing requests."""

from shared.objects import schema
from shared.objects.schema import NAME_COLUMN, column, field, subresource

package = schema.package("certificates/v1")

package.kind(
    "CertificateSigningRequest",
    field("spec", 2, "CertificateSigningRequestSpec", required=True),
    field("status", 3, "CertificateSigningRequestStatus", always=True),
)
package.struct(
    "CertificateSigningRequestSpec",
    field("request", 1, "bytes", required=True),
    field("username", 2, "string"),
    field("uid", 3, "string"),
    field("groups", 4, "[string]", list_type="atomic"),
    field(
        "usages",
        5,
        "[string]",
        enum=(
            "any",
            "cert sign",
            "client auth",
            "code signing",
            "content commitment",
            "crl sign",
            "data encipherment",
            "decipher only",
            "digital signature",
            "email protection",
            "encipher only",
            "ipsec end system",
            "ipsec tunnel",
            "ipsec user",
            "key agreement",
            "key encipherment",
            "microsoft sgc",
            "netscape sgc",
            "ocsp signing",
            "s/mime",
            "server auth",
            "signing",
            "timestamping",
        ),
        list_type="atomic",
    ),
    field("extra", 6, "{[string]}"),
    field("signerName", 7, "string", required=True),
    field("expirationSeconds", 8, "int32?"),
)
package.struct(
    "CertificateSigningRequestStatus",
    field("conditions", 1, "[CertificateSigningRequestCondition]", map_keys=("type",)),
    field("certificate", 2, "bytes"),
)
package.struct(
    "CertificateSigningRequestCondition",
    field("type", 1, "string", required=True),
    field("reason", 2, "string"),
    field("message", 3, "string"),
    field("lastUpdateTime", 4, "Time"),
    field("lastTransitionTime", 5, "Time"),
    field("status", 6, "string", required=True),
)

package.resource(
    "certificatesigningrequests",
    "CertificateSigningRequest",
    namespaced=False,
    short_names=("csr",),
    subresources=(
        subresource("approval", "CertificateSigningRequest"),
        subresource("status", "CertificateSigningRequest"),
    ),
    columns=(
        NAME_COLUMN,
        column("Age"),
        column("SignerName"),
        column("Requestor"),
        column("RequestedDuration"),
        column("Condition"),
    ),
    field_selectors=("spec.signerName",),
)
