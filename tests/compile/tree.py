# SPDX-License-Identifier: MIT
"""What the checkers know of the source tree: its floors and reading order."""
import pathlib
import re
import subprocess

FLOORS = ["base", "phys", "kva", "pmap", "vm", "pager", "reclaim", "face"]
TOP = pathlib.Path(__file__).resolve().parents[2]


def reading_order(top=TOP):
    """The headers that mmkit.h includes, as "base/base.h", in its order."""
    text = (top / "mmkit/mmkit.h").read_text()
    return re.findall(r'^#include "([^"]+)"', text, re.M)


def headers_of(floors, top=TOP):
    return [h for h in reading_order(top) if h.split("/")[0] in floors]


def run(command, cwd=None, stdin=None, timeout=300):
    """(exit status, everything it printed)"""
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, input=stdin, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout)
    return done.returncode, done.stdout


def symbols(object_file, kinds):
    """The names in an object whose nm letter is one of `kinds`."""
    status, text = run(["nm", object_file])
    if status != 0:
        raise RuntimeError(text)
    names = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[-2] in kinds:
            names.append(words[-1])
    return names


MEM_FUNCTIONS = {"memcpy", "memmove", "memset", "memcmp"}
