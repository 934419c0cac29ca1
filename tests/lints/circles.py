#!/usr/bin/python3
"""Find circles of more than three files of the product, by the symbols that they take.

circles.py --build FOLDER [--most N] [--verbose]

The build folder must be up to date. File A depends on file B if an object of A needs a symbol
that an object of B defines. A circle is a set of files each of which depends on each other one,
directly or through others. --verbose lists the symbols that tie the files.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

from product import ROOT, Product

MOST = 3


def symbols(product):
    """The symbols that each source file defines and needs: two dicts, source → names."""
    defined, needed = {}, {}
    sources = {str(one.path): one.source for one in product.objects}
    shown = subprocess.run(["nm", "-A", "-P", *sources], capture_output=True, text=True, check=True)
    for line in shown.stdout.splitlines():
        path, name, kind = re.match(r"(.+): (\S+) (\w)", line).groups()
        if kind == "U":
            needed.setdefault(sources[path], set()).add(name)
        elif kind.isupper():
            defined.setdefault(sources[path], set()).add(name)
    return defined, needed


def dependencies(product):
    """A graph: source → {source that it depends on: the names that it takes}."""
    defined, needed = symbols(product)
    places = {}
    for source, names in defined.items():
        for name in names:
            places.setdefault(name, set()).add(source)
    graph = {}
    for source, names in needed.items():
        edges = graph.setdefault(source, {})
        for name in sorted(names):
            for place in places.get(name, set()) - {source}:
                edges.setdefault(place, []).append(name)
    return graph


def circles(graph):
    """The strongly connected parts of more than one member (Tarjan), smallest first."""
    number, low, stack, found = {}, {}, [], []

    def visit(one):
        number[one] = low[one] = len(number)
        stack.append(one)
        for other in graph.get(one, ()):
            if other not in number:
                visit(other)
                low[one] = min(low[one], low[other])
            elif other in stack:
                low[one] = min(low[one], number[other])
        if low[one] == number[one]:
            at = stack.index(one)
            members = stack[at:]
            del stack[at:]
            if len(members) > 1:
                found.append(sorted(members))

    sys.setrecursionlimit(10000)
    for one in graph:
        if one not in number:
            visit(one)
    return sorted(found, key=lambda members: (len(members), members))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--most", type=int, default=MOST, help="how many files a circle may have")
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    graph = dependencies(Product(arguments.build, arguments.root))
    findings = [members for members in circles(graph) if len(members) > arguments.most]
    for members in findings:
        print(f"a circle of {len(members)} files:", *members)
        for one in members if arguments.verbose else ():
            for other in sorted(set(graph[one]) & set(members)):
                print(f"    {one} needs of {other}:", *graph[one][other])
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
