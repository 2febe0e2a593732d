#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""usage: consumer.py

mmkit as somebody else's dependency: a meson subproject of a freestanding kernel
that is cross-built and names no native compiler, and an installed package found
through pkg-config.
"""
import os
import pathlib
import shutil
import sys
import tempfile

from tree import TOP, run

BUILD = """project('kernel', 'c', meson_version: '>=1.0')
mmkit = dependency('mmkit', fallback: ['mmkit'], version: '>=0.1')
static_library('kernel', 'mmkit.c', dependencies: mmkit,
  c_args: ['-DMMKIT_PORT_H="kernel_port.h"', '-ffreestanding'])
"""
CROSS = """[binaries]
c = 'aarch64-linux-gnu-gcc'
ar = 'aarch64-linux-gnu-ar'
strip = 'aarch64-linux-gnu-strip'
[built-in options]
c_args = ['-mno-outline-atomics', '-ffreestanding']
c_link_args = ['-nostdlib']
[properties]
skip_sanity_check = true
[host_machine]
system = 'none'
cpu_family = 'aarch64'
cpu = 'aarch64'
endian = 'little'
"""
PORT = """#define MMKIT_PORT_VERSION 1
#define MMKIT_PAGE_SHIFT 12
#define MMKIT_PHYS_TO_PTR(pa) ((void *)(pa))
#define MMKIT_PTR_TO_PHYS(ptr) ((uint64_t)(ptr))
extern void panic(const char *) __attribute__((noreturn));
#define MMKIT_PANIC(msg) panic(msg)
#define MMKIT_PORT_UNIPROCESSOR
#define MMKIT_KERNEL_ROOT_PA 0x1000
#define MMKIT_PMAP_H "ports/ARCH/mmkit_pmap.h"
"""


def kernel(folder, arch):
    folder.mkdir(parents=True)
    (folder / "meson.build").write_text(BUILD)
    (folder / "mmkit.c").write_text("#define MMKIT_IMPLEMENTATION\n"
                                    '#include "mmkit/mmkit.h"\n')
    (folder / "kernel_port.h").write_text(PORT.replace("ARCH", arch))
    (folder / "cross.txt").write_text(CROSS)


def subproject(scratch, arch, options):
    folder = scratch / f"sub_{arch}"
    kernel(folder, arch)
    shutil.copytree(TOP, folder / "subprojects/mmkit",
                    ignore=shutil.ignore_patterns(".git", "build", "__pycache__"))
    status, out = run(["meson", "setup", folder / "b", folder, *options])
    if status == 0 and "mmkit found: YES" not in out:
        return "mmkit is not found:\n" + out
    if status == 0:
        status, out = run(["ninja", "-C", folder / "b"])
    return out if status != 0 else ""


def native(scratch):
    return subproject(scratch, "x86_64", [])


def cross(scratch):
    return subproject(scratch, "aarch64",
                      ["--cross-file", scratch / "sub_aarch64/cross.txt"])


def installed(scratch):
    folder, prefix = scratch / "package", scratch / "prefix"
    kernel(folder, "x86_64")
    for command in (["meson", "setup", folder / "b", TOP, "--prefix", prefix],
                    ["meson", "install", "-C", folder / "b"]):
        status, out = run(command)
        if status != 0:
            return out
    os.environ["PKG_CONFIG_PATH"] = str(prefix / "share/pkgconfig")
    status, flags = run(["pkg-config", "--cflags", "mmkit >= 0.1"])
    if status != 0:
        return flags
    status, out = run(["gcc", "-std=c11", "-ffreestanding", "-fsyntax-only",
                       '-DMMKIT_PORT_H="kernel_port.h"', f"-I{folder}",
                       *flags.split(), folder / "mmkit.c"])
    return out if status != 0 else ""


def main():
    failed = 0
    checks = {
        "a meson subproject, native": native,
        "a meson subproject, cross-built for aarch64": cross,
        "installed, found by pkg-config": installed,
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, function in checks.items():
            problem = function(pathlib.Path(folder))
            failed += bool(problem)
            print(f"{'FAILED' if problem else 'ok    '} {name}")
            if problem:
                print("   " + "\n   ".join(problem.splitlines()[-15:]))
    print(f"{len(checks) - failed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
