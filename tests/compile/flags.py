# SPDX-License-Identifier: MIT
"""The compilers, dialects and warnings that mmkit/ promises to be clean under."""

WARNINGS = """
-Wall -Wextra -Wshadow -Wundef -Wconversion -Wsign-conversion -Wcast-align
-Wcast-qual -Wstrict-prototypes -Wmissing-prototypes -Wmissing-declarations
-Wmissing-field-initializers -Wdouble-promotion -Wtype-limits -Wunused
-Wunused-parameter -Wvla -Werror
""".split()
# C's own: the C++ compilers refuse them.
C_ONLY = {"-Wstrict-prototypes", "-Wmissing-prototypes"}

COMPILERS = {
    ("gcc", "x86_64"): ["gcc"],
    ("clang", "x86_64"): ["clang"],
    ("gcc", "aarch64"): ["aarch64-linux-gnu-gcc", "-mno-outline-atomics"],
    ("clang", "aarch64"): ["clang", "--target=aarch64-none-elf",
                           "-mno-outline-atomics"],
}
# gnu99 knows _Static_assert as an extension, which -Wpedantic reports.
DIALECTS = {
    "gnu99": [],
    "c11": ["-Wpedantic"],
    "gnu17": ["-Wpedantic"],
    "gnu2x": ["-Wpedantic"],
}
FREESTANDING = ["-ffreestanding", "-fno-pic", "-fno-stack-protector"]


def c_command(compiler, arch, dialect, level, extra=()):
    """A freestanding compilation, everything but -c, source and output."""
    return (COMPILERS[compiler, arch] + [f"-std={dialect}", f"-O{level}"]
            + FREESTANDING + WARNINGS + DIALECTS[dialect] + list(extra))


def cxx_warnings():
    return [w for w in WARNINGS if w not in C_ONLY]
