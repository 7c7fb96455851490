"""Where a pod runs and which of its containers is meant; what is answered when that is not clear."""

from dataclasses import dataclass

from services.apiserver.failures import bad_request
from services.apiserver.protocol import Object

KINDS = ("containers", "initContainers", "ephemeralContainers")


@dataclass(frozen=True, slots=True)
class Place:
    """A container of a pod on a node."""

    node: str
    namespace: str
    pod: str
    uid: str
    container: str = ""

    def parameters(self) -> Object:
        """What a stream to the node's agent begins with."""
        named: Object = {"namespace": self.namespace, "pod": self.pod, "uid": self.uid}
        return named | {"container": self.container} if self.container else named


def place_of(pod: Object, container: str) -> Place:
    """The container of a bound pod; BadRequest if it is ambiguous or there is none."""
    metadata, spec = pod["metadata"], pod["spec"]
    node = spec.get("nodeName", "")
    if not node:
        raise bad_request(f"pod {metadata['name']} does not have a host assigned")
    return Place(node, metadata["namespace"], metadata["name"], metadata["uid"], choose_container(pod, container))


def choose_container(pod: Object, container: str) -> str:
    """The container asked for, or the only one."""
    name, spec = pod["metadata"]["name"], pod["spec"]
    if container:
        if not any(one["name"] == container for kind in KINDS for one in spec.get(kind) or ()):
            raise bad_request(f"container {container} is not valid for pod {name}")
        return container
    names = [one["name"] for one in spec["containers"]]
    if len(names) == 1:
        return str(names[0])
    text = f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]"
    initial = [one["name"] for one in spec.get("initContainers") or ()]
    if initial:
        text += f" or one of the init containers: [{' '.join(initial)}]"
    raise bad_request(text)
