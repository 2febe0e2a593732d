#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""usage: lint.py [--root TREE] [--write-docs] [RULE...]

The rules of the house, each a function below. A rule yields one line for every
place that breaks it. --write-docs brings up to date what the documents say of
the sources: the chapters of README.md, the tests in doc/RULES.md.
"""
import argparse
import functools
import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "compile"))
import flags
import tree
from tree import FLOORS, MEM_FUNCTIONS, run

PORT_MACROS_OUT = {"MMKIT_CONFIG_H", "MMKIT_PORT_H", "MMKIT_PMAP_H"}
STANDARD_HEADERS = {"stdbool.h", "stddef.h", "stdint.h"}
FILE_LINES = 1000
FUNCTION_LINES = 70
FRAME_BYTES = 512
DEPTH_BYTES = 2048
SKIPPED_FOLDERS = {".git", "build", "__pycache__", ".cache"}
CODE = {".h", ".c", ".S", ".py", ".sh"}
TEXT = CODE | {".md", ".build", ".txt", ".svg", ""}

rules = {}


def rule(function):
    rules[function.__name__] = function
    return function


class Tree:
    """A source tree, read once."""

    def __init__(self, root):
        self.root = pathlib.Path(root).resolve()
        self.order = tree.reading_order(self.root)
        self.scratch = None

    @functools.cached_property
    def files(self):
        found = []
        for folder, folders, names in os.walk(self.root):
            folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS)
            for name in sorted(names):
                path = pathlib.Path(folder, name)
                if name == ".git":  # of a worktree
                    continue
                if path.suffix in TEXT and not path.is_symlink():
                    found.append(path)
        return found

    def name(self, path):
        return str(path.relative_to(self.root))

    def under(self, *folders, suffixes=(".h", ".c")):
        return [f for f in self.files if f.suffix in suffixes and
                self.name(f).startswith(tuple(d + "/" for d in folders))]

    @functools.lru_cache(maxsize=None)
    def text(self, path):
        return path.read_text(errors="replace")

    @functools.lru_cache(maxsize=None)
    def code(self, path):
        """The text with comments and the contents of strings blanked."""
        return blank(self.text(path))

    def lines(self, path):
        return enumerate(self.text(path).splitlines(), 1)

    def code_lines(self, path):
        return enumerate(self.code(path).splitlines(), 1)

    @functools.lru_cache(maxsize=None)
    def tags(self, *folders):
        """(name, kind, file, line, end) of every definition and prototype"""
        files = [str(f) for f in self.under(*folders)]
        if not files:
            return []
        status, out = run(
            ["ctags", "--language-force=C", "--kinds-C=defgpstuvx",
             "--fields=+neK", "-I",
             "MMK_API,MMK_DATA,MMK_NODISCARD,MMK_PRIVATE,MMK_BEGIN_DECLS,"
             "MMK_END_DECLS,MMK_STATIC_ASSERT+", "-f", "-", *files])
        if status != 0:
            raise RuntimeError(out)
        found = []
        for line in out.splitlines():
            head, _, tail = line.partition(';"\t')
            words = head.split("\t")[:2] + ["", *tail.split("\t")]
            fields = dict(w.split(":", 1) for w in words[3:] if ":" in w)
            found.append((words[0], words[3], pathlib.Path(words[1]),
                          int(fields["line"]), int(fields.get("end", 0))))
        return found

    @functools.lru_cache(maxsize=None)
    def implementation(self, arch, level=0):
        """(status, output, path) of all of mmkit as one object file, with what
        gcc says of its frames and calls beside it."""
        if self.scratch is None:
            self.scratch = tempfile.TemporaryDirectory()
        output = pathlib.Path(self.scratch.name) / f"mmkit_{arch}_{level}.o"
        command = (flags.COMPILERS["gcc", arch] + flags.FREESTANDING +
                   ["-std=c11", f"-O{level}", "-fcallgraph-info=su",
                    f"-Wframe-larger-than={FRAME_BYTES}",
                    '-DMMKIT_PORT_H="tests/compile/smp_port.h"',
                    f"-I{self.root}", "-c", "-o", output, "-x", "c", "-"])
        status, out = run(
            command, cwd=self.scratch.name,
            stdin='#define MMKIT_IMPLEMENTATION\n#include "mmkit/mmkit.h"\n')
        return status, out, output


def blank(text):
    """Comments and string contents become spaces; lines keep their numbers."""
    def spaces(match):
        found = match[0]
        if found.startswith(('"', "'")):
            return found[0] + " " * (len(found) - 2) + found[-1]
        return re.sub(r"[^\n]", " ", found)
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'
                  r"'(?:\\.|[^'\\\n])*'", spaces, text, flags=re.S)


# ---- structure ---------------------------------------------------------------

@rule
def layering(t):
    """a header includes only lower floors or earlier headers of its own"""
    place = {name: i for i, name in enumerate(t.order)}
    for path in t.under("mmkit", suffixes=(".h",)):
        name = t.name(path)[len("mmkit/"):]
        if name == "mmkit.h":
            continue
        if name not in place:
            yield f"mmkit/{name}: mmkit.h does not include it"
            continue
        for number, line in t.lines(path):
            found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not found:
                continue
            target = os.path.normpath(os.path.join("mmkit", name, "..",
                                                   found[1]))
            inner = target[len("mmkit/"):] if target.startswith("mmkit/") else ""
            if inner not in place:
                yield f"mmkit/{name}:{number}: includes {found[1]}, not in mmkit/"
            elif not may_include(name, inner, place):
                yield f"mmkit/{name}:{number}: may not include {inner}"


def may_include(name, target, place):
    floor, target_floor = name.split("/")[0], target.split("/")[0]
    if FLOORS.index(target_floor) != FLOORS.index(floor):
        return FLOORS.index(target_floor) < FLOORS.index(floor)
    return place[target] < place[name]


@rule
def reading_order(t):
    """mmkit.h goes from floor to floor, and every header exists, once"""
    floors = [h.split("/")[0] for h in t.order]
    for header in t.order:
        if not (t.root / "mmkit" / header).exists():
            yield f"mmkit/mmkit.h: {header} does not exist"
        if header.split("/")[0] not in FLOORS:
            yield f"mmkit/mmkit.h: {header} is on no floor"
        elif t.order.count(header) > 1:
            yield f"mmkit/mmkit.h: {header} twice"
    known = [FLOORS.index(f) for f in floors if f in FLOORS]
    if known != sorted(known):
        yield "mmkit/mmkit.h: the floors are not in order"


@rule
def readme_chapters(t):
    """README names the headers as chapters, in reading order"""
    readme = t.root / "README.md"
    lines = readme.read_text().splitlines() if readme.exists() else []
    wanted = chapters(t)
    told = [line for line in lines if re.match(r"\d+\. `\w+/\w+\.h`", line)]
    for line in wanted:
        if line not in told:
            yield f"README.md: no chapter '{line}'"
    if told != wanted:
        yield "README.md: the chapters are not mmkit.h's (see --write-docs)"


@rule
def what_reaches_out(t):
    """three macros and three standard headers are all mmkit includes"""
    for path in t.under("mmkit"):
        for number, line in t.lines(path):
            found = re.match(r"\s*#\s*include\s+([^\s\"].*)", line)
            if not found:
                continue
            what = found[1].strip()
            standard = what.strip("<>") in STANDARD_HEADERS and \
                t.name(path) == "mmkit/base/base.h"
            if what not in PORT_MACROS_OUT and not standard:
                yield f"{t.name(path)}:{number}: includes {what}"


@rule
def names_nothing_of_ports(t):
    """mmkit/ uses no word that only ports/ defines"""
    ours = {name for name, *_ in t.tags("mmkit")}
    theirs = {name for name, *_ in t.tags("ports") if re.match(
        r"(sim|mmk_sim|mmk_x86|mmk_aarch64)_", name, re.I)} - ours
    for path in t.under("mmkit"):
        for number, line in t.code_lines(path):
            for word in re.findall(r"\b[A-Za-z_]\w+", line):
                if word in theirs:
                    yield f"{t.name(path)}:{number}: {word} is of ports/"
        for number, line in t.lines(path):
            if re.match(r"\s*#\s*include.*ports/", line):
                yield f"{t.name(path)}:{number}: {line.strip()}"


@rule
def tests_are_listed(t):
    """every tests/test_*.c is in tests/meson.build"""
    build = (t.root / "tests/meson.build").read_text()
    for path in t.under("tests", suffixes=(".c",)):
        found = re.fullmatch(r"tests/test_(\w+)\.c", t.name(path))
        if found and f"'{found[1]}'" not in build:
            yield f"{t.name(path)}: not in tests/meson.build"


# ---- words -------------------------------------------------------------------

@rule
def page_size_is_a_parameter(t):
    """no page-size number, no shift by the page size, outside base.h, ports/"""
    bad = [r"\b(?:4096|0x1000|0xfff|4095|4ki?b?)(?:u|ul|ull)?\b",
           r"(?:<<|>>)=?\s*\(?\s*(?:12\b|MMKI?T?_PAGE_SHIFT)",
           r"\b12(?:u|ul|ull)?\b"]
    for path in t.under("mmkit"):
        if t.name(path) == "mmkit/base/base.h":
            continue
        for number, line in t.code_lines(path):
            # A table of cases, one for each page size, is no fixed size.
            if re.match(r"\s*#\s*(error|(el)?if MMKIT_PAGE_SHIFT == )", line):
                continue
            if any(re.search(b, line, re.I) for b in bad):
                yield f"{t.name(path)}:{number}: {line.strip()}"


@rule
def prefixes(t):
    """every name that mmkit/ defines carries its prefix"""
    good = re.compile(r"(mmk_|MMK_|MMKIT_)")
    for name, kind, path, line, _ in t.tags("mmkit"):
        source = t.text(path).splitlines()[line - 1]
        is_local = re.match(r"\s+enum \{", source)
        if not good.match(name) and not name.startswith("__anon") and \
                not is_local:
            yield f"{t.name(path)}:{line}: {kind} {name}"


@rule
def private_helpers(t):
    """MMK_PRIVATE functions are mmk__; MMK_API ones are not"""
    for path in t.under("mmkit"):
        text = t.code(path)
        for found in re.finditer(
                r"^MMK_(PRIVATE|API)\b[^;{}()]*?\b(\w+)\s*\(", text, re.M):
            line = text.count("\n", 0, found.start(2)) + 1
            is_private = found[2].startswith("mmk__")
            if is_private != (found[1] == "PRIVATE"):
                yield f"{t.name(path)}:{line}: MMK_{found[1]} {found[2]}"


@rule
def compiler_words(t):
    """attributes, atomics and builtins stand in base.h and port.h only"""
    for path in t.under("mmkit"):
        if t.name(path) in ("mmkit/base/base.h", "mmkit/base/port.h"):
            continue
        for number, line in t.code_lines(path):
            found = re.search(r"__(?:attribute__|atomic_\w+|sync_\w+|asm__)|"
                              r"\balloca\b|\b_Atomic\b|\[\[|\b_Generic\b|"
                              r"\b__builtin_(?!clz|ctz|popcount|prefetch|"
                              r"unreachable)\w+", line)
            if found:
                yield f"{t.name(path)}:{number}: {found[0]}"


@rule
def assertions_have_no_percent(t):
    """no assertion has a '%': its text may become a panic's format"""
    for path in t.under("mmkit", "ports/x86_64", "ports/aarch64"):
        code, text = t.code(path), t.text(path)
        for found in re.finditer(r"\b(?:MMK_(?:DEBUG_)?ASSERT|MMKIT_PANIC)\(",
                                 code):
            end, depth = found.end(), 1
            while depth and end < len(code):
                depth += {"(": 1, ")": -1}.get(code[end], 0)
                end += 1
            if "%" in text[found.start():end]:
                line = code.count("\n", 0, found.start()) + 1
                yield f"{t.name(path)}:{line}: {text[found.start():end][:70]}"


@rule
def no_floating_point(t):
    """mmkit/ has no floating point"""
    for path in t.under("mmkit"):
        for number, line in t.code_lines(path):
            if re.search(r"\b(?:float|double)\b|\b\d+\.\d+\b", line):
                yield f"{t.name(path)}:{number}: {line.strip()}"


@rule
def no_marks(t):
    """nothing is marked as unfinished"""
    marks = re.compile(r"\b(" + "|".join(
        ["TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK"]) + r")\b")
    for path in t.files:
        for number, line in t.lines(path):
            if marks.search(line):
                yield f"{t.name(path)}:{number}: {line.strip()[:80]}"


@rule
def no_machine_paths(t):
    """no text names a place on somebody's machine"""
    bad = re.compile(r"(?<![\w.])/(?:work|home|root|Users)(?:/|\b)")
    for path in t.files:
        if t.name(path) == "tests/lint/lint.py":
            continue
        for number, line in t.lines(path):
            if bad.search(line):
                yield f"{t.name(path)}:{number}: {line.strip()[:80]}"


# ---- form --------------------------------------------------------------------

@rule
def spdx(t):
    """every source file names its licence in its first three lines"""
    for path in t.files:
        name = t.name(path)
        first = t.text(path)[:2]
        if name == "examples/vendor/mmkit.c":  # two lines, and that is its point
            continue
        if path.suffix in CODE or path.suffix == ".build" or first == "#!":
            head = t.text(path).splitlines()[:3]
            if not any("SPDX-License-Identifier: MIT" in line for line in head):
                yield f"{name}: no SPDX-License-Identifier: MIT"


@rule
def header_form(t):
    """a header of mmkit/ has its head, its two guards, and MMK_ guards' names"""
    for header in t.order:
        path = t.root / "mmkit" / header
        if not path.exists():
            continue
        text = t.text(path)
        head = text[:text.find("*/")]
        for word in ("WHAT", "LAYER", "LOCKS", "COST", "SOURCE"):
            if not re.search(rf"^ \* {word}\b", head, re.M):
                yield f"mmkit/{header}: the head has no {word}"
        floor, name = header[:-2].split("/")
        stem = f"MMKIT_{floor}_{name}".upper()
        if header == "base/base.h":
            stem = "MMKIT_BASE"
        if f"#ifndef {stem}_H\n#define {stem}_H\n" not in text:
            yield f"mmkit/{header}: the guard is not {stem}_H"
        if "MMKIT_IMPLEMENTATION)" in text and \
                f"!defined({stem}_IMPL)" not in text:
            if header != "base/base.h":
                yield f"mmkit/{header}: the second guard is not {stem}_IMPL"


@rule
def lengths(t):
    """a file has at most 1000 lines, a function 70"""
    for path in t.files:
        if path.suffix in CODE:
            nr_lines = t.text(path).count("\n")
            if nr_lines > FILE_LINES:
                yield f"{t.name(path)}: {nr_lines} lines"
    for name, kind, path, line, end in t.tags("mmkit", "ports", "examples",
                                              "tests"):
        if kind == "function" and end - line + 1 > FUNCTION_LINES:
            yield f"{t.name(path)}:{line}: {name} has {end - line + 1} lines"


@rule
def white_space(t):
    """tabs indent C; nothing trails; every file ends in a newline"""
    for path in t.files:
        text = t.text(path)
        if text and not text.endswith("\n"):
            yield f"{t.name(path)}: no newline at the end"
        if path.suffix not in CODE:
            continue
        for number, line in t.lines(path):
            if line != line.rstrip() or "\r" in line:
                yield f"{t.name(path)}:{number}: trailing space"
            if path.suffix in (".h", ".c") and line.startswith(" " * 8):
                yield f"{t.name(path)}:{number}: indented by spaces"


@rule
def definitions_start_lines(t):
    """the name of a function starts the line of its definition"""
    for name, kind, path, line, _ in t.tags("mmkit", "ports", "examples"):
        if kind != "function":
            continue
        source = t.text(path).splitlines()[line - 1]
        if not source.startswith(name) and name in source:
            yield f"{t.name(path)}:{line}: {source.strip()[:70]}"


# ---- the object file ---------------------------------------------------------

@rule
def no_mutable_state(t):
    """nm shows nothing of mmkit's in .data or .bss"""
    for arch in ("x86_64", "aarch64"):
        status, out, path = t.implementation(arch, 0)
        if status != 0:
            yield f"mmkit/ does not compile for {arch}: {out.strip()[:300]}"
            continue
        for name in tree.symbols(path, "bBdDcCsSgG"):
            yield f"{arch}: {name} is writable"


@rule
def calls_only_the_port(t):
    """nm -u shows mem* and the port's functions only"""
    for arch in ("x86_64", "aarch64"):
        status, out, path = t.implementation(arch, 0)
        if status != 0:
            yield f"mmkit/ does not compile for {arch}: {out.strip()[:300]}"
            continue
        for name in tree.symbols(path, "Uw"):
            if name not in MEM_FUNCTIONS and not name.startswith("port_"):
                yield f"{arch}: calls {name}"


@rule
def symbols_are_prefixed(t):
    """what the linker sees of mmkit begins with mmk_"""
    status, out, path = t.implementation("x86_64", 0)
    if status != 0:
        yield f"mmkit/ does not compile: {out.strip()[:300]}"
        return
    for name in tree.symbols(path, "TtDRrVW"):
        if not name.startswith("mmk_") and "." not in name:
            yield f"{name} has no prefix"


@rule
def frames_are_small(t):
    """no stack frame is over 512 bytes at -O0"""
    for arch in ("x86_64", "aarch64"):
        status, out, _ = t.implementation(arch, 0)
        if status != 0:
            yield f"mmkit/ does not compile for {arch}: {out.strip()[:300]}"
        for line in out.splitlines():
            if "frame-larger-than" in line or "frame size" in line:
                yield f"{arch}: {line.replace(str(t.root) + '/', '')}"


@rule
def recursion_is_bounded(t):
    """a function that can call itself says above its definition how deep"""
    status, out, path = t.implementation("x86_64", 0)
    graph = path.with_suffix(".ci")
    if status != 0 or not graph.exists():
        yield f"no call graph: {out.strip()[:300]}"
        return
    calls = {}
    for found in re.finditer(r'edge: \{ sourcename: "([^"]+)" '
                             r'targetname: "([^"]+)"', graph.read_text()):
        source, target = (w.split(":")[-1] for w in found.groups())
        calls.setdefault(source, set()).add(target)
    where = {name: (file, line) for name, kind, file, line, _
             in t.tags("mmkit") if kind == "function"}
    for name in calls:
        if name in reachable(calls, name):
            file, line = where.get(name, (None, 0))
            above = t.text(file).splitlines()[:line - 1] if file else []
            if not re.search(r"recur|deep|depth", comment_above(above), re.I):
                yield f"{name} can call itself, and does not say how deep"


@rule
def calls_are_shallow(t):
    """at -O2 no public call needs 2 KiB of stack (calls of the kernel's apart)"""
    for arch in ("x86_64", "aarch64"):
        status, out, path = t.implementation(arch, 2)
        if status != 0:
            yield f"mmkit/ does not compile for {arch}: {out.strip()[:300]}"
            continue
        for name, depth_bytes, chain in call_depths(path.with_suffix(".ci")):
            if depth_bytes > DEPTH_BYTES:
                yield f"{arch}: {depth_bytes} bytes: {' > '.join(chain)}"


def call_depths(graph):
    """(function, bytes of stack to the deepest callee, the way there), worst
    first; a call back into a function on the way counts once"""
    frames, calls = {}, {}
    text = graph.read_text()
    for title, label in re.findall(r'node: \{ title: "([^"]+)" label: "([^"]*)"',
                                   text):
        found = re.search(r"(\d+) bytes", label)
        frames[title.split(":")[-1]] = int(found[1]) if found else 0
    for source, target in re.findall(
            r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', text):
        calls.setdefault(source.split(":")[-1], set()).add(
            target.split(":")[-1])
    known, on_the_way = {}, set()

    def deepest(name):
        if name not in known:
            on_the_way.add(name)
            best = max((deepest(callee) for callee in calls.get(name, ())
                        if callee not in on_the_way), default=(0, []))
            on_the_way.discard(name)
            known[name] = (frames.get(name, 0) + best[0], [name] + best[1])
        return known[name]

    found = [(name, *deepest(name)) for name in frames
             if name.startswith("mmk_") and not name.startswith("mmk__")]
    return sorted(found, key=lambda item: -item[1])


def reachable(calls, start):
    seen, todo = set(), list(calls.get(start, ()))
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(calls.get(name, ()))
    return seen


def comment_above(lines):
    """The comment that ends just above a definition (its type line skipped)."""
    lines = lines[:-1]
    while lines and not lines[-1].rstrip().endswith("*/") and lines[-1].strip():
        lines = lines[:-1]
    text = []
    for line in reversed(lines):
        text.append(line)
        if line.lstrip().startswith("/*"):
            break
        if len(text) > 40 or not line.strip():
            return ""
    return "\n".join(text)


# ---- documents ---------------------------------------------------------------

def port_macros(t):
    """MMKIT_* in mmkit/ and the backends that a kernel may define (guards are
    not)"""
    found = set()
    sources = t.under("mmkit", "ports/x86_64", "ports/aarch64")
    for path in sources:
        found |= set(re.findall(r"\bMMKIT_[A-Z0-9_]*[A-Z0-9]\b", t.code(path)))
    guards = set()
    for path in sources:
        guards |= set(re.findall(r"^#define (MMKIT_\w+_(?:H|IMPL))$",
                                 t.text(path), re.M))
    return found - guards


@rule
def port_macros_are_documented(t):
    """doc/PORTING.md explains every MMKIT_ macro that is used, and no other"""
    path = t.root / "doc/PORTING.md"
    text = path.read_text() if path.exists() else ""
    told = set(re.findall(r"\bMMKIT_[A-Z0-9_]*[A-Z0-9]\b", text))
    used = port_macros(t)
    for name in sorted(used - told):
        yield f"doc/PORTING.md: {name} is not explained"
    for name in sorted(told - used - {"MMKIT_BUILD"}):
        yield f"doc/PORTING.md: {name} is used nowhere"


@rule
def porting_anchors(t):
    """every 'see doc/PORTING.md, NAME' in an #error is a heading there"""
    path = t.root / "doc/PORTING.md"
    headings = set()
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("#"):
                headings.add(re.sub(r"[^a-z0-9]+", "-",
                                    line.strip("# ").lower()).strip("-"))
    for path in t.under("mmkit", "ports"):
        for number, line in t.lines(path):
            found = re.search(r"doc/PORTING\.md, ([\w-]+)", line)
            if found and found[1] not in headings:
                yield f"{t.name(path)}:{number}: no heading '{found[1]}'"


@rule
def links(t):
    """every relative link of the documents leads to a file"""
    for path in t.files:
        if path.suffix != ".md":
            continue
        for number, line in t.lines(path):
            for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", line):
                if not (path.parent / target).exists():
                    yield f"{t.name(path)}:{number}: {target} does not exist"


# Test(suite, S0_6_...) and macros like it, which may lack the suite.
RULE_TEST = re.compile(
    r"^\w*(?:Test|TEST)\w*\(\s*(?:\w+,\s*)?"
    r"((S[0-9]+_(?:[0-9]+|T)|B[0-9]+_[a-z]|X[0-9]+)_\w+)", re.M)


def rule_tests(t):
    """{rule: [module/test]} of every test named after a rule"""
    found = {}
    for path in t.under("tests", suffixes=(".c",)):
        module = path.stem.removeprefix("test_")
        for name, label in RULE_TEST.findall(t.text(path)):
            label = label.replace("_", ".", 1) if "_" in label else label
            found.setdefault(label, []).append(f"{module}/{name}")
    return {label: sorted(names) for label, names in found.items()}


RULE_ROW = re.compile(
    r"^\| ([SBX][0-9]+(?:\.[0-9a-zT]+)?) \| ([^|]*) \|([^|]*)\|$")


@rule
def rules_have_tests(t):
    """doc/RULES.md names each rule's tests: they exist, and none is missing"""
    path = t.root / "doc/RULES.md"
    if not path.exists():
        yield "doc/RULES.md does not exist"
        return
    tests = rule_tests(t)
    told = {}
    for number, line in t.lines(path):
        row = RULE_ROW.match(line)
        if row:
            told[row[1]] = re.findall(r"`([^`]+)`", row[3])
            if not told[row[1]]:
                yield f"doc/RULES.md:{number}: {row[1]} has no test"
    for label, names in told.items():
        for name in names:
            if name not in tests.get(label, []) and not (
                    "." in name and (t.root / name).exists()):
                yield f"doc/RULES.md: {label}: there is no test {name}"
    for label, names in sorted(tests.items()):
        for name in names:
            if name not in told.get(label, []):
                yield f"doc/RULES.md: {label}: {name} is not named"


MUTANTS_HEAD = """# Planted faults

A test that cannot fail shows nothing. Each line below is a fault that `tests/mutants/run` plants in a copy of the tree, and the test that must fail then: the gate `mutants` of `./check` is red if one lives. What is planted, to the letter, is in `tests/mutants/`. This page is written by `tests/lint/lint.py --write-docs`.
"""


def mutants_page(t):
    """doc/MUTANTS.md, from tests/mutants/*.txt"""
    text = [MUTANTS_HEAD]
    for path in t.under("tests/mutants", suffixes=(".txt",)):
        title = re.search(r"^# (?!SPDX)(.*?)\.(?: |$)", t.text(path), re.M)
        text += [f"## {title[1] if title else path.stem}", "",
                 "| fault | planted in | killed by |", "|---|---|---|"]
        for entry in re.split(r"^mutant +", t.text(path), flags=re.M)[1:]:
            name = entry.split()[0].replace("_", " ")
            where = re.search(r"^file +(\S+)", entry, re.M)
            test = re.search(r"^test +(.+)$", entry, re.M)
            killer = " ".join(test[1].split())
            text.append(f"| {name} | `{where[1]}` | `{killer}` |")
        text.append("")
    return "\n".join(text)


@rule
def mutants_are_listed(t):
    """doc/MUTANTS.md lists every planted fault and what kills it"""
    path = t.root / "doc/MUTANTS.md"
    if not path.exists() or path.read_text() != mutants_page(t):
        yield "doc/MUTANTS.md is not up to date: lint.py --write-docs"


def write_docs(t):
    write_chapters(t)
    (t.root / "doc/MUTANTS.md").write_text(mutants_page(t))
    path = t.root / "doc/RULES.md"
    tests = rule_tests(t)
    lines = []
    for line in path.read_text().splitlines():
        row = RULE_ROW.match(line)
        if row:
            kept = [n for n in re.findall(r"`([^`]+)`", row[3])
                    if "." in n and (t.root / n).exists()]
            cell = ", ".join(f"`{n}`" for n in
                             tests.get(row[1], []) + kept)
            line = f"| {row[1]} | {row[2]} | {cell} |".replace("|  |", "| |")
        lines.append(line)
    path.write_text("\n".join(lines) + "\n")


def chapters(t):
    """README's list of headers: the first line of each, in reading order"""
    lines = []
    for nr, header in enumerate(t.order, 1):
        path = t.root / "mmkit" / header
        found = re.search(r"^ \* mmkit/\S+: (.*)$", t.text(path), re.M)
        lines.append(f"{nr}. `{header}`: {found[1] if found else ''}")
    return lines


def write_chapters(t):
    path = t.root / "README.md"
    text = path.read_text()
    start = text.index("## Chapters")
    end = text.index("\n## ", start + 1)
    intro = [line for line in text[start:end].splitlines()
             if not re.match(r"\d+\. ", line)]
    body = "\n".join(intro).rstrip("\n")
    path.write_text(text[:start] + body + "\n\n" + "\n".join(chapters(t))
                    + "\n" + text[end:])


def judge(t, names=None):
    """{rule: [what breaks it]}"""
    return {name: list(function(t)) for name, function in rules.items()
            if not names or name in names}


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--root", default=HERE.parents[1])
    arguments.add_argument("--write-docs", action="store_true")
    arguments.add_argument("rules", nargs="*")
    options = arguments.parse_args()
    t = Tree(options.root)
    if options.write_docs:
        write_docs(t)
        return 0
    unknown = set(options.rules) - set(rules)
    if unknown:
        print(f"lint: no such rule: {unknown}; there are: {list(rules)}",
              file=sys.stderr)
        return 2
    failed = 0
    verdicts = judge(t, options.rules)
    for name, problems in verdicts.items():
        text = " ".join(rules[name].__doc__.split())
        print(f"{'FAILED' if problems else 'ok    '} {name}: {text}")
        for problem in problems[:20]:
            print(f"   {problem}")
        if len(problems) > 20:
            print(f"   and {len(problems) - 20} more")
        failed += bool(problems)
    print(f"{len(verdicts) - failed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
