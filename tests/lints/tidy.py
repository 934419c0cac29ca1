#!/usr/bin/python3
"""Run clang-tidy over the changed files of src/ and netlink/.

tidy.py --build FOLDER [--jobs N] [--all] [FILE…]

.clang-tidy lists the checks, and the reason for each one that is off. A clean file is checked
again only if it, a header of ours that it includes, its command, or .clang-tidy changed.
"""

import argparse
import concurrent.futures
import hashlib
import json
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INCLUDE = re.compile(rb'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
# Options of gcc alone, and sanitizers, which only slow the analyzer down.
DROPPED = re.compile(r"-ftrivial-auto-var-init=.*|-fsanitize=.*|-fno-sanitize.*|-fcf-protection")


@cache
def includes(path):
    """Our own headers that a file includes, through all of them."""
    found = {path}
    for target in INCLUDE.findall(path.read_bytes()):
        for folder in (ROOT / "src", ROOT):
            header = folder / target.decode()
            if header.exists() and header not in found:
                found |= includes(header)
    return found


def key(entry, tool):
    """A digest of all inputs of a verdict."""
    digest = hashlib.sha256(tool + (ROOT / ".clang-tidy").read_bytes())
    digest.update(entry["command"].encode())
    for path in sorted(includes(Path(entry["file"]))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def commands(build):
    """The compile commands of our own code, as clang understands them."""
    for entry in json.loads((build / "compile_commands.json").read_text()):
        path = Path(entry["file"])
        if not any(path.is_relative_to(ROOT / folder) for folder in ("src", "netlink")):
            continue
        words = [word for word in shlex.split(entry["command"]) if not DROPPED.fullmatch(word)]
        words.insert(1, "-Wno-unknown-warning-option")
        yield {**entry, "command": shlex.join(words)}


def run(entry, database):
    """clang-tidy's findings in one file; empty when it is clean."""
    done = subprocess.run(
        ["clang-tidy", "-p", database, "--quiet", entry["file"]], capture_output=True, text=True
    )
    return done.stdout or done.stderr if done.returncode != 0 else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, required=True, help="has compile_commands.json")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--all", action="store_true", help="check clean files again")
    parser.add_argument("files", nargs="*", type=Path)
    arguments = parser.parse_args()

    folder = arguments.build / "tidy"
    folder.mkdir(exist_ok=True)
    entries = list(commands(arguments.build))
    (folder / "compile_commands.json").write_text(json.dumps(entries))
    wanted = {path.resolve() for path in arguments.files}
    entries = [entry for entry in entries if not wanted or Path(entry["file"]) in wanted]
    tool = subprocess.run(["clang-tidy", "--version"], capture_output=True, check=True).stdout
    stamps = {entry["file"]: folder / f"{key(entry, tool)}.clean" for entry in entries}
    todo = [entry for entry in entries if arguments.all or not stamps[entry["file"]].exists()]

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for entry, findings in zip(todo, pool.map(lambda one: run(one, folder), todo), strict=True):
            if findings:
                failed += 1
                print(findings, end="", flush=True)
            else:
                stamps[entry["file"]].touch()
    for stamp in set(folder.glob("*.clean")) - set(stamps.values()) if not wanted else ():
        stamp.unlink()
    print(f"{len(entries)} files, {len(todo)} checked, {failed} with findings")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
