#!/usr/bin/python3
"""Hold the code to the tables of docs/architecture.md.

floors.py [--root FOLDER] [--build FOLDER]

Reads the table of rooms and every #include "…" of src/ and netlink/. With --build it also
reads the links that CMake made (rooms.txt) and the libraries that each executable loads. Fails,
with a line for each finding, on
  - an include of a room that the including room's row doesn't name;
  - rows, or headers, that lead round in a circle;
  - two .c files with one name in different folders, except main.c;
  - a room whose CMake list names more than its row, or less than its includes need;
  - an executable that loads a library its row doesn't name, or doesn't load one that it names.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
# The C library and the libraries of sanitizers.
ALWAYS = {"libc", "libm", "ld-linux-x86-64", "ld-linux-aarch64", "libasan", "libubsan", "libtsan"}


def table(text, *head):
    """The rows of the table with this head line, each a list of its cells; None without one."""
    lines = iter(text.splitlines())
    for line in lines:
        if [cell.strip() for cell in line.strip("| ").split("|")] == list(head):
            next(lines)  # |---|---|
            rows = []
            for row in lines:
                if not row.startswith("|"):
                    break
                rows.append([cell.strip().strip("`") for cell in row.strip("| ").split("|")])
            return rows
    return None


def names(cell):
    return {name.strip() for name in cell.split(",")} - {"–", "-", ""}


def circle(graph):
    """Some circle in a graph of name → names, as a list of names; None if there is none."""
    done, path = set(), []

    def visit(name):
        if name in path:
            return path[path.index(name) :] + [name]
        if name in done:
            return None
        path.append(name)
        for other in sorted(graph.get(name, ())):
            found = visit(other)
            if found:
                return found
        path.pop()
        done.add(name)
        return None

    for name in sorted(graph):
        found = visit(name)
        if found:
            return found
    return None


class Floors:
    """The tables of the page, and the findings."""

    def __init__(self, root):
        self.root = Path(root)
        self.findings = []
        text = (self.root / "docs/architecture.md").read_text()
        rooms = table(text, "room", "may include") or []
        self.may_include = {room: names(cell) for room, cell in rooms}
        everything = set(self.may_include)
        for room, allowed in self.may_include.items():
            if allowed == {"all"}:
                self.may_include[room] = everything - {room}
        self.may_link = {
            program: names(cell) for program, cell in table(text, "executable", "may link") or []
        }
        self.included = {room: set() for room in self.may_include}  # room → rooms, as found

    def find(self, where, what):
        self.findings.append(f"{where}: {what}")

    def check_tables(self):
        if not self.may_include:
            self.find("docs/architecture.md", "no table | room | may include |")
        if not self.may_link:
            self.find("docs/architecture.md", "no table | executable | may link |")
        for room, allowed in self.may_include.items():
            for unknown in sorted(allowed - set(self.may_include)):
                self.find("docs/architecture.md", f"{room} may include {unknown}, which has no row")
        round_trip = circle(self.may_include)
        if round_trip:
            self.find("docs/architecture.md", f"the rooms form a circle: {' → '.join(round_trip)}")

    def sources(self):
        for folder in ("src", "netlink"):
            yield from sorted((self.root / folder).rglob("*.[ch]"))

    def room_of(self, path):
        parts = path.relative_to(self.root).parts
        return parts[1] if parts[0] == "src" else parts[0]

    def check_includes(self):
        graph = {}
        for path in self.sources():
            where, room = path.relative_to(self.root), self.room_of(path)
            if room not in self.may_include:
                self.find(where, f"the folder {room} has no row in docs/architecture.md")
                continue
            name = str(where).removeprefix("src/")
            graph[name] = set()
            for target in INCLUDE.findall(path.read_text()):
                other = target.split("/")[0]
                if other not in self.may_include or "/" not in target or ".." in target:
                    self.find(where, f'"{target}" names no room: write "room/file.h"')
                elif other != room and other not in self.may_include[room]:
                    self.find(where, f'{room} may not include "{target}"')
                elif other != room:
                    self.included[room].add(other)
                graph[name].add(target)
        round_trip = circle(graph)
        if round_trip:
            self.find(round_trip[0], f"includes itself: {' → '.join(round_trip)}")

    def check_names(self):
        """The name of a file says its contents without the folder, so it has to be unique."""
        seen = {"main.c": None}
        for path in self.sources():
            where = path.relative_to(self.root)
            other = seen.setdefault(where.name, where) if where.suffix == ".c" else None
            if other not in (None, where):
                self.find(where, f"has the name of {other}")

    def check_links(self, build):
        programs = []
        for line in (build / "rooms.txt").read_text().splitlines():
            kind, name, *rooms = line.split()
            if kind == "program":
                programs.append(name)
                continue
            room = self.room_of(self.root / name)
            for other in sorted(set(rooms) - self.may_include.get(room, set())):
                self.find(f"{name}/CMakeLists.txt", f"{room} may not link {other}")
            if room == "app":  # each part names the rooms that it needs; the linker proves it
                continue
            for other in sorted(self.included.get(room, set()) - set(rooms)):
                self.find(f"{name}/CMakeLists.txt", f"ROOMS lacks {other}, which {room} includes")
        for program in programs:
            self.check_program(program, loads(build / program))

    def check_program(self, program, libraries):
        if program not in self.may_link:
            self.find("docs/architecture.md", f"no row says what the executable {program} may link")
            return
        for library in sorted(libraries - self.may_link[program] - ALWAYS):
            self.find(program, f"may not link {library}")
        for library in sorted(self.may_link[program] - libraries):
            self.find("docs/architecture.md", f"{program} doesn't load {library} of its row")


def loads(path):
    """The libraries that an executable names as needed, without versions: {"libuv", …}."""
    shown = subprocess.run(["readelf", "-dW", path], capture_output=True, text=True, check=True)
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", shown.stdout)
    return {soname.split(".so")[0] for soname in needed}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[2])
    parser.add_argument("--build", type=Path, help="a build folder; checks links too")
    arguments = parser.parse_args()
    floors = Floors(arguments.root)
    floors.check_tables()
    floors.check_includes()
    floors.check_names()
    if arguments.build:
        floors.check_links(arguments.build)
    for finding in floors.findings:
        print(finding)
    if floors.findings:
        print("docs/architecture.md has the tables of what may be included and linked.")
    return 1 if floors.findings else 0


if __name__ == "__main__":
    sys.exit(main())
