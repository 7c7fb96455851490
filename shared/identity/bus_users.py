"""The passwords of the broker's users: one file per user, so that a node can be given its own and no other.

They are random, long and only ever compared by the broker, so they are kept as they are and not as slow hashes."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from shared.errors import SettingsError


def credentials_path(data: Path, user: str) -> Path:
    """DATA/bus/credentials/<user>.json."""
    return data / "bus" / "credentials" / f"{user}.json"


def ensure_users(data: Path, users: Iterable[str]) -> dict[str, str]:
    """user -> password for `users`; those without a file get a new password. SettingsError for an unusable file."""
    return {user: _ensure(credentials_path(data, user), user) for user in users}


def _ensure(path: Path, user: str) -> str:
    try:
        return str(json.loads(path.read_text())["password"])
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise SettingsError(f"bus credentials {path} cannot be used: {exc!r}") from exc
    password = secrets.token_urlsafe(32)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_suffix(".partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"user": user, "password": password}, file)
    partial.replace(path)
    return password
