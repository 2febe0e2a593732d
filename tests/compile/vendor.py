#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""usage: vendor.py [--quick]

The promise made to kernel authors, kept: examples/vendor is within its budget,
compiles freestanding as they compile, links with nothing but its own four mem*
functions, and runs. So does README's embedding compile, as it is printed there.
"""
import concurrent.futures
import os
import pathlib
import re
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import flags
from tree import MEM_FUNCTIONS, TOP, run, symbols

VENDOR = TOP / "examples/vendor"
# As kernels do it: gnu99 without optimization or extra care; c11 with the list.
STYLES = {
    "gnu99 -O0": ["-std=gnu99", "-O0", "-fno-omit-frame-pointer"],
    "c11 -O2 -Werror": ["-std=c11", "-O2", "-Wpedantic", *flags.WARNINGS],
    "gnu17 -Os": ["-std=gnu17", "-Os", *flags.WARNINGS],
}
MACHINE = {
    "x86_64": ["-mno-red-zone", "-mno-sse", "-mno-mmx"],
    "aarch64": ["-mgeneral-regs-only"],
}
BUDGET_PORT_LINES = 30
BUDGET_PORT_MACROS = 12
BUDGET_C_LINES = 2
BUDGET_MAIN_LINES = 5


def check_budget():
    port = (VENDOR / "mmkit_port.h").read_text()
    macros = set(re.findall(r"#\s*define\s+(MMKIT_\w+)", port))
    impl = (VENDOR / "mmkit.c").read_text().splitlines()
    main = (VENDOR / "main.c").read_text()
    between = re.search(r"/\* mmkit: begin \*/\n(.*?)\t/\* mmkit: end \*/",
                        main, re.S)
    if between is None:
        return "main.c has lost its marks"
    counts = [
        ("lines of mmkit_port.h", len(port.splitlines()), BUDGET_PORT_LINES),
        ("macros of mmkit_port.h", len(macros), BUDGET_PORT_MACROS),
        ("lines of mmkit.c", len(impl), BUDGET_C_LINES),
        ("lines in main.c", len(between[1].splitlines()), BUDGET_MAIN_LINES),
    ]
    for what, number, budget in counts:
        print(f"   {what}: {number} of {budget}")
    return "; ".join(f"{what}: {number}, the budget is {budget}"
                     for what, number, budget in counts if number > budget)


def check_build(scratch, compiler, arch, style):
    scratch.mkdir()
    objects = []
    for name in ("tier2", "boot", "main", "mmkit"):
        objects.append(scratch / f"{name}.o")
        status, out = run(
            flags.COMPILERS[compiler, arch] + flags.FREESTANDING
            + STYLES[style] + MACHINE[arch] +
            [f"-I{VENDOR}", "-c", "-o", objects[-1], VENDOR / f"{name}.c"])
        if status != 0 or out:
            return out or f"exit status {status}"
    wanted = set(symbols(objects[-1], "U")) - MEM_FUNCTIONS
    if not wanted <= {"panic", "kernel_ram", "kernel_root_pa"}:
        return f"mmkit.o needs more than the port gives: {sorted(wanted)}"
    linker = {"x86_64": "elf_x86_64", "aarch64": "aarch64elf"}[arch]
    kernel = scratch / "kernel.elf"
    status, out = run(["ld.lld", "-m", linker, "-static", "-o", kernel,
                       *objects[1:]])  # tier2's kernel is not written
    if status != 0:
        return out
    if arch == "x86_64":
        status, out = run([kernel], timeout=20)
        if status != 0 or "was allocated" not in out:
            return f"ran with exit status {status}: {out}"
    return ""


def readme_files():
    """{name: text} of the embedding in README.md: each file begins with a
    comment that names it"""
    readme = (TOP / "README.md").read_text()
    block = re.search(r"^## Embedding$.*?^```c\n(.*?)^```$", readme,
                      re.M | re.S)
    parts = re.split(r"^/\* (\w+\.[ch])\b", block[1] if block else "",
                     flags=re.M)[1:]
    return {name: f"/* {name}{text}"
            for name, text in zip(parts[::2], parts[1::2])}


def check_readme(scratch):
    files = readme_files()
    if sorted(files) != ["main.c", "mmkit.c", "mmkit_port.h"]:
        return f"README.md, Embedding, has the files {sorted(files)}"
    port = files["mmkit_port.h"]
    macros = len(re.findall(r"^#define MMKIT_", port, re.M))
    lines = len(port.strip().splitlines())
    print(f"   README's port: {lines} of {BUDGET_PORT_LINES} lines, {macros} of "
          f"{BUDGET_PORT_MACROS} macros")
    if lines > BUDGET_PORT_LINES or macros > BUDGET_PORT_MACROS:
        return "README's port is over the budget"
    scratch.mkdir()
    for name, text in files.items():
        (scratch / name).write_text(text)
    for compiler in ("gcc", "clang"):
        for name in ("main.c", "mmkit.c"):
            status, out = run(
                flags.COMPILERS[compiler, "x86_64"] + flags.FREESTANDING +
                ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wformat=2",
                 "-Werror", f"-I{scratch}", f"-I{TOP}", "-c", "-o",
                 "/dev/null", scratch / name])
            if status != 0:
                return out
    return ""


def check_quotes():
    """Whatever PORTING.md, processes, shows stands in tier2.c."""
    manual = (TOP / "doc/PORTING.md").read_text()
    section = re.search(r"^### processes$(.*?)^##", manual, re.M | re.S)
    quotes = re.findall(r"^```c\n(.*?)^```$", section[1] if section else "",
                        re.M | re.S)
    if not quotes:
        return "doc/PORTING.md, processes, shows nothing"
    source = (VENDOR / "tier2.c").read_text()
    return "\n".join(f"not in tier2.c:\n{q}" for q in quotes
                     if q not in source)


def main():
    passed = failed = 0

    def judge(name, problem):
        nonlocal passed, failed
        if problem:
            failed += 1
            print(f"FAILED {name}\n   {problem}", flush=True)
        else:
            passed += 1
            print(f"ok     {name}", flush=True)

    judge("the budget", check_budget())
    with tempfile.TemporaryDirectory() as folder:
        judge("the embedding in README.md compiles",
              check_readme(pathlib.Path(folder, "readme")))
    judge("doc/PORTING.md quotes tier2.c", check_quotes())
    with tempfile.TemporaryDirectory() as folder, \
            concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        styles = list(STYLES)[:2] if "--quick" in sys.argv else STYLES
        builds = [(compiler, arch, style) for compiler, arch in flags.COMPILERS
                  for style in styles]
        problems = pool.map(
            lambda item: check_build(pathlib.Path(folder, str(item[0])),
                                     *item[1]), enumerate(builds))
        for (compiler, arch, style), problem in zip(builds, problems):
            judge(f"{compiler} {arch} {style}"
                  + (", and runs" if arch == "x86_64" else ""), problem)
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
