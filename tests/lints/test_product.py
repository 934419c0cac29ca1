#!/usr/bin/python3
"""dead.py and circles.py themselves, on small products that are wrong in one way each."""

import json
import subprocess
import tempfile
import unittest
from pathlib import Path

import circles
import dead
from product import Product

MAIN = "int a(void); int main(void) { return a(); }"


class Tree(unittest.TestCase):
    def make(self, files, rooms="program p room\nroom src/room\n"):
        """Build a product of these files (path → text), as CMake lays it out."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        root = Path(folder.name)
        build = root / "build"
        entries = []
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            if path.suffix == ".h":
                continue
            target = "p" if path.name == "main.c" else f"room_{path.parent.name}"
            output = f"{path.parent.relative_to(root)}/CMakeFiles/{target}.dir/{path.name}.o"
            (build / output).parent.mkdir(parents=True, exist_ok=True)
            command = f"cc -O2 -Werror -I{root}/src -o {output} -c {path}"
            subprocess.run(command.split(), cwd=build, check=True)
            entries.append({"file": str(path), "command": command, "directory": str(build)})
        (build / "compile_commands.json").write_text(json.dumps(entries))
        (build / "rooms.txt").write_text(rooms)
        return Product(build, root)


class Dead(Tree):
    def find(self, files, **more):
        return dead.find(self.make({"src/app/main.c": MAIN, **files}, **more))

    def test_all_is_reached(self):
        files = {"src/room/a.c": "static int b(void) { return 1; }\nint a(void) { return b(); }"}
        self.assertEqual(self.find(files), [])

    def test_a_function_that_nothing_calls(self):
        files = {"src/room/a.c": "int b(void) { return 1; }\nint a(void) { return 2; }"}
        self.assertEqual(self.find(files), [("src/room/a.c", "b")])

    def test_a_file_that_no_link_would_take(self):
        files = {
            "src/room/a.c": "int a(void) { return 1; }",
            "src/room/b.c": "static int c(void) { return 2; }\nint b(void) { return c(); }",
        }
        self.assertEqual(self.find(files), [("src/room/b.c", "b"), ("src/room/b.c", "c")])

    def test_a_function_of_a_table(self):
        table = "static int b(void) { return 1; }\nint (*const %s[])(void) = {b};\n"
        call = "int a(void) { return table[0](); }"
        self.assertEqual(self.find({"src/room/a.c": table % "table" + call}), [])
        found = self.find({"src/room/a.c": table % "other" + "int a(void) { return 2; }"})
        self.assertEqual(found, [("src/room/a.c", "b")])

    def test_a_function_of_a_header(self):
        header = "static inline int b(void) { return 1; }\nstatic inline int c(void) { return 2; }"
        source = '#include "room/a.h"\nint a(void) { return b(); }'
        files = {"src/room/a.h": header, "src/room/a.c": source}
        self.assertEqual(self.find(files), [("src/room/a.h", "c")])

    def test_one_executable_of_two_is_enough(self):
        files = {
            "src/room/a.c": "int a(void) { return 1; }\nint b(void) { return 2; }",
            "src/other/b.c": "int b(void);\nint main(void) { return b(); }",
        }
        rooms = "program p room\nprogram q other room\nroom src/room\nroom src/other\n"
        self.assertEqual(self.find(files, rooms=rooms), [])

    def test_an_object_that_was_made_anew(self):
        product = self.make({"src/app/main.c": MAIN, "src/room/a.c": "int a(void) { return 1; }"})
        self.assertEqual(dead.find(product), [])
        source = product.root / "src/room/a.c"
        source.write_text("int a(void) { return 1; }\nint b(void) { return 2; }")
        for one in product.objects:
            subprocess.run(one.command, cwd=product.build, check=True)
        self.assertEqual(dead.find(product), [("src/room/a.c", "b")])


class Circles(Tree):
    def ring(self, *names):
        """Files each of which calls the next one, and the last the first."""
        following = dict(zip(names, names[1:] + names[:1], strict=True))
        return {
            f"src/room/{name}.c": f"int {other}(void); int {name}(void) {{ return {other}(); }}"
            for name, other in following.items()
        }

    def find(self, files):
        found = circles.circles(circles.dependencies(self.make(files)))
        return [[path.name for path in members] for members in found]

    def test_no_circle(self):
        files = {"src/app/main.c": MAIN, "src/room/a.c": "int a(void) { return 1; }"}
        self.assertEqual(self.find(files), [])

    def test_circles_beside_each_other(self):
        files = {**self.ring("a", "b", "c", "d"), **self.ring("e", "f"), "src/app/main.c": MAIN}
        self.assertEqual(self.find(files), [["e.c", "f.c"], ["a.c", "b.c", "c.c", "d.c"]])

    def test_circles_with_a_common_file(self):
        files = self.ring("a", "b", "c")
        files["src/room/d.c"] = "int a(void); int d(void) { return a(); }"
        files["src/room/c.c"] = "int a(void); int d(void); int c(void) { return a() + d(); }"
        self.assertEqual(self.find(files), [["a.c", "b.c", "c.c", "d.c"]])

    def test_a_circle_by_data(self):
        files = {
            "src/room/a.c": "extern const int b; const int *a(void) { return &b; }",
            "src/room/b.c": "const int *a(void); const int b = 1; const int *c(void) { return a(); }",
        }
        self.assertEqual(self.find(files), [["a.c", "b.c"]])


if __name__ == "__main__":
    unittest.main()
