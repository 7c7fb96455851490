"""What a pod's worker can be told to do: the whole vocabulary between deciding (pure) and doing.

Some instructions only change the record (the `apply` module carries them out), the others are effects of the worker.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Terminate:
    """The pod was deleted: begin to stop it, or shorten the time it has. `grace` in seconds."""

    grace: float


@dataclass(frozen=True, slots=True)
class EndPod:
    """The pod's own end was decided here; with a reason it has failed as a whole (DeadlineExceeded, OutOfcpu ...)."""

    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class MarkInitialized:
    """Every init container has done its part in the present sandbox."""


@dataclass(frozen=True, slots=True)
class BeginStop:
    """A container is to go. `deadline` in unix seconds; a later, earlier deadline replaces it."""

    container: str
    reason: str
    deadline: float


@dataclass(frozen=True, slots=True)
class PrepareVolumes:
    """Bring every volume into being and fill it."""


@dataclass(frozen=True, slots=True)
class CreateSandbox:
    """Make sandbox number `attempt` and its network."""

    attempt: int


@dataclass(frozen=True, slots=True)
class PullImage:
    """Make sure that the image of a container is here."""

    container: str


@dataclass(frozen=True, slots=True)
class StartContainer:
    """Start attempt number `attempt` of a container."""

    container: str
    attempt: int


@dataclass(frozen=True, slots=True)
class RunPostStart:
    container: str


@dataclass(frozen=True, slots=True)
class RunPreStop:
    container: str
    limit: float
    """Seconds left until the container is killed."""


@dataclass(frozen=True, slots=True)
class SignalContainer:
    """Send the stop signal, or SIGKILL."""

    container: str
    kill: bool


@dataclass(frozen=True, slots=True)
class ResizeContainer:
    """Give a running container the limits of the changed spec."""

    container: str


@dataclass(frozen=True, slots=True)
class SuspendContainer:
    """Freeze all processes of a container, or let them go on."""

    container: str
    frozen: bool


@dataclass(frozen=True, slots=True)
class CleanUp:
    """Remove containers, sandbox, network and volumes. Logs go only with the pod itself."""


@dataclass(frozen=True, slots=True)
class ConfirmDeletion:
    """Tell the API that nothing of the pod is left here."""


@dataclass(frozen=True, slots=True)
class SettleCheckpoint:
    """Nobody attends any more to a checkpoint that left the containers frozen: let them go on, if they may."""


@dataclass(frozen=True, slots=True)
class NoteRestored:
    """A container goes on from its checkpoint, which it needs no more."""

    container: str


Instruction = (
    Terminate
    | EndPod
    | MarkInitialized
    | BeginStop
    | PrepareVolumes
    | CreateSandbox
    | PullImage
    | StartContainer
    | RunPostStart
    | RunPreStop
    | SignalContainer
    | ResizeContainer
    | SuspendContainer
    | CleanUp
    | ConfirmDeletion
    | SettleCheckpoint
    | NoteRestored
)


def job_key(instruction: Instruction) -> str:
    """Name of the background job of an instruction, "" if it is carried out in place."""
    match instruction:
        case PrepareVolumes():
            return "volumes"
        case PullImage(container):
            return f"pull/{container}"
        case RunPostStart(container):
            return f"post-start/{container}"
        case RunPreStop(container):
            return f"pre-stop/{container}"
        case CleanUp():
            return "clean"
        case ConfirmDeletion():
            return "confirm"
        case SettleCheckpoint():
            return "settle"
        case _:
            return ""
