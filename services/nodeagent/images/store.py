"""The node's image store: asked for a reference, answers with unpacked layers.

Why the event loop decides and threads only fetch: every question of the form "is it there, who needs it, may it go" is
answered in one place without locks; downloading, hashing and unpacking run in a few worker threads.
"""

import asyncio
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from services.nodeagent.images import collection, parents, paths, pull
from services.nodeagent.images.collection import Candidate, Plan, Removal, Thresholds
from services.nodeagent.images.directory import ImageDirectory, layer_name, now
from services.nodeagent.images.flights import Flights
from services.nodeagent.images.model import Image, Layer, Policy, Progress, ProgressCallback, Record, Registries
from services.nodeagent.images.pull import Resolved
from shared.images import credentials, digests, references
from shared.images.client import Repository
from shared.images.credentials import Credential
from shared.images.endpoint import Endpoint, is_plain
from shared.images.errors import (
    ImageDenied,
    ImageError,
    ImageNeverPull,
    ImageNotFound,
    InvalidReference,
    RegistryUnavailable,
)
from shared.images.manifests import Descriptor, Platform
from shared.images.references import Reference

log = logging.getLogger(__name__)
T = TypeVar("T")
Images = list[Image]
Names = list[str]
Auth = Mapping[str, object] | Sequence[Mapping[str, object]] | None
"""One Docker config (parsed JSON) or several, as from a pod's imagePullSecrets."""
WORKERS = 4
"""Downloads at the same time on one node; unpacking is bound by the interpreter anyway."""
PROGRESS_STEP = 1 << 20
"""Bytes of a layer between two progress reports."""


class ImageStore:
    """Images below one directory. Create it inside the event loop that uses it; `close` ends its threads."""

    def __init__(self, root: Path, registries: Registries | None = None) -> None:
        self.registries = registries or Registries(cluster=os.environ.get("WHERRY_REGISTRY", ""))
        self._directory = ImageDirectory(Path(root))
        self._executor = ThreadPoolExecutor(WORKERS, thread_name_prefix="image")
        self._pulls: Flights[Image] = Flights()
        self._fetches: Flights[Layer] = Flights()
        self._busy: Counter[str] = Counter()
        self._holders: dict[str, set[str]] = {}
        self._platform = Platform.local()
        self._records = {r.reference: r for r in self._directory.records() if self._complete(r)}

    def close(self) -> None:
        """Stop the worker threads; downloads that run are abandoned and start anew another time."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def ensure(
        self,
        reference: str,
        policy: Policy = "IfNotPresent",
        auth: Auth = None,
        progress: ProgressCallback | None = None,
    ) -> Image:
        """The image `reference` names, pulled if the policy (Container.imagePullPolicy) asks for it.

        `progress` is called in the event loop. Raises the subclasses of ImageError listed in shared/images/errors.py;
        their `reason` is the container's waiting reason.
        """
        if policy not in ("Always", "IfNotPresent", "Never"):
            raise InvalidReference(f"image pull policy {policy!r} is not Always, IfNotPresent or Never")
        if (local := self._local(reference)) is not None and (policy != "Always" or local.reference == local.id):
            return self._use(reference, local)
        if policy == "Never":
            raise ImageNeverPull(f"image {reference} is not on the node and its pull policy is Never")
        wanted = references.candidates(references.parse(reference), self.registries.cluster)
        key = f"{reference}\0{policy}\0{hash(repr(auth))}"
        return await self._pulls.share(key, partial(self._pull, reference, wanted, auth, progress))

    def find(self, reference: str) -> Image | None:
        """The image if it is on the node, without touching a registry or its time of last use."""
        record = self._local(reference)
        return self._image(reference, record) if record else None

    def list(self) -> Images:
        """All images, one entry for each id, sorted by their first name."""
        by_id: dict[str, Record] = {}
        for record in sorted(self._records.values(), key=lambda r: r.reference):
            by_id.setdefault(record.id, record)
        return [image for r in by_id.values() if (image := self._image(r.reference, r)) is not None]

    def hold(self, image_id: str, holder: str) -> None:
        """Say that `holder` (a container id) uses the image; held images are never removed."""
        self._holders.setdefault(image_id, set()).add(holder)

    def release(self, holder: str) -> None:
        """Undo every `hold` of this holder; an unknown one is fine."""
        for image_id, holders in list(self._holders.items()):
            if holder in holders:
                holders.discard(holder)
                for record in [r for r in self._records.values() if r.id == image_id]:
                    self._store(replace(record, last_used=now()))
            if not holders:
                del self._holders[image_id]

    def pin(self, reference: str, pinned: bool = True) -> None:
        """Protect a name from garbage collection, for good. Raises ImageNotFound."""
        record = self._local(reference)
        if record is None:
            raise ImageNotFound(f"image {reference} is not on the node")
        self._store(replace(record, pinned=pinned))

    async def remove(self, reference: str) -> Names:
        """Remove a name, or all names of an id, and the layers nobody else needs. Returns the names removed.

        Raises ImageNotFound, or ImageError while a container uses the image and this is its last name.
        """
        record = self._local(reference)
        if record is None:
            raise ImageNotFound(f"image {reference} is not on the node")
        names = sorted(r.reference for r in self._records.values() if r.id == record.id)
        gone = names if digests.is_digest(reference) else [record.reference]
        if self._holders.get(record.id) and set(gone) == set(names):
            raise ImageError(f"image {reference} is in use by {', '.join(sorted(self._holders[record.id]))}")
        for name in gone:
            del self._records[name]
            self._directory.drop_record(name)
        await self._sweep()
        return gone

    async def collect(self, thresholds: Thresholds | None = None) -> Plan:
        """Remove unused images if the disk is too full; what was removed and why is in the plan."""
        used, capacity = self._directory.usage()
        candidates = []
        for image in self.list():
            layers = tuple(path.name for path in image.layers)
            busy = image.in_use or any(self._busy[name] for name in layers)
            names = tuple(image.references)
            candidates.append(Candidate(image.id, names, layers, image.last_used, image.pinned, busy))
        sizes = {name: layer.size for name in self._directory.layers() if (layer := self._directory.layer(name))}
        plan = collection.decide(candidates, sizes, used, capacity, thresholds or Thresholds(), now())
        for removal in plan.removals:
            self._drop(removal)
        await self._sweep()
        return plan

    def usage(self) -> tuple[int, int]:
        """(used, capacity) of the file system that holds the images, in bytes."""
        return self._directory.usage()

    async def _pull(
        self, reference: str, wanted: Sequence[Reference], auth: Auth, progress: ProgressCallback | None
    ) -> Image:
        misses: list[str] = []
        for candidate in wanted:
            for credential in self._credentials(candidate, auth):
                plain = is_plain(candidate.registry, self.registries.cluster)
                plain = plain or candidate.registry in self.registries.insecure
                endpoint = Endpoint(candidate.registry, plain, credential, self.registries.timeout)
                try:
                    return await self._pull_from(endpoint, reference, candidate, progress)
                except (ImageNotFound, ImageDenied) as exc:
                    misses.append(str(exc))
                except RegistryUnavailable as exc:
                    raise RegistryUnavailable("; ".join([*misses, str(exc)])) from exc
                finally:
                    endpoint.close()
        raise ImageNotFound(f"image {reference}: {'; '.join(misses)}")

    async def _pull_from(
        self, endpoint: Endpoint, reference: str, candidate: Reference, progress: ProgressCallback | None
    ) -> Image:
        repository = Repository(endpoint, candidate.repository)
        known = self._records.get(str(candidate))
        if known is not None:
            digest = await self._in_thread(lambda _: repository.manifest_digest(candidate.version))
            if digest == known.digest and self._complete(known):
                return self._use(reference, known)
        resolved = await self._in_thread(lambda _: pull.resolve(repository, candidate.version, self._platform))
        wanted = {layer_name(diff): (descriptor, diff) for descriptor, diff in resolved.layers}
        with self._protect(wanted):
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = {}
                    for name, (descriptor, diff) in wanted.items():
                        work = self._layer(repository, descriptor, diff, reference, progress)
                        tasks[name] = group.create_task(work, name=f"layer {descriptor.digest}")
            except ExceptionGroup as exc:
                raise exc.exceptions[0] from None
            # a layer may occur twice; overlayfs refuses that, and only the upper occurrence can be seen
            order = list(dict.fromkeys(reversed([layer_name(diff) for _, diff in resolved.layers])))[::-1]
            return await self._assemble(reference, candidate, resolved, [tasks[name].result() for name in order])

    async def _layer(
        self,
        repository: Repository,
        descriptor: Descriptor,
        diff_id: str,
        reference: str,
        progress: ProgressCallback | None,
    ) -> Layer:
        def report(phase: str, done: int) -> None:
            if progress:
                progress(Progress(reference, descriptor.digest, done, descriptor.size, phase))

        async def fetch() -> Layer:
            if (layer := self._directory.layer(layer_name(diff_id))) is not None:
                report("exists", descriptor.size)
                return layer
            passed = _reporter(asyncio.get_running_loop(), partial(report, "downloading"))
            layer = await self._in_thread(
                lambda cancelled: pull.fetch_layer(repository, descriptor, diff_id, self._directory, cancelled, passed)
            )
            report("unpacked", descriptor.size)
            return layer

        return await self._fetches.share(diff_id, fetch)

    async def _assemble(
        self, reference: str, candidate: Reference, resolved: Resolved, layers: Sequence[Layer]
    ) -> Image:
        names = await self._in_thread(lambda _: self._stack(layers))
        directory = self._directory
        await self._in_thread(lambda _: directory.put_document(resolved.config_data))
        await self._in_thread(lambda _: directory.put_document(resolved.document.data))
        known = self._records.get(str(candidate))
        stamp = now()
        record = Record(
            str(candidate),
            resolved.manifest.config.digest,
            resolved.digest,
            tuple(names),
            sum(layer.size for layer in layers),
            stamp,
            stamp,
            known.pinned if known else False,
        )
        self._store(record)
        return self._use(reference, record)

    def _stack(self, layers: Sequence[Layer]) -> Names:
        """Names of the layer directories, bottom first, with extra ones for implicit directories (parents.py)."""
        names: Names = []
        for layer in layers:
            lower = [self._directory.layer_path(name) for name in names]
            names.append(layer.name)
            path = self._directory.layer_path(layer.name)
            if layer.implicit and (attributes := parents.wanted(path, layer.implicit, lower)):
                name = parents.name_of(layer, attributes)
                if self._directory.layer(name) is None:
                    work = self._directory.temporary()
                    work.mkdir(mode=0o755)
                    parents.build(work, path, attributes)
                    self._directory.commit_layer(work, Layer(name, layer.diff_id, 0))
                names.append(name)
        return names

    def _credentials(self, candidate: Reference, auth: Auth) -> Sequence[Credential | None]:
        configs = [auth] if isinstance(auth, Mapping) else list(auth or ())
        if self.registries.auth:
            configs.append(self.registries.auth)
        found = [credentials.find(config, candidate.registry, candidate.repository) for config in configs]
        return tuple(dict.fromkeys(c for c in found if c is not None)) or (None,)

    def _local(self, reference: str) -> Record | None:
        if digests.is_digest(reference):
            return next((r for r in self._records.values() if reference in (r.id, r.digest)), None)
        for candidate in references.candidates(references.parse(reference), self.registries.cluster):
            record = self._records.get(str(candidate))
            if record is not None and self._complete(record):
                return record
        return None

    def _complete(self, record: Record) -> bool:
        layers = all(self._directory.layer(name) for name in record.layers)
        return layers and self._directory.config(record.id) is not None

    def _image(self, reference: str, record: Record) -> Image | None:
        config = self._directory.config(record.id)
        if config is None:
            return None
        same = [r for r in self._records.values() if r.id == record.id]
        return Image(
            reference,
            record.id,
            record.digest,
            [self._directory.layer_path(name) for name in record.layers],
            config,
            record.size,
            sorted(r.reference for r in same),
            max((r.last_used for r in same), default=record.last_used),
            any(r.pinned for r in same),
            bool(self._holders.get(record.id)),
        )

    def _use(self, reference: str, record: Record) -> Image:
        record = replace(record, last_used=now())
        self._store(record)
        image = self._image(reference, record)
        if image is None:
            raise ImageError(f"image {reference}: configuration {record.id} disappeared from the node")
        return image

    def _store(self, record: Record) -> None:
        self._records[record.reference] = record
        self._directory.put_record(record)

    def _drop(self, removal: Removal) -> None:
        log.info("removing image %s (%s): %s", removal.id, ", ".join(removal.references), removal.reason)
        for name in removal.references:
            self._records.pop(name, None)
            self._directory.drop_record(name)

    async def _sweep(self) -> None:
        """Remove layers and documents that no name and no pull needs."""
        needed = {name for record in self._records.values() for name in record.layers}
        graves = [
            self._directory.discard_layer(name)
            for name in self._directory.layers()
            if name not in needed and not self._busy[name] and not (name.startswith("p") and self._busy)
        ]
        if not self._busy:
            self._directory.drop_documents({d for r in self._records.values() for d in (r.id, r.digest)})
        for grave in graves:
            await self._in_thread(partial(_remove, grave))

    @contextmanager
    def _protect(self, names: Mapping[str, object]) -> Iterator[None]:
        """Keep layers of a running pull from being swept before its name exists."""
        self._busy.update(names.keys())
        try:
            yield
        finally:
            self._busy.subtract(names.keys())
            self._busy = +self._busy

    async def _in_thread(self, work: Callable[[threading.Event], T]) -> T:
        cancelled = threading.Event()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work, cancelled)
        except asyncio.CancelledError:
            cancelled.set()
            raise


def _remove(path: Path, _: threading.Event) -> None:
    paths.remove_tree(path)


def _reporter(loop: asyncio.AbstractEventLoop, report: Callable[[int], None]) -> Callable[[int], None]:
    """Called in a worker thread with a byte count; reports in the loop, once per PROGRESS_STEP."""
    last = 0

    def passed(count: int) -> None:
        nonlocal last
        if count - last >= PROGRESS_STEP:
            last = count
            loop.call_soon_threadsafe(report, count)

    return passed
