#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""usage: matrix.py [-j N] [-v] [--quick]

Compiles mmkit/ the ways its users do: each header alone in every dialect, by
two compilers for two architectures, with the whole list of warnings; all of it
at every level of optimization; as C++; in several files, in one, floor by
floor; and the ways that must be refused, with the words that must be printed.
--quick: headers alone in every dialect by one compiler, in one by the others;
two levels of optimization.
"""
import argparse
import concurrent.futures
import pathlib
import sys
import tempfile

import flags
from tree import FLOORS, MEM_FUNCTIONS, TOP, headers_of, reading_order, run, symbols

UP_PORT = '-DMMKIT_PORT_H="examples/vendor/mmkit_port.h"'
SMP_PORT = '-DMMKIT_PORT_H="tests/compile/smp_port.h"'
INCLUDE = f"-I{TOP}"
IMPL = "#define MMKIT_IMPLEMENTATION\n"
NATIVE = "x86_64"

jobs = []  # (name, function returning "" or what went wrong)


def job(name):
    def add(function):
        jobs.append((name, function))
        return function
    return add


def includes(headers):
    return "".join(f'#include "mmkit/{h}"\n' for h in headers)


def compiles(name, command, text, language="c"):
    """A job: `text` must compile without a word."""
    @job(name)
    def check():
        status, out = run(command + [INCLUDE, "-x", language, "-"],
                          stdin=text)
        return out if status != 0 else ""


def refused(name, command, text, words):
    """A job: `text` must not compile, and the compiler must say `words`."""
    @job(name)
    def check():
        status, out = run(command + [INCLUDE, "-x", "c", "-"], stdin=text)
        if status == 0:
            return "it compiled"
        missing = [w for w in words if w not in out]
        return f"did not say {missing} but:\n{out}" if missing else ""


def add_headers_alone(is_quick):
    for header in reading_order() + ["mmkit.h"]:
        for compiler, arch in flags.COMPILERS:
            for dialect in flags.DIALECTS:
                if is_quick and header != "mmkit.h" and dialect != "c11" and \
                        (compiler, arch) != ("gcc", "x86_64"):
                    continue
                command = flags.c_command(compiler, arch, dialect, 0,
                                          ["-fsyntax-only"])
                compiles(f"{header} implementation {compiler} {arch} {dialect}",
                         command + [UP_PORT], IMPL + includes([header]))
            command = flags.c_command(compiler, arch, "c11", 2,
                                      ["-fsyntax-only"])
            compiles(f"{header} interface {compiler} {arch}",
                     command + [SMP_PORT],
                     includes([header, header]) + "extern int nothing;\n")
        for compiler in ("g++", "clang++"):
            command = [compiler, "-std=c++17", "-fsyntax-only", "-Wpedantic"]
            compiles(f"{header} {compiler}",
                     command + flags.cxx_warnings() + [UP_PORT],
                     includes([header]) + "extern int nothing;\n", "c++")


def add_levels(scratch, is_quick):
    levels = [("c11", level) for level in ("0", "1", "2", "3", "s")]
    levels += [("gnu99", "0"), ("gnu2x", "2")]
    if is_quick:
        levels = [("c11", "2"), ("gnu99", "0")]
    for compiler, arch in flags.COMPILERS:
        for dialect, level in levels:
            name = f"everything {compiler} {arch} {dialect} -O{level}"
            add_object(scratch, name, compiler, arch, dialect, level, [SMP_PORT])
        if not is_quick:
            add_object(scratch, f"debug build {compiler} {arch}", compiler,
                       arch, "c11", "2", [UP_PORT, "-DMMKIT_DEBUG"])
    for shift in (14, 16):
        add_object(scratch, f"page shift {shift}", "gcc", "aarch64", "c11", "2",
                   [SMP_PORT, f"-DMMKIT_PAGE_SHIFT={shift}"])


def add_odd_kernels():
    """Kernels that differ in what C itself is to them."""
    for compiler in ("gcc", "clang"):
        command = flags.c_command(compiler, "x86_64", "c11", 2,
                                  ["-fsyntax-only"])
        compiles(f"everything, 32 bits, {compiler}",
                 command + ["-m32", SMP_PORT], IMPL + includes(["mmkit.h"]))
    for compiler, arch in flags.COMPILERS:
        command = flags.c_command(compiler, arch, "gnu17", 2, ["-fsyntax-only"])
        compiles(f"everything, the kernel's own types, {compiler} {arch}",
                 command + ["-nostdinc", SMP_PORT, '-DMMKIT_CONFIG_H='
                            '"tests/compile/types_config.h"'],
                 IMPL + includes(["mmkit.h"]))


def add_object(scratch, name, compiler, arch, dialect, level, extra):
    output = scratch / (name.replace(" ", "_") + ".o")

    @job(name)
    def check():
        command = flags.c_command(compiler, arch, dialect, level, extra)
        status, out = run(command + [INCLUDE, "-c", "-o", output, "-x", "c",
                                     "-"], stdin=IMPL + includes(["mmkit.h"]))
        if status != 0:
            return out
        strangers = [s for s in symbols(output, "U")
                     if s not in MEM_FUNCTIONS and
                     not s.startswith("port_") and
                     s not in ("panic", "kernel_ram", "kernel_root_pa")]
        return f"calls {strangers}" if strangers else ""


def build(scratch, sources, extra=(), port=SMP_PORT, name="program"):
    """Compile each text and link them with nothing else; (status, output)."""
    objects = []
    for i, text in enumerate(sources):
        text, own = text if isinstance(text, tuple) else (text, [])
        objects.append(scratch / f"{name}_{i}.o")
        status, out = run(
            flags.c_command("gcc", NATIVE, "c11", 1, extra) + own +
            [port, INCLUDE, "-c", "-o", objects[-1], "-x", "c", "-"],
            stdin=text)
        if status != 0:
            return status, out
    return run(["gcc", "-nostdlib", "-static", "-o", scratch / name,
                *objects])


# Enough of a kernel to link: entry and the port's functions, all of them empty.
STUB = pathlib.Path(__file__).with_name("stub.c")


def add_links(scratch):
    user = """#include "mmkit/mmkit.h"
        extern enum mmk_err USER(struct mmk_phys *, const struct mmk_phys_config *);
        enum mmk_err USER(struct mmk_phys *phys, const struct mmk_phys_config *config)
        { return mmk_phys_init(phys, config); }
    """
    stub = STUB.read_text()

    @job("two users and one implementation link")
    def two_users():
        status, out = build(scratch, [
            (user, ["-DUSER=user_a"]), (user, ["-DUSER=user_b"]),
            IMPL + includes(["mmkit.h"]), stub], name="two_users")
        return out if status != 0 else ""

    @job("two implementations do not link")
    def two_implementations():
        status, out = build(scratch, [
            IMPL + includes(["mmkit.h"]), IMPL + includes(["mmkit.h"]), stub],
            name="two_impl")
        return "" if status != 0 and "multiple definition" in out else "linked"

    @job("a disagreeing MMKIT_PAGE_SHIFT does not link")
    def page_shift():
        status, out = build(scratch, [
            (user, ["-DUSER=user_a", "-DMMKIT_PAGE_SHIFT=14"]),
            IMPL + includes(["mmkit.h"]), stub], name="shift")
        wanted = "undefined reference to `mmk_phys_init_v1_p14_c256"
        return "" if status != 0 and wanted in out else "no: " + out

    @job("a disagreeing MMKIT_CPU_MAX does not link")
    def cpu_max():
        status, out = build(scratch, [
            (user, ["-DUSER=user_a", "-DMMKIT_CPU_MAX=4"]),
            IMPL + includes(["mmkit.h"]), stub], name="cpus")
        wanted = "undefined reference to `mmk_phys_init_v1_p12_c4"
        return "" if status != 0 and wanted in out else "no: " + out

    @job("MMKIT_STATIC: one file, nothing visible outside")
    def static_mode():
        text = "#define MMKIT_STATIC\n" + user
        status, out = build(scratch, [(text, ["-DUSER=user_a"]), stub],
                            name="static")
        if status != 0:
            return out
        visible = [s for s in symbols(scratch / "static_0.o", "TDRBVWC")
                   if s.startswith("mmk")]
        return f"visible: {visible}" if visible else ""

    @job("the interface, then the implementation, in one file")
    def both():
        text = includes(["mmkit.h"]) + IMPL + includes(["mmkit.h", "mmkit.h"])
        status, out = build(scratch, [text, stub], name="both")
        return out if status != 0 else ""


PROFILES = {
    "base": FLOORS[:1],
    "base+phys": FLOORS[:2],
    "base+phys+kva": FLOORS[:3],
    "base..pmap": FLOORS[:4],
    "base..vm without pagers": FLOORS[:5],
    "everything": FLOORS,
}


def add_profiles(scratch):
    """X9: each profile compiles, links and runs with nothing above it."""
    for name, floors in PROFILES.items():
        def check(name=name, floors=floors):
            headers = headers_of(floors)
            stem = "profile_" + "_".join(floors)
            text = IMPL + includes(headers) + "extern int profile(void);\n"
            source = pathlib.Path(__file__).with_name(
                f"profile_{floors[-1]}.c")
            user = includes(headers) + source.read_text()
            status, out = build(
                scratch, [text, user, STUB.read_text()],
                ["-DPROFILE"], name=stem)
            if status != 0:
                return out
            status, out = run([scratch / stem], timeout=20)
            return f"exit status {status}: {out}" if status != 0 else ""
        job(f"X9_profile_{name}_links_alone_and_runs")(check)


def add_refusals():
    command = flags.c_command("gcc", NATIVE, "c11", 0, ["-fsyntax-only"])
    mandatory = {
        "MMKIT_PORT_VERSION": "port-version",
        "MMKIT_PAGE_SHIFT": "page-shift",
        "MMKIT_PHYS_TO_PTR": "direct-map",
        "MMKIT_PTR_TO_PHYS": "direct-map",
        "MMKIT_PANIC": "panic",
        "MMKIT_CPU_COUNT": "cpus",
        "MMKIT_CPU_ID": "cpus",
        "MMKIT_TLB_SHOOTDOWN": "shootdown",
        "MMKIT_PMAP_H": "pmap",
        "MMKIT_KERNEL_ROOT_PA": "pmap",
        "MMKIT_PREEMPT_DISABLE": "preemption",
        "MMKIT_PREEMPT_ENABLE": "preemption",
        "MMKIT_MUTEX_T": "locks",
        "MMKIT_WAIT": "waiting",
        "MMKIT_WAKE": "waiting",
        "MMKIT_LOCK_INIT": "locks",
        "MMKIT_LOCK": "locks",
        "MMKIT_UNLOCK": "locks",
    }
    for macro, anchor in mandatory.items():
        with_edit(command, f"without {macro}", f"#undef {macro}\n",
                  [macro, f"doc/PORTING.md, {anchor}"])
    for shift in (11, 17):
        with_edit(command, f"MMKIT_PAGE_SHIFT {shift}",
                  "#undef MMKIT_PAGE_SHIFT\n"
                  f"#define MMKIT_PAGE_SHIFT {shift}\n",
                  ["MMKIT_PAGE_SHIFT", "doc/PORTING.md, page-shift"])
    with_edit(command, "MMKIT_PORT_VERSION 2",
              "#undef MMKIT_PORT_VERSION\n#define MMKIT_PORT_VERSION 2\n",
              ["port version 1", "CHANGELOG.md"])
    for macro in ("MMKIT_IMPLEMENTATION", "MMKIT_STATIC"):
        @job(f"{macro} in C++ is refused")
        def check(macro=macro):
            status, out = run(
                ["g++", "-fsyntax-only", f"-D{macro}", UP_PORT, INCLUDE, "-x",
                 "c++", "-"], stdin=includes(["mmkit.h"]))
            wanted = "the implementation is C"
            return "" if status != 0 and wanted in out else "no: " + out


def add_variants():
    """Ports that differ from the two above where kernels differ."""
    printf = ("void printf_panic(const char *format, ...)"
              " __attribute__((noreturn, format(printf, 1, 2)));\n"
              "#undef MMKIT_PANIC\n#define MMKIT_PANIC(msg) ")
    returns = ("void may_return(const char *text);\n#undef MMKIT_PANIC\n"
               "#define MMKIT_PANIC(msg) may_return(msg)\n")
    mutex = "".join(f"#undef MMKIT_MUTEX_{m}\n" for m in
                    ("T", "INIT", "LOCK", "UNLOCK", "HELD"))
    up = ("#define MMKIT_PORT_UNIPROCESSOR\n#undef MMKIT_CPU_COUNT\n"
          "#undef MMKIT_CPU_ID\n#undef MMKIT_TLB_SHOOTDOWN\n")
    variants = {
        "a panic that takes a format": printf + "printf_panic(msg)\n",
        "a panic that is given %s": printf + 'printf_panic("%s", msg)\n',
        "a panic that is not noreturn": returns,
        "MMKIT_MUTEX_IS_LOCK": mutex + "#define MMKIT_MUTEX_IS_LOCK\n",
        "its own lock, no mutex, one CPU": mutex + up,
    }
    for name, edit in variants.items():
        for compiler in ("gcc", "clang"):
            command = flags.c_command(
                compiler, NATIVE, "c11", 2,
                ["-Wformat=2", "-DMMKIT_DEBUG", "-o", "/dev/null", "-c"])
            with_edit(command, f"{name}, {compiler}", edit, None)


def with_edit(command, name, edit, words):
    """All of mmkit with a port that is smp_port.h and then `edit`: it must not
    compile, and the compiler say `words`; or, if these are None, it must."""
    @job(f"{name} is refused with a pointer to the manual" if words
         else f"compiles: {name}")
    def check():
        with tempfile.TemporaryDirectory() as folder:
            port = pathlib.Path(folder) / "edited_port.h"
            port.write_text('#include "tests/compile/smp_port.h"\n' + edit)
            status, out = run(
                command + [f'-DMMKIT_PORT_H="{port}"', INCLUDE, "-x", "c", "-"],
                stdin=(IMPL if words is None else "") + includes(["mmkit.h"]))
        if words is None:
            return out
        if status == 0:
            return "it compiled"
        missing = [w for w in words if w not in out]
        return f"did not say {missing} but:\n{out}" if missing else ""


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("-j", type=int, default=2)
    arguments.add_argument("-v", action="store_true")
    arguments.add_argument("--quick", action="store_true")
    options = arguments.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder)
        add_headers_alone(options.quick)
        add_levels(scratch, options.quick)
        add_odd_kernels()
        add_links(scratch)
        add_profiles(scratch)
        add_refusals()
        add_variants()

        def guarded(item):
            name, function = item
            try:
                return name, function()
            except Exception as error:  # a missing compiler, a timeout
                return name, repr(error)

        with concurrent.futures.ThreadPoolExecutor(options.j) as pool:
            for name, problem in pool.map(guarded, jobs):
                if problem:
                    failed += 1
                    lines = problem.strip().splitlines()
                    print(f"FAILED {name}")
                    print("\n".join("   " + line for line in lines[:12]),
                          flush=True)
                elif options.v:
                    print(f"ok     {name}", flush=True)
    print(f"{len(jobs) - failed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
