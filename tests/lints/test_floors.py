#!/usr/bin/python3
"""floors.py itself, on small trees with one mistake each."""

import tempfile
import unittest
from pathlib import Path

import floors

PAGE = """
| room | may include |
|---|---|
| base | – |
| wire | base |
| tunnel | base, wire |
| netlink | base |
| app | all |

What each executable may load:

| executable | may link |
|---|---|
| pillion | libmnl, libuv |
"""


class Tree(unittest.TestCase):
    def check(self, files=None, page=PAGE, rooms=None):
        """What floors.py finds in a tree of these files (path → includes)."""
        with tempfile.TemporaryDirectory() as root:
            (Path(root) / "docs").mkdir()
            (Path(root) / "docs/architecture.md").write_text(page)
            for name, includes in (files or {}).items():
                path = Path(root) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("".join(f'#include "{one}"\n' for one in includes))
            found = floors.Floors(root)
            found.check_tables()
            found.check_includes()
            found.check_names()
            if rooms is not None:
                (Path(root) / "rooms.txt").write_text(rooms)
                found.check_links(Path(root))
            return found.findings

    def test_a_right_tree(self):
        files = {
            "src/base/a.h": [],
            "src/wire/b.c": ["wire/b.h", "base/a.h"],
            "src/wire/b.h": ["base/a.h"],
            "src/tunnel/path/c.c": ["tunnel/path/c.h", "wire/b.h"],
            "netlink/d.c": ["base/a.h", "netlink/d.h"],
            "src/app/engine/main.c": ["tunnel/path/c.h", "netlink/d.h"],
        }
        rooms = "room src/wire base\nroom src/tunnel base wire\nroom netlink base\nroom src/base\n"
        rooms += "room src/app/cli base wire\n"
        self.assertEqual(self.check(files, rooms=rooms), [])

    def test_an_include_up_a_floor(self):
        self.assertEqual(
            self.check({"src/wire/b.c": ["tunnel/c.h"]}),
            ['src/wire/b.c: wire may not include "tunnel/c.h"'],
        )

    def test_an_include_of_a_neighbour(self):
        self.assertEqual(
            self.check({"netlink/d.h": ["wire/b.h"]}),
            ['netlink/d.h: netlink may not include "wire/b.h"'],
        )

    def test_an_include_that_names_no_room(self):
        for target in ("c.h", "../base/a.h", "base/../tunnel/c.h", "elsewhere/x.h"):
            findings = self.check({"src/wire/b.c": [target]})
            self.assertEqual(len(findings), 1)
            self.assertIn("names no room", findings[0])

    def test_headers_in_a_circle(self):
        files = {"src/wire/a.h": ["wire/b.h"], "src/wire/b.h": ["wire/a.h"]}
        self.assertEqual(
            self.check(files), ["wire/a.h: includes itself: wire/a.h → wire/b.h → wire/a.h"]
        )

    def test_rooms_in_a_circle(self):
        page = PAGE.replace("| base | – |", "| base | tunnel |")
        self.assertIn("the rooms form a circle: base → tunnel → base", self.check(page=page)[0])

    def test_a_folder_without_a_row(self):
        self.assertEqual(
            self.check({"src/misc/x.c": []}),
            ["src/misc/x.c: the folder misc has no row in docs/architecture.md"],
        )

    def test_two_files_of_one_name(self):
        files = {"src/base/a.c": [], "src/wire/a.c": [], "src/wire/a.h": [], "src/base/a.h": []}
        mains = {"src/app/engine/main.c": [], "src/app/server/main.c": []}
        self.assertEqual(self.check(files | mains), ["src/wire/a.c: has the name of src/base/a.c"])

    def test_pages_without_their_tables(self):
        self.assertEqual(len(self.check(page="nothing")), 2)
        page = PAGE.replace("| wire | base |", "| wire | base, nowhere |")
        self.assertIn("wire may include nowhere, which has no row", self.check(page=page)[0])

    def test_links_beyond_the_row(self):
        self.assertEqual(
            self.check(rooms="room src/wire base tunnel\n"),
            ["src/wire/CMakeLists.txt: wire may not link tunnel"],
        )

    def test_links_short_of_the_includes(self):
        self.assertEqual(
            self.check({"src/tunnel/c.c": ["wire/b.h"]}, rooms="room src/tunnel base\n"),
            ["src/tunnel/CMakeLists.txt: ROOMS lacks wire, which tunnel includes"],
        )

    def test_an_executable_and_its_libraries(self):
        found = floors.Floors(Path(__file__).resolve().parents[2])
        found.may_link = {"pillion": {"libmnl"}}
        found.check_program("pillion", {"libmnl", "libc", "libasan"})
        self.assertEqual(found.findings, [])
        found.check_program("pillion", {"libssl", "libmnl"})
        found.check_program("pillion", {"libc"})
        found.check_program("other", set())
        self.assertEqual(
            found.findings,
            [
                "pillion: may not link libssl",
                "docs/architecture.md: pillion doesn't load libmnl of its row",
                "docs/architecture.md: no row says what the executable other may link",
            ],
        )

    def test_what_an_executable_loads(self):
        self.assertIn("libc", floors.loads("/bin/sh"))

    def test_the_supervisor_never_loads_cryptography(self):
        page = floors.Floors(Path(__file__).resolve().parents[2])
        forbidden = {"libssl", "libcrypto", "libnghttp2", "libsodium"}
        self.assertEqual(page.may_link["pillion"] & forbidden, set())


if __name__ == "__main__":
    unittest.main()
