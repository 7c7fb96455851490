"""The labels of a namespace -> what is enforced, audited and warned about, and what is wrong with them."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from shared.objects.validation import Cause

PREFIX = "pod-security.kubernetes.io/"
PRIVILEGED, BASELINE, RESTRICTED = "privileged", "baseline", "restricted"
LEVELS = (PRIVILEGED, BASELINE, RESTRICTED)
MODES = ("enforce", "audit", "warn")
LATEST = "latest"
LATEST_MINOR = 1 << 30
_VERSION = re.compile(r"v1\.([0-9]|[1-9][0-9]*)", re.ASCII)
VERSION_WRONG = 'must be "latest" or "v1.x"'
LEVEL_WRONG = f"must be one of {', '.join(LEVELS)}"


class Demand(NamedTuple):
    """A level and the version of the standards it is meant in."""

    level: str = PRIVILEGED
    version: str = LATEST

    @property
    def minor(self) -> int:
        """The minor version; the latest is above all."""
        match = _VERSION.fullmatch(self.version)
        return int(match[1]) if match else LATEST_MINOR

    def __str__(self) -> str:
        return f"{self.level}:{self.version}"


class Policy(NamedTuple):
    """What a namespace demands of its pods."""

    enforce: Demand = Demand()
    audit: Demand = Demand()
    warn: Demand = Demand()


NOTHING = Policy()


def is_labelled(labels: Mapping[str, str]) -> bool:
    """Whether a namespace says anything about pod security."""
    return any(name.startswith(PREFIX) for name in labels)


def policy_of(labels: Mapping[str, str]) -> Policy:
    """The policy of a namespace. What cannot be understood is enforced as restricted, and not warned about."""
    demands = {}
    for mode in MODES:
        level, version = labels.get(PREFIX + mode), labels.get(f"{PREFIX}{mode}-version")
        strict = RESTRICTED if mode == "enforce" else PRIVILEGED
        known = level if level in LEVELS else PRIVILEGED if level is None else strict
        demands[mode] = Demand(known, version if version and _is_version(version) else LATEST)
    if "warn" not in _modes(labels) and _stricter(demands["enforce"], demands["warn"]):
        # whoever enforces also wants to be told about templates that will fail (KEP-2579, defaulting of warn)
        demands["warn"] = demands["enforce"]
    return Policy(**demands)


def problems(labels: Mapping[str, str]) -> list[Cause]:
    """What is wrong with the labels of a namespace."""
    found = []
    for mode in MODES:
        level, version = labels.get(PREFIX + mode), labels.get(f"{PREFIX}{mode}-version")
        if level is not None and level not in LEVELS:
            found.append(_wrong(PREFIX + mode, level, LEVEL_WRONG))
        if version is not None and not _is_version(version):
            found.append(_wrong(f"{PREFIX}{mode}-version", version, VERSION_WRONG))
    return found


def _modes(labels: Mapping[str, str]) -> set[str]:
    return {mode for mode in MODES if PREFIX + mode in labels}


def _stricter(one: Demand, other: Demand) -> bool:
    return LEVELS.index(one.level) > LEVELS.index(other.level)


def _is_version(text: str) -> bool:
    return text == LATEST or _VERSION.fullmatch(text) is not None


def _wrong(label: str, value: str, why: str) -> Cause:
    return Cause("FieldValueInvalid", f'Invalid value: "{value}": {why}', f"metadata.labels[{label}]")
