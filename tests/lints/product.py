"""The objects and executables of the product, read from a build folder."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("src", "netlink")


@dataclass(frozen=True)
class Object:
    """One object file of a room or an executable."""

    source: Path  # relative to the root
    path: Path
    command: tuple[str, ...]  # compiles it, in the build folder


class Product:
    """The contents of compile_commands.json and rooms.txt of a build folder."""

    def __init__(self, build, root=ROOT):
        self.root = Path(root).resolve()
        self.build = Path(build).resolve()
        self.objects = list(self._objects())
        self.programs = []
        self._rooms = {}  # the rooms that a room or a program links
        for line in (self.build / "rooms.txt").read_text().splitlines():
            kind, name, *rooms = line.split()
            if kind == "program":
                self.programs.append(name)
            self._rooms[Path(name).name] = rooms

    def _objects(self):
        for entry in json.loads((self.build / "compile_commands.json").read_text()):
            source = Path(entry["file"])
            command = shlex.split(entry["command"])
            output = command[command.index("-o") + 1]
            # Some tests compile source files of the product again.
            if output.split("/")[0] in FOLDERS and source.is_relative_to(self.root):
                yield Object(source.relative_to(self.root), self.build / output, tuple(command))

    def linked(self, program):
        """The objects of a program and of all rooms that it links."""
        targets, waiting = {f"{program}.dir"}, list(self._rooms[program])
        while waiting:
            room = waiting.pop()
            if f"room_{room}.dir" not in targets:
                targets.add(f"room_{room}.dir")
                waiting += self._rooms[room]
        return [one for one in self.objects if targets & set(one.path.parts)]
