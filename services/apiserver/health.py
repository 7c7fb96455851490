"""/livez, /readyz and /healthz: one line for machines, with ?verbose a line for each check."""

from collections.abc import Callable, Mapping

from services.apiserver.failures import unknown_path
from services.apiserver.protocol import Outcome, Raw, Request

TEXT = "text/plain; charset=utf-8"
Check = Callable[[], bool]


class Health:
    """The checks of this process; readiness has them all, liveness only `ping`: a restart cures no broken bus."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = dict(checks)

    def serve(self, request: Request) -> Outcome | None:
        """The answer at a health path; None if the path is none."""
        root, _, single = request.path.strip("/").partition("/")
        if root not in ("livez", "readyz", "healthz"):
            return None
        checks: dict[str, Check] = {"ping": lambda: True}
        if root != "livez":
            checks |= self._checks
        if single:
            if single not in checks:
                raise unknown_path()
            checks = {single: checks[single]}
        excluded = request.query.all("exclude")
        results = {name: name in excluded or check() for name, check in checks.items()}
        passed = all(results.values())
        if passed and "verbose" not in request.query:
            return Raw(b"ok", TEXT)
        lines = [f"[+]{name} ok" if good else f"[-]{name} failed: reason withheld" for name, good in results.items()]
        lines.append(f"{root} check {'passed' if passed else 'failed'}")
        return Raw("".join(f"{line}\n" for line in lines).encode(), TEXT, 200 if passed else 500)
