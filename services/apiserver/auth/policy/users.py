"""The default ClusterRoles for people, nodes and the parts of the cluster, in the notation of `policy.notation`.

They are those of Kubernetes 1.36, because charts and manuals bind to them by name.
"""

CLUSTER_ROLES = """
cluster-admin
    * * *
    * url *

admin  collects:admin
edit  collects:edit into:admin
view  collects:view into:edit

system:aggregate-to-admin  into:admin
    create authorization.k8s.io localsubjectaccessreviews
    read,write rbac.authorization.k8s.io roles rolebindings

system:aggregate-to-edit  into:edit
    read core pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy
    impersonate core serviceaccounts
    write core pods pods/attach pods/exec pods/portforward pods/proxy
    create core pods/eviction
    write core configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale \
secrets serviceaccounts services services/proxy
    create core serviceaccounts/token
    write apps daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale \
statefulsets statefulsets/scale
    write autoscaling horizontalpodautoscalers
    write batch cronjobs jobs
    write extensions daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies \
replicasets replicasets/scale replicationcontrollers/scale
    write policy poddisruptionbudgets
    write networking.k8s.io ingresses networkpolicies
    read,write coordination.k8s.io leases
    write resource.k8s.io resourceclaims resourceclaimtemplates

system:aggregate-to-view  into:view
    read core configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers \
replicationcontrollers/scale serviceaccounts services services/status
    read core bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status \
resourcequotas resourcequotas/status
    read core namespaces
    read discovery.k8s.io endpointslices
    read apps controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status \
replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status
    read autoscaling horizontalpodautoscalers horizontalpodautoscalers/status
    read batch cronjobs cronjobs/status jobs jobs/status
    read extensions daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses \
ingresses/status networkpolicies replicasets replicasets/scale replicasets/status replicationcontrollers/scale
    read policy poddisruptionbudgets poddisruptionbudgets/status
    read networking.k8s.io ingresses ingresses/status networkpolicies
    read resource.k8s.io resourceclaims resourceclaims/status resourceclaimtemplates

system:auth-delegator
    create authentication.k8s.io tokenreviews
    create authorization.k8s.io subjectaccessreviews

system:basic-user
    create authorization.k8s.io selfsubjectaccessreviews selfsubjectrulesreviews
    create authentication.k8s.io selfsubjectreviews

system:certificates.k8s.io:certificatesigningrequests:nodeclient
    create certificates.k8s.io certificatesigningrequests/nodeclient

system:certificates.k8s.io:certificatesigningrequests:selfnodeclient
    create certificates.k8s.io certificatesigningrequests/selfnodeclient

system:certificates.k8s.io:kube-apiserver-client-approver
    approve certificates.k8s.io signers = kubernetes.io/kube-apiserver-client

system:certificates.k8s.io:kube-apiserver-client-kubelet-approver
    approve certificates.k8s.io signers = kubernetes.io/kube-apiserver-client-kubelet

system:certificates.k8s.io:kubelet-serving-approver
    approve certificates.k8s.io signers = kubernetes.io/kubelet-serving

system:certificates.k8s.io:legacy-unknown-approver
    approve certificates.k8s.io signers = kubernetes.io/legacy-unknown

system:discovery
    get url /api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/

system:heapster
    read core events namespaces nodes pods
    read extensions deployments

system:kube-aggregator
    read core endpoints services

system:kube-controller-manager
    record core,events.k8s.io events
    create coordination.k8s.io leases
    get,update coordination.k8s.io leases = kube-controller-manager
    create core secrets serviceaccounts
    delete core secrets
    get core configmaps namespaces secrets serviceaccounts
    update core secrets serviceaccounts
    create authentication.k8s.io tokenreviews
    create authorization.k8s.io subjectaccessreviews
    list,watch * *
    create core serviceaccounts/token

system:kube-dns
    list,watch core endpoints services

system:kube-scheduler
    record core,events.k8s.io events
    create,list,watch coordination.k8s.io leases
    get,update coordination.k8s.io leases = kube-scheduler
    read core nodes
    delete,get,list,watch core pods
    create core bindings pods/binding
    patch,update core pods/status
    read core replicationcontrollers services
    read apps,extensions replicasets
    read apps statefulsets
    read policy poddisruptionbudgets
    read core persistentvolumeclaims persistentvolumes
    create authentication.k8s.io tokenreviews
    create authorization.k8s.io subjectaccessreviews
    read storage.k8s.io csinodes
    read core namespaces
    read storage.k8s.io csidrivers
    read storage.k8s.io csistoragecapacities
    read storage.k8s.io volumeattachments
    read resource.k8s.io deviceclasses
    patch,update resource.k8s.io resourceclaims
    patch,update resource.k8s.io resourceclaims/status
    read resource.k8s.io resourceclaims
    read resource.k8s.io resourceslices
    patch,update core pods/finalizers

system:kubelet-api-admin
    read core nodes
    proxy core nodes
    * core nodes/configz nodes/healthz nodes/log nodes/metrics nodes/pods nodes/proxy nodes/stats

system:monitoring
    get url /healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*

system:node
    create authentication.k8s.io tokenreviews
    create authorization.k8s.io localsubjectaccessreviews subjectaccessreviews
    read core services
    create,get,list,watch core nodes
    patch,update core nodes/status
    patch,update core nodes
    record core events
    read core pods
    create,delete core pods
    patch,update core pods/status
    create core pods/eviction
    read core configmaps secrets
    get core persistentvolumeclaims persistentvolumes
    get core endpoints
    create,get,list,watch certificates.k8s.io certificatesigningrequests
    create,delete,get,patch,update coordination.k8s.io leases
    get storage.k8s.io volumeattachments
    create core serviceaccounts/token
    get core serviceaccounts
    get,patch,update core persistentvolumeclaims/status
    read storage.k8s.io csidrivers
    create,delete,get,patch,update storage.k8s.io csinodes
    read node.k8s.io runtimeclasses
    get resource.k8s.io resourceclaims
    create,delete,deletecollection,get,list,patch,update,watch resource.k8s.io resourceslices

system:node-bootstrapper
    create,get,list,watch certificates.k8s.io certificatesigningrequests

system:node-problem-detector
    get core nodes
    patch core nodes/status
    record core,events.k8s.io events

system:node-proxier
    list,watch core endpoints services
    read core nodes
    record core,events.k8s.io events
    list,watch discovery.k8s.io endpointslices
    read networking.k8s.io servicecidrs

system:persistent-volume-provisioner
    create,delete,get,list,watch core persistentvolumes
    get,list,update,watch core persistentvolumeclaims
    read storage.k8s.io storageclasses
    watch core events
    record core,events.k8s.io events

system:public-info-viewer
    get url /healthz /livez /readyz /version /version/

system:service-account-issuer-discovery
    get url /.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/

system:volume-scheduler
    get,list,patch,update,watch core persistentvolumes
    read storage.k8s.io storageclasses
    get,list,patch,update,watch core persistentvolumeclaims
"""

CLUSTER_BINDINGS = """
cluster-admin  Group/system:masters
system:basic-user  Group/system:authenticated
system:discovery  Group/system:authenticated
system:kube-controller-manager  User/system:kube-controller-manager
system:kube-dns  ServiceAccount/kube-system/kube-dns
system:kube-scheduler  User/system:kube-scheduler
system:monitoring  Group/system:monitoring
system:node
system:node-proxier  User/system:kube-proxy
system:public-info-viewer  Group/system:authenticated Group/system:unauthenticated
system:service-account-issuer-discovery  Group/system:serviceaccounts
system:volume-scheduler  User/system:kube-scheduler
"""

ROLES = """
kube-system/extension-apiserver-authentication-reader
    read core configmaps = extension-apiserver-authentication

kube-system/system::leader-locking-kube-controller-manager
    watch core configmaps
    get,update core configmaps = kube-controller-manager
    create,get,list,update,watch coordination.k8s.io leases

kube-system/system::leader-locking-kube-scheduler
    watch core configmaps
    get,update core configmaps = kube-scheduler

kube-system/system:controller:bootstrap-signer
    read core secrets

kube-system/system:controller:cloud-provider
    create,get,list,watch core configmaps

kube-system/system:controller:token-cleaner
    delete,get,list,watch core secrets
    record core,events.k8s.io events

kube-public/system:controller:bootstrap-signer
    read core configmaps
    update core configmaps = cluster-info
    record core,events.k8s.io events
"""

# the binding's own name follows `as:` where it is not the role's
BINDINGS = """
kube-system/extension-apiserver-authentication-reader  as:system::extension-apiserver-authentication-reader \
User/system:kube-controller-manager User/system:kube-scheduler
kube-system/system::leader-locking-kube-controller-manager  User/system:kube-controller-manager \
ServiceAccount/kube-system/kube-controller-manager ServiceAccount/kube-system/leader-election-controller
kube-system/system::leader-locking-kube-scheduler  User/system:kube-scheduler \
ServiceAccount/kube-system/kube-scheduler
kube-system/system:controller:bootstrap-signer  ServiceAccount/kube-system/bootstrap-signer
kube-system/system:controller:cloud-provider  ServiceAccount/kube-system/cloud-provider
kube-system/system:controller:token-cleaner  ServiceAccount/kube-system/token-cleaner
kube-public/system:controller:bootstrap-signer  ServiceAccount/kube-system/bootstrap-signer
"""
