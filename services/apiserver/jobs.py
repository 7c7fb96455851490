"""The selector that a Job gets at creation, so that it finds its own pods and no others (batch/v1 JobSpec.selector)."""

from services.apiserver.protocol import Object

PREFIX = "batch.kubernetes.io/"


def generate_selector(job: Object) -> None:
    """Label the template with the job's identity and select by its uid, unless manualSelector is set; in place."""
    spec, metadata = job.get("spec"), job["metadata"]
    if not isinstance(spec, dict) or spec.get("manualSelector"):
        return
    template = spec.get("template")
    if not isinstance(template, dict):
        return
    labels = template.setdefault("metadata", {}).setdefault("labels", {})
    uid, name = metadata["uid"], metadata["name"]
    # the unprefixed labels are kept for clients of before 1.27
    for label, value in (("controller-uid", uid), ("job-name", name)):
        labels[label] = value
        labels[PREFIX + label] = value
    if not metadata.get("labels"):
        # a Job without labels takes those of its template, these among them
        metadata["labels"] = dict(labels)
    selector = spec.setdefault("selector", {})
    selector.setdefault("matchLabels", {})[f"{PREFIX}controller-uid"] = uid
