#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""bench/micro.py [--check|--write] [NAME...] - the steps of the packet path, by clock and by instructions

    bench/micro.py                  a table: nanoseconds (median of 5) and instructions of each step
    bench/micro.py --check          fail if a step has 5 % more instructions than bench/micro/counts.json
    bench/micro.py --write          measure, and write that file

Instructions are counted by callgrind, as the difference of two runs with different numbers of rounds, so
that the start is left out. "Own" are those of our code alone. Libraries choose their code by the CPU,
our own code doesn't: so only own instructions are compared, which are the same on every x86-64 CPU. They
differ with the compiler. If that is another than the one that counts.json names, --check says so, checks
only that each step runs, and passes. callgrind knows no AVX-512: ipsec-mb has only a time, on CPUs that
have it. Opening includes a copy of the packet.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COUNTS = ROOT / "bench/micro/counts.json"
FEW, MANY = 320, 1600
ROUNDS = 5
TOLERANCE = 1.05
TIMED = 200000


def run_time(program, name):
    """Nanoseconds of a step, or None where the CPU or a library is missing."""
    times = []
    for _ in range(ROUNDS):
        done = subprocess.run([program, name, str(TIMED)], capture_output=True, text=True)
        if done.returncode:
            if "ipsec-mb" in name:
                return None
            raise SystemExit(f"bench/micro.py: {name}: {done.stderr.strip()}")
        times.append(float(done.stdout))
    return statistics.median(times)


def sums(text, program):
    """(own, all) instructions in callgrind's file."""
    names, own, total = {}, 0, 0
    inside = skip = False
    for line in text.splitlines():
        if line.startswith("ob="):
            number, _, name = line[3:].partition(" ")
            if name:
                names[number] = name
            inside = names[number] == program
        elif line.startswith("calls="):
            skip = True  # the next line is the cost of the call, which the callee has too
        elif line[:1].isdigit() or line[:1] in "+-*":
            if skip:
                skip = False
                continue
            # A line without a number costs nothing.
            cost = int((line.split() + ["0", "0"])[1])
            total += cost
            own += cost if inside else 0
        elif line.startswith("cob="):
            number, _, name = line[4:].partition(" ")
            if name:
                names[number] = name
    return own, total


def count(program, name, rounds):
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        done = subprocess.run(
            [
                "valgrind",
                "--tool=callgrind",
                f"--callgrind-out-file={out}",
                program,
                name,
                str(rounds),
            ],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"bench/micro.py: {name} under callgrind: {done.stderr.strip()}")
        return sums(out.read_text(), program)


def instructions(program, name):
    """{"own", "all"}: instructions of one round."""
    few, many = count(program, name, FEW), count(program, name, MANY)
    own, total = ((b - a) / (MANY - FEW) for a, b in zip(few, many, strict=True))
    return {"own": round(own, 1), "all": round(total, 1)}


def compiler(program):
    """The compiler of our code, as it wrote itself into the program."""
    comment = subprocess.run(
        ["readelf", "-p", ".comment", program], capture_output=True, text=True, check=True
    ).stdout
    return " ".join(
        sorted({line.split("]", 1)[1].strip() for line in comment.splitlines() if "]" in line})
    )


def check(program, names):
    stored = json.loads(COUNTS.read_text())
    here = {"compiler": compiler(program), "machine": platform.machine()}
    if any(stored[key] != value for key, value in here.items()):
        for name in names:
            subprocess.run([program, name, "64"], check=True, stdout=subprocess.DEVNULL)
        print(
            f"not compared: counts.json is of {stored['compiler']} on {stored['machine']}, this is {here}"
        )
        return 0
    worse = []
    for name in names:
        now = instructions(program, name)["own"]
        before = stored["steps"].get(name, {}).get("own")
        print(f"{name:24} {now:9.1f} {'' if before is None else before:>9}")
        if before is None or now > before * TOLERANCE:
            worse.append(name)
    if worse:
        print(
            f"more than 5 % above bench/micro/counts.json, or not in it: {', '.join(worse)}. If that is "
            "meant, run bench/micro.py --write and say why in the commit message",
            file=sys.stderr,
        )
    return 1 if worse else 0


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--program", default=str(ROOT / "build/release/bench/micro/micro"))
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    program = str(Path(options.program).resolve())
    listed = subprocess.run([program, "--list"], capture_output=True, text=True, check=True)
    names = options.names or listed.stdout.split()
    countable = [name for name in names if "ipsec-mb" not in name]
    if options.check:
        return check(program, countable)
    steps = {}
    for name in names:
        time = run_time(program, name)
        steps[name] = instructions(program, name) if name in countable else {}
        print(
            f"{name:24} {'-' if time is None else format(time, '.1f'):>9} ns"
            f" {steps[name].get('own', '-'):>9} own {steps[name].get('all', '-'):>9} all"
        )
    if options.write:
        stored = {
            "compiler": compiler(program),
            "machine": platform.machine(),
            "steps": {name: steps[name] for name in countable},
        }
        COUNTS.write_text(json.dumps(stored, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
