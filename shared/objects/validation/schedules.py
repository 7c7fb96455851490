"""CronJobs: the schedule in the five fields of cron, the time zone, and the job that is made each time.

The schedule's grammar and complaints are those of robfig/cron's standard parser, which Kubernetes uses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from shared.objects.validation import batch, metadata
from shared.objects.validation.causes import Cause, invalid, not_negative, one_of, required

Object = Mapping[str, Any]

MAX_NAME = 52
"""A job's name is that of its CronJob and eleven characters of its time, and must itself be a label."""

_DESCRIPTORS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_EVERY = "@every "
_DURATION = re.compile(r"[-+]?(?:\d+(?:\.\d*)?(?:ns|us|µs|ms|s|m|h))+", re.ASCII)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


class _Bounds(NamedTuple):
    low: int
    high: int
    names: tuple[str, ...] = ()


_FIELDS = (_Bounds(0, 59), _Bounds(0, 23), _Bounds(1, 31), _Bounds(1, 12, _MONTHS), _Bounds(0, 6, _DAYS))


def cron_job(obj: Object) -> list[Cause]:
    spec = obj.get("spec") or {}
    found = _name((obj.get("metadata") or {}).get("name", ""))
    found += _schedule(spec.get("schedule", ""))
    found += not_negative("spec.startingDeadlineSeconds", spec.get("startingDeadlineSeconds"))
    found += _time_zone(spec.get("timeZone"))
    found += one_of("spec.concurrencyPolicy", spec.get("concurrencyPolicy", ""), ("Allow", "Forbid", "Replace"))
    for key in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        found += not_negative(f"spec.{key}", spec.get(key))
    return found + _job_template("spec.jobTemplate", spec.get("jobTemplate") or {})


def _name(name: str) -> list[Cause]:
    if len(name) <= MAX_NAME:
        return []
    return [invalid("metadata.name", name, f"must be no more than {MAX_NAME} characters")]


def _job_template(at: str, template: Object) -> list[Cause]:
    head, spec = template.get("metadata") or {}, template.get("spec") or {}
    found = metadata.labels(f"{at}.metadata.labels", head.get("labels"))
    found += metadata.annotations(f"{at}.metadata.annotations", head.get("annotations"))
    if spec.get("selector") is not None:
        found.append(invalid(f"{at}.spec.selector", spec["selector"], "`selector` will be auto-generated"))
    if spec.get("manualSelector"):
        found.append(
            Cause(
                "FieldValueNotSupported",
                'Unsupported value: true: supported values: "nil", "false"',
                f"{at}.spec.manualSelector",
            )
        )
    return found + [one._replace(field=f"spec.jobTemplate.{one.field}") for one in batch.job_spec(spec)]


def _time_zone(name: str | None) -> list[Cause]:
    at = "spec.timeZone"
    if name is None:
        return []
    if not name:
        return [invalid(at, name, "timeZone must be nil or non-empty string")]
    if name.lower() == "local":
        return [
            invalid(at, name, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")
        ]
    # the time zone database, which only the rare jobs with a zone ask for
    import zoneinfo

    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return [invalid(at, name, f"unknown time zone {name}")]
    return []


def _schedule(schedule: str) -> list[Cause]:
    at = "spec.schedule"
    if not schedule:
        return [required(at)]
    if "TZ" in schedule:
        return [invalid(at, schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")]
    complaint = _complaint(schedule)
    return [invalid(at, schedule, complaint)] if complaint else []


def _complaint(schedule: str) -> str:
    """The first thing wrong with a schedule; "" if it can be read."""
    if schedule.startswith("@"):
        return _descriptor(schedule)
    fields = schedule.split()
    if len(fields) != len(_FIELDS):
        return f"expected exactly {len(_FIELDS)} fields, found {len(fields)}: [{' '.join(fields)}]"
    for text, bounds in zip(fields, _FIELDS, strict=True):
        for part in filter(None, text.split(",")):
            complaint = _range(part, bounds)
            if complaint:
                return complaint
    return ""


def _descriptor(text: str) -> str:
    if text in _DESCRIPTORS:
        return ""
    if text.startswith(_EVERY):
        duration = text.removeprefix(_EVERY)
        return "" if _DURATION.fullmatch(duration) else f"failed to parse duration {text}"
    return f"unrecognized descriptor: {text}"


def _range(text: str, bounds: _Bounds) -> str:
    base, slash, step = text.partition("/")
    first, dash, last = base.partition("-")
    if "/" in step:
        return f"too many slashes: {text}"
    if first in ("*", "?"):
        start, end = bounds.low, bounds.high
    elif "-" in last:
        return f"too many hyphens: {text}"
    else:
        low = _number(first, bounds.names, bounds.low)
        high = _number(last, bounds.names, bounds.low) if dash else low
        if isinstance(low, str):
            return low
        if isinstance(high, str):
            return high
        start, end = low, bounds.high if slash and not dash else high
    width = _number(step, (), 0) if slash else 1
    if isinstance(width, str):
        return width
    if start < bounds.low:
        return f"beginning of range ({start}) below minimum ({bounds.low}): {text}"
    if end > bounds.high:
        return f"end of range ({end}) above maximum ({bounds.high}): {text}"
    if start > end:
        return f"beginning of range ({start}) beyond end of range ({end}): {text}"
    return "" if width else f"step of range should be a positive number: {text}"


def _number(text: str, names: tuple[str, ...], base: int) -> int | str:
    """A number, or the complaint about it; names of months count from one, those of days from zero."""
    if text.lower() in names:
        return names.index(text.lower()) + base
    if not re.fullmatch(r"[-+]?[0-9]+", text, re.ASCII):
        return f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax'
    value = int(text)
    return value if value >= 0 else f"negative number ({value}) not allowed: {text}"
