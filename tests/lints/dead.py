#!/usr/bin/python3
"""Find the functions of the product that no executable reaches, even if a test calls them.

dead.py --build FOLDER [--jobs N]

The build folder must be up to date. Each object is compiled again with a section for each
function and without optimization, since an inlined call leaves no trace. Each executable is then
linked from all objects of its rooms, and the linker lists the sections that main() doesn't reach.
A function that is in this list for every executable is a finding. An object is compiled again
only if the build has made it anew.
"""

import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from product import FOLDERS, ROOT, Product

DROPPED = re.compile(
    r"-O\w*|-g\w*|-Werror|-D_FORTIFY_SOURCE=\d|-DNDEBUG|-DPILLION_SANITIZED=1|--coverage"
    r"|-f(no-)?sanitize.*|-fno-omit-frame-pointer"
)
ADDED = ["-O0", "-w", "-ffunction-sections", "-fdata-sections", "-fkeep-inline-functions"]
LINK = [
    *["-static", "-nostdlib", "-Wl,--entry=main", "-Wl,--unresolved-symbols=ignore-all"],
    *["-Wl,--gc-sections", "-Wl,--print-gc-sections"],
]
SECTION = re.compile(r"^ *\[ *\d+\] \.text\.(\S+) +PROGBITS", re.MULTILINE)
REMOVED = re.compile(r"removing unused section '\.text\.(\S+)' in file '(.+)'")
INLINE = re.compile(r"^static inline [^;{}()]*?\b(\w+)\(", re.MULTILINE)
ENGLISH = {**os.environ, "LC_ALL": "C"}


def compile_again(one, build):
    """Compile an object without optimization; return its path."""
    path = build / "dead" / one.path.relative_to(build)
    if path.exists() and path.stat().st_mtime > one.path.stat().st_mtime:
        return str(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    words = [word for word in one.command if not DROPPED.fullmatch(word)]
    words[words.index("-o") + 1] = str(path)
    subprocess.run([*words, *ADDED], cwd=build, check=True)
    return str(path)


def functions(paths):
    """The functions in each object: path → names."""
    shown = subprocess.run(
        ["readelf", "-SW", *paths], capture_output=True, text=True, check=True, env=ENGLISH
    ).stdout
    parts = re.split(r"^File: (.+)$", shown, flags=re.MULTILINE)[1:]
    return {
        path: set(SECTION.findall(text)) for path, text in zip(parts[::2], parts[1::2], strict=True)
    }


def removed(compiler, paths):
    """The functions that the linker removes from a program of these objects: (path, name)."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [compiler, *LINK, *paths, "-o", f"{folder}/program"],
            capture_output=True,
            text=True,
            env=ENGLISH,
        )
    if done.returncode != 0:
        sys.exit(done.stderr)
    return {(path, name) for name, path in REMOVED.findall(done.stderr)}


def inline_functions(root):
    """Functions that headers define: name → header."""
    return {
        name: str(path.relative_to(root))
        for folder in FOLDERS
        for path in (root / folder).rglob("*.h")
        for name in INLINE.findall(path.read_text())
    }


def find(product, jobs=2):
    """The functions that no executable reaches, as sorted (file, name)."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        again = pool.map(lambda one: compile_again(one, product.build), product.objects)
        paths = dict(zip(product.objects, again, strict=True))
    inside = functions(paths.values())
    headers = inline_functions(product.root)
    every, reached = set(), set()
    for program in product.programs:
        linked = product.linked(program)
        lost = removed(linked[0].command[0], [paths[one] for one in linked])
        for one in linked:
            text = (product.root / one.source).read_text()
            for name in inside[paths[one]]:
                # A header of the system defines what neither defines.
                if name in headers or re.search(rf"\b{name}\b", text):
                    place = (headers.get(name, str(one.source)), name)
                    every.add(place)
                    if (paths[one], name) not in lost:
                        reached.add(place)
    return sorted(every - reached)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    findings = find(Product(arguments.build, arguments.root), arguments.jobs)
    for path, name in findings:
        print(f"{path}: no executable reaches {name}(): delete it, or call it")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
