"""What is told of an image that cannot be had."""

from types import SimpleNamespace

import pytest

from services.nodeagent.pods.pulling import pull
from services.nodeagent.pods.records import ContainerRecord
from shared.images.errors import ImageNeverPull, ImageNotFound, InvalidReference
from tests.fakes.podlife import container, pod

INVALID = (
    'Failed to apply default image tag "A:1": couldn\'t parse image name "A:1": invalid reference format: must be lower'
)


class Failing:
    """Images that are not there."""

    def __init__(self, error):
        self.error = error

    def find(self, reference):
        if isinstance(self.error, InvalidReference):
            raise self.error

    async def ensure(self, reference, policy, secrets):
        raise self.error


@pytest.mark.parametrize(
    ("error", "message", "told"),
    [
        (
            ImageNotFound("no such tag"),
            "no such tag",
            [
                ("Pulling", 'Pulling image "A:1"'),
                ("Failed", 'Failed to pull image "A:1": no such tag'),
                ("Failed", "Error: ErrImagePull"),
                ("BackOff", 'Back-off pulling image "A:1"'),
                ("Failed", "Error: ImagePullBackOff"),
            ],
        ),
        (
            InvalidReference("must be lower"),
            INVALID,
            [("InspectFailed", INVALID), ("Failed", "Error: InvalidImageName")],
        ),
        (
            ImageNeverPull(""),
            'Container image "A:1" is not present with pull policy of Never',
            [
                ("ErrImageNeverPull", 'Container image "A:1" is not present with pull policy of Never'),
                ("Failed", "Error: ErrImageNeverPull"),
            ],
        ),
    ],
)
async def test_the_reason_is_told_as_kubelet_does(error, message, told):
    events = []
    tools = SimpleNamespace(
        images=Failing(error),
        clock=lambda: 5.0,
        references=None,
        events=SimpleNamespace(pod=lambda _pod, _kind, reason, text, _name: events.append((reason, text))),
    )
    policy = "Never" if isinstance(error, ImageNeverPull) else "IfNotPresent"
    spec, record = container("c", image="A:1", imagePullPolicy=policy), ContainerRecord("c")
    assert await pull(tools, pod(spec), spec, record) is None
    assert record.pull_failure.message == message
    assert events == told
