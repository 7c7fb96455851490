"""A small virtual machine for what this machine's kernel cannot show: pure cgroup v2, all capabilities, systemd, criu.

Its root is this machine's, read-only, with a layer of memory on top, so the tests in it are those of this tree. qemu
emulates every instruction, hence no hardware support is needed and Python is about twenty times slower.
"""

from __future__ import annotations

import compileall
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.vm import initramfs

HERE = Path(__file__).parent
TREE = HERE.parent.parent
KERNEL = TREE / ".cache/vm/kernel"
PACKAGES = TREE / ".cache/vm/packages"
SLOWNESS = 20
# far more than any selection takes, so that only a guest that hangs meets it, on the busiest machine
LIMIT_S = 1800.0
# Nehalem: what Debian's programs need and nothing that is costly to emulate
OPTIONS = (
    *("-M", "pc", "-cpu", "Nehalem-v1", "-accel", "tcg,thread=single", "-m", "2048"),
    *("-nic", "none", "-display", "none", "-no-reboot"),
)
PARAMETERS = "console=ttyS0 quiet panic=-1 mitigations=off nokaslr no_timer_check cgroup_no_v1=all psi=1 rdinit=/init"
# what tests/tools has unpacked and not installed, to be run in the guest; Debian's root has links where packages have
# directories (usrmerge)
WITH_PACKAGES = f"tar -C {PACKAGES} -c . | tar -C / -x --keep-directory-symlink; ldconfig"
SYSTEMD = "systemd.unit=vm.service systemd.show_status=0"
# as a machine boots that has services; what the guest has no use for is left out
BOOT = (
    "systemd.unit=multi-user.target systemd.wants=vm.service systemd.show_status=0 fsck.mode=skip "
    "systemd.mask=systemd-udevd.service systemd.mask=systemd-udev-trigger.service systemd.mask=systemd-logind.service "
    "systemd.mask=systemd-journal-flush.service systemd.mask=getty.target systemd.mask=systemd-timesyncd.service "
    "systemd.mask=dbus.socket systemd.mask=dbus.service"
)
DISK_BYTES = 2 << 30
# what the guest writes into its control directory when its power is to fail
CUT = "cut"
CUT_INTERVAL_S = 0.1


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the command ended; `status` is None if the machine ended before it."""

    status: int | None
    log: str
    console: str

    def explain(self) -> str:
        ending = "the guest ended before the command" if self.status is None else f"exit status {self.status}"
        console = f"\nconsole of the guest:\n{self.console[-3000:]}" if self.status is None else ""
        return f"{ending}\n{self.log}{console}"


def missing() -> str:
    """Why no guest can be started here, in one sentence, or ""."""
    if platform.machine() != "x86_64":
        return f"the virtual machine of the tests is made for x86_64, and this is {platform.machine()}"
    if os.geteuid() != 0:
        return "the virtual machine of the tests reads all of this machine's root, so only root can start it"
    for program in ("qemu-system-x86_64", "busybox", "depmod", "setpriv"):
        if shutil.which(program) is None:
            return f"the virtual machine of the tests needs {program}: tests/tools installs it"
    if not list(KERNEL.glob("boot/vmlinuz-*")):
        return f"the virtual machine of the tests needs a kernel in {KERNEL}: tests/tools fetches it"
    if not PACKAGES.exists():
        return f"the virtual machine of the tests needs programs in {PACKAGES}: tests/tools fetches them"
    return ""


class Machine:
    """Starts guests, one at a time; `directory` holds what is made for them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._kernel = next(KERNEL.glob("boot/vmlinuz-*"))
        self._modules = KERNEL / "lib/modules" / self._kernel.name.removeprefix("vmlinuz-")
        self._archive = directory / "initramfs"
        self._archive.write_bytes(initramfs.build(self._modules, HERE / "init", Path(shutil.which("busybox") or "")))
        _compile()

    def disk(self, name: str) -> Path:
        """An empty disk with a file system, for guests one after another."""
        path = self._directory / f"{name}.disk"
        with path.open("wb") as file:
            file.truncate(DISK_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-O", "^metadata_csum", str(path)], check=True)
        return path

    def run(
        self, name: str, command: str, *, systemd: bool = False, disk: Path | None = None, limit_s: float = LIMIT_S
    ) -> Outcome:
        """Run a shell script as root in a fresh guest.

        With `systemd` it is a unit, and the only one. With a `disk` too, the machine boots as one does that has
        services: /var/lib/wherry and /etc/systemd/system are on the disk.
        """
        control = self._directory / name
        control.mkdir()
        (control / "command").write_text(command)
        (control / "tree").write_text(str(TREE))
        (control / "modules").write_text(str(self._modules))
        shutil.copy(HERE / "start", control)
        parameters = PARAMETERS
        if systemd:
            (control / "systemd").touch()
            parameters += f" {BOOT if disk else SYSTEMD}"
        if disk:
            (control / "disk").touch()
        try:
            console = self._emulate(control, parameters, disk, limit_s)
            status = (control / "status").read_text().strip() if (control / "status").exists() else ""
            log = (control / "log").read_text(errors="replace") if (control / "log").exists() else ""
            return Outcome(int(status) if status else None, log, console)
        finally:
            shutil.rmtree(control)

    def _emulate(self, control: Path, parameters: str, disk: Path | None, limit_s: float) -> str:
        console = control / "console"
        argv = ["setpriv", "--pdeathsig", "KILL", "nice", "-n", "10", "qemu-system-x86_64", *OPTIONS]
        argv += ["-kernel", str(self._kernel), "-initrd", str(self._archive), "-append", parameters]
        for tag, path, options in (("root", "/", ",readonly=on"), ("control", str(control), "")):
            argv += ["-fsdev", f"local,id={tag},path={path},security_model=none,multidevs=remap{options}"]
            argv += ["-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
        argv += ["-serial", f"file:{console}"]
        if disk:
            argv += ["-drive", f"file={disk},if=virtio,format=raw,cache=unsafe"]
        # both are emulated in turns, so to many processes the second one is only a burden
        argv += ["-smp", "1" if disk else "2"]
        ended = threading.Event()
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as qemu:

            def cut() -> None:
                while not ended.wait(CUT_INTERVAL_S):
                    if (control / CUT).exists():
                        qemu.kill()

            power = threading.Thread(target=cut, name="power of the guest")
            power.start()
            try:
                said, _ = qemu.communicate(timeout=limit_s)
            except subprocess.TimeoutExpired:
                said = f"vm: ended after {limit_s:g} s".encode()
            finally:
                qemu.kill()
                ended.set()
                power.join()
        text = console.read_text(errors="replace") if console.exists() else ""
        return text + said.decode(errors="replace")

    def python(
        self, name: str, *words: str, systemd: bool = False, disk: Path | None = None, before: str = ""
    ) -> Outcome:
        """Run this Python with arguments in a guest, in the tree, `before` being shell lines run first."""
        command = f"""
cd {TREE}
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 WHERRY_TEST_SLOWNESS={SLOWNESS} WHERRY_TEST_VM=1
{before}
exec {shlex.join([sys.executable, *words])}
"""
        return self.run(name, command, systemd=systemd, disk=disk)

    def pytest(self, name: str, *selection: str, systemd: bool = False, before: str = "") -> None:
        """Run tests in a guest, `before` being shell lines run first. The calling test fails with their output unless
        every one of them passed: one that was skipped has shown nothing."""
        words = ["-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--timeout=1200", "-q", "-rs"]
        outcome = self.python(name, *words, *selection, systemd=systemd, before=before)
        last = (outcome.log.splitlines() or ["nothing was said"])[-1]
        if outcome.status != 0 or " passed" not in last or " skipped" in last:
            pytest.fail(f"{name}: {outcome.explain()}", pytrace=False)


def _compile() -> None:
    """Byte code for everything that the guest will import: it cannot write any below its own layer."""
    libraries = Path(sysconfig.get_paths()["purelib"])
    for directory in (TREE / "services", TREE / "shared", TREE / "tests", libraries):
        compileall.compile_dir(directory, quiet=2, workers=os.cpu_count() or 1)
