#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""usage: selftest.py

Plants one violation of every rule of lint.py in a copy of the tree; the rule
must see it, and see nothing new where none is planted.
"""
import concurrent.futures
import functools
import pathlib
import shutil
import sys
import tempfile

import lint

TOP = pathlib.Path(__file__).resolve().parents[2]
LIST = "mmkit/base/list.h"
C_FILE = '/* SPDX-License-Identifier: MIT */\n'
IMPL = "\n#if defined(MMKIT_IMPLEMENTATION) && !defined(PLANTED)\n" \
    "#define PLANTED\n{}\n#endif\n"


def add(path, text):
    def edit(root):
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        old = target.read_text() if target.exists() else ""
        target.write_text(old + text)
    return edit


def swap(path, old, new):
    def edit(root):
        target = root / path
        text = target.read_text()
        assert old in text, f"{old!r} is not in {path}"
        target.write_text(text.replace(old, new, 1))
    return edit


# (rule, what is planted, how, a word of the report)
PLANTS = [
    ("layering", "a lower floor that includes a higher one",
     add(LIST, '#include "../phys/frame.h"\n'), "phys/frame.h"),
    ("layering", "a header that includes a later one of its floor",
     add("mmkit/base/port.h", '#include "bitmap.h"\n'), "bitmap.h"),
    ("layering", "a header that mmkit.h leaves out",
     add("mmkit/base/extra.h", C_FILE), "extra.h"),
    ("layering", "an include that leaves mmkit/",
     add(LIST, '#include "../../ports/x86_64/pte.h"\n'), "pte.h"),
    ("reading_order", "floors out of order",
     add("mmkit/mmkit.h", '#include "base/list.h"\n'), "order"),
    ("readme_chapters", "a chapter that is missing",
     swap("README.md", "`base/list.h`", "`base/rope.h`"), "list.h"),
    ("mutants_are_listed", "a planted fault that the document does not know",
     add("tests/mutants/vm.txt", "\nmutant   a_new_one\nfile     mmkit/vm/vm.h\n"
         "find     x\ntest     vm\n"), "MUTANTS.md"),
    ("what_reaches_out", "a header of the C library",
     add(LIST, "#include <string.h>\n"), "string.h"),
    ("what_reaches_out", "a fourth macro that reaches out",
     add(LIST, "#include MMKIT_EXTRA_H\n"), "MMKIT_EXTRA_H"),
    ("names_nothing_of_ports", "a word of the simulator's",
     add(LIST, "void sim_boot(const struct sim_config *config);\n"
         "static void mmk__x(void) { sim_boot(0); }\n"), "sim_config"),
    ("tests_are_listed", "a test nobody builds",
     add("tests/test_orphan.c", C_FILE), "test_orphan"),
    ("page_size_is_a_parameter", "4096",
     add(LIST, "#define MMK_PLANTED (3 * 4096u)\n"), "4096"),
    ("page_size_is_a_parameter", "a shift by 12",
     add(LIST, "#define MMK_PLANTED(x) ((x) >> 12)\n"), "12"),
    ("page_size_is_a_parameter", "a shift by the page shift",
     add(LIST, "#define MMK_PLANTED(x) ((x) << MMK_PAGE_SHIFT)\n"), "SHIFT"),
    ("prefixes", "a function without a prefix",
     add(LIST, "static inline int planted(void) { return 1; }\n"), "planted"),
    ("prefixes", "a macro", add(LIST, "#define PLANTED 1\n"), "PLANTED"),
    ("prefixes", "an enum member",
     add(LIST, "enum mmk_planted {\n\tPLANTED_ONE\n};\n"), "PLANTED_ONE"),
    ("prefixes", "a struct tag",
     add(LIST, "struct planted { int mmk_x; };\n"), "planted"),
    ("private_helpers", "a private helper with a public name",
     add(LIST, "MMK_PRIVATE int\nmmk_planted(void)\n{\n\treturn 1;\n}\n"),
     "mmk_planted"),
    ("compiler_words", "an attribute",
     add(LIST, "struct __attribute__((packed)) mmk_p { int x; };\n"),
     "__attribute__"),
    ("compiler_words", "an atomic of the compiler's",
     add(LIST, "#define MMK_P(p) __atomic_load_n(p, 0)\n"), "__atomic_load_n"),
    ("assertions_have_no_percent", "a remainder",
     add(LIST, "#define MMK_P(x) MMK_ASSERT((x)\\\n    % 8 == 0)\n"), "% 8"),
    ("no_floating_point", "a double",
     add(LIST, "#define MMK_P ((double)1)\n"), "double"),
    ("no_marks", "a mark of unfinished work",
     add(LIST, "/* TO" + "DO: later */\n"), "later"),
    ("no_machine_paths", "a home directory",
     add("doc/PORTING.md", "See /ho" + "me/me/kernel.\n"), "PORTING"),
    ("spdx", "a file without a licence",
     add("tests/planted.c", "int x;\n"), "planted.c"),
    ("header_form", "a head without LOCKS",
     swap(LIST, " * LOCKS", " * SOCKS"), "LOCKS"),
    ("header_form", "a wrong guard",
     swap(LIST, "#ifndef MMKIT_BASE_LIST_H", "#ifndef MMKIT_LIST_H"), "guard"),
    ("lengths", "a file of 1001 lines",
     add("tests/planted.c", C_FILE + "int x;\n" * 1000), "1001"),
    ("lengths", "a function of 71 lines",
     add("tests/planted.c", C_FILE + "int\nf(void)\n{\n" + "\t;\n" * 68
         + "}\n"), "71"),
    ("white_space", "a trailing space", add(LIST, "/* x */ \n"), "trailing"),
    ("white_space", "spaces that indent",
     add(LIST, "        /* x */\n"), "spaces"),
    ("white_space", "no newline at the end", add(LIST, "/* x */"), "newline"),
    ("definitions_start_lines", "a definition on one line with its type",
     add(LIST, "static inline int mmk_planted(void)\n{\n\treturn 1;\n}\n"),
     "mmk_planted"),
    ("no_mutable_state", "a counter at file scope",
     add(LIST, IMPL.format("int mmk_planted_count;")), "mmk_planted_count"),
    ("no_mutable_state", "a static in a function",
     add(LIST, IMPL.format(
         "extern int mmk_planted(void);\nint\nmmk_planted(void)\n{\n"
         "\tstatic int count = 3;\n\treturn ++count;\n}")), "count"),
    ("calls_only_the_port", "a call of the C library",
     add(LIST, IMPL.format(
         "extern int puts(const char *);\nextern int mmk_planted(void);\nint\n"
         "mmk_planted(void)\n{\n\treturn puts(\"x\");\n}")), "puts"),
    ("symbols_are_prefixed", "a visible name without a prefix",
     add(LIST, IMPL.format(
         "extern int planted(void);\nint\nplanted(void)\n{\n\treturn 1;\n}")),
     "planted"),
    ("frames_are_small", "a frame of 600 bytes",
     add(LIST, IMPL.format(
         "extern int mmk_planted(int);\nint\nmmk_planted(int x)\n{\n"
         "\tvolatile char mmk_buffer[600];\n\tmmk_buffer[x] = 1;\n"
         "\treturn mmk_buffer[0];\n}")), "600|frame"),
    ("calls_are_shallow", "2400 bytes in five frames",
     add(LIST, IMPL.format("".join(
         f"extern int mmk_planted{i}(int);\n__attribute__((noinline)) int\n"
         f"mmk_planted{i}(int x)\n{{\n\tvolatile char mmk_buffer[480];\n"
         "\tmmk_buffer[x] = 1;\n"
         f"\treturn {f'mmk_planted{i - 1}(x - 1)' if i else 'x'} + "
         "mmk_buffer[0];\n}\n" for i in range(5)))), "mmk_planted4"),
    ("recursion_is_bounded", "two functions that call each other",
     add(LIST, IMPL.format(
         "extern int mmk_planted(int);\nextern int mmk_planted_b(int);\nint\n"
         "mmk_planted_b(int x)\n{\n\treturn mmk_planted(x);\n}\nint\n"
         "mmk_planted(int x)\n{\n\treturn x ? mmk_planted_b(x - 1) : 0;\n}")),
     "mmk_planted"),
    ("port_macros_are_documented", "a macro the manual does not know",
     add(LIST, "#ifndef MMKIT_PLANTED\n#define MMKIT_PLANTED 1\n#endif\n"),
     "MMKIT_PLANTED"),
    ("port_macros_are_documented", "a macro only the manual knows",
     add("doc/PORTING.md", "`MMKIT_PLANTED`\n"), "nowhere"),
    ("porting_anchors", "an #error that points to no heading",
     add(LIST, '#if 0\n#error "see doc/PORTING.md, planted"\n#endif\n'),
     "planted"),
    ("links", "a link to nothing",
     add("README.md", "[x](doc/PLANTED.md)\n"), "PLANTED"),
    ("rules_have_tests", "a test that RULES.md does not name",
     add("tests/planted.c", C_FILE + "Test(planted, S0_1_planted)\n{\n}\n"),
     "S0_1_planted"),
    ("rules_have_tests", "a rule whose test is gone",
     add("doc/RULES.md", "| S9.9 | planted | `planted/S9_9_x` |\n"), "S9.9"),
    ("rules_have_tests", "a rule without a test",
     add("doc/RULES.md", "| S9.9 | planted | |\n"), "no test"),
]


@functools.lru_cache(maxsize=None)
def problems_before(name):
    return problems_of(TOP, name)


def problems_of(root, name):
    return set(lint.rules[name](lint.Tree(root)))


def copy(to):
    shutil.copytree(TOP, to, ignore=shutil.ignore_patterns(
        ".git", "build", "__pycache__"))


def try_plant(number):
    """"" if the rule sees what is planted; else what it sees"""
    name, _, edit, word = PLANTS[number]
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder, "tree")
        copy(root)
        try:
            edit(root)
        except AssertionError as error:
            return f"cannot be planted: {error}"
        new = problems_of(root, name) - problems_before(name)
    seen = any(w in line for line in new for w in word.split("|"))
    return "" if seen else f"it reports {sorted(new)}"


def main():
    passed = failed = 0
    for name in sorted(set(lint.rules) - {p[0] for p in PLANTS}):
        failed += 1
        print(f"FAILED {name}: no violation is planted for it")
    with concurrent.futures.ProcessPoolExecutor() as pool:
        for plant, problem in zip(PLANTS, pool.map(try_plant,
                                                   range(len(PLANTS)))):
            if problem:
                failed += 1
                print(f"FAILED {plant[0]} does not see {plant[1]}: {problem}")
            else:
                passed += 1
                print(f"ok     {plant[0]} sees {plant[1]}")
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
