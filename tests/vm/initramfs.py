"""The guest's initial file system: busybox, the few modules that reach the host's root, and `init`.

Format: a "newc" cpio archive, documented in the kernel's early-userspace/buffer-format.rst; the kernel takes it
uncompressed as well.
"""

from __future__ import annotations

import lzma
import stat
from pathlib import Path

MODULES = ("9pnet_virtio", "9p", "overlay")


def build(kernel_modules: Path, init: Path, busybox: Path) -> bytes:
    """The archive. `kernel_modules` is lib/modules/<release> with a modules.dep as depmod(8) writes it."""
    entries: list[tuple[str, int, bytes]] = [
        ("bin", stat.S_IFDIR | 0o755, b""),
        ("modules", stat.S_IFDIR | 0o755, b""),
        ("bin/busybox", stat.S_IFREG | 0o755, busybox.read_bytes()),
        ("init", stat.S_IFREG | 0o755, init.read_bytes()),
    ]
    for position, path in enumerate(load_order((kernel_modules / "modules.dep").read_text())):
        data = (kernel_modules / path).read_bytes()
        name = Path(path).name
        if name.endswith(".xz"):
            name, data = name.removesuffix(".xz"), lzma.decompress(data)
        entries.append((f"modules/{position:02}-{name}", stat.S_IFREG | 0o644, data))
    archive = b"".join(entry(number, *item) for number, item in enumerate(entries, 1))
    return archive + entry(0, "TRAILER!!!", 0, b"")


def load_order(dependencies: str) -> list[str]:
    """The files of MODULES and of what they need, each after what it needs. KeyError if the kernel lacks one."""
    needs = {path: rest.split() for path, _, rest in (line.partition(":") for line in dependencies.splitlines())}
    paths = {Path(path).name.partition(".")[0]: path for path in needs}
    order: list[str] = []
    for name in MODULES:
        path = paths[name]
        order += [needed for needed in (*reversed(needs[path]), path) if needed not in order]
    return order


def entry(number: int, name: str, mode: int, data: bytes) -> bytes:
    """One file of the archive: header, name and data, each padded to four bytes."""
    encoded = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    header = b"070701" + b"".join(f"{value:08X}".encode() for value in fields)
    return _padded(header + encoded) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
