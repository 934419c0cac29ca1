# SPDX-License-Identifier: BSD-3-Clause
"""bench/report.py - shared by the benchmarks: rounds, tables with ratios, a plot, the machine"""

import html
import os
import re
import shlex
import statistics
import sys
import time
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
QUIET = 0.05  # of all CPUs, what other work may use
BAR, GAP, LABEL, WIDTH = 14, 12, 210, 720  # of the plot, in pixels
COLOURS = ["#9aa0a6", "#1a73e8", "#e8710a", "#f2b279", "#188038", "#81c995"]


def percentile(ordered, percent):
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def _busy(seconds):
    """The share of all CPUs' time that is used in the next `seconds`."""

    def read():
        fields = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return sum(fields), fields[3] + fields[4]  # idle, and waiting for a disk

    before = read()
    time.sleep(seconds)  # the interval that is measured
    after = read()
    return 1 - (after[1] - before[1]) / (after[0] - before[0])


def require_quiet():
    """End the program if other work uses the CPUs: figures beside it would mislead."""
    busy = min(_busy(2) for _ in range(3))
    if busy > QUIET:
        raise SystemExit(
            f"other work uses {busy:.0%} of the CPUs, and a measurement allows {QUIET:.0%}: "
            "stop it, or add --noisy to measure beside it, and trust only ratios then"
        )


def rounds(contenders, count, *arguments):
    """{contender: {row: [value of each round]}}; each contender's measure() in turn."""
    results = {name: {} for name in contenders}
    for number in range(count):
        for name, contender in contenders.items():
            print(f"round {number + 1} of {count}: {name}", file=sys.stderr)
            for row, value in contender.measure(*arguments).items():
                if value is not None:
                    results[name].setdefault(row, []).append(value)
    return results


def _cell(values):
    if not values:
        return ""
    return f"{statistics.median(values):.3g} ({min(values):.3g}-{max(values):.3g})"


def _ratio(results, row, one, other):
    """Median of the ratios of each round."""
    pair = [results.get(name, {}).get(row) for name in (one, other)]
    if not all(pair):
        return ""
    return f"{statistics.median(a / b for a, b in zip(*pair, strict=True)):.2f}"


def table(rows, results, one, other):
    """A table of Markdown: a row for each measure, a column for each contender, and one/other."""
    ratio = one in results and other in results
    head = ["", *results, *([f"{one} to {other}", "goal"] if ratio else [])]
    lines = [head, ["---"] * len(head)]
    for name, unit, goal in rows:
        cells = [f"{name}, {unit}", *(_cell(results[c].get(name)) for c in results)]
        lines.append([*cells, *([_ratio(results, name, one, other), goal or ""] if ratio else [])])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def machine():
    """One sentence about this machine."""
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    memory = int(re.search(r"^MemTotal: +(\d+)", Path("/proc/meminfo").read_text(), re.M)[1])
    return (
        f"{found[1] if found else os.uname().machine}, {os.cpu_count()} CPUs, "
        f"{memory / 2**20:.0f} GiB, Linux {os.uname().release}"
    )


def plot(rows, results):
    """An SVG: for each row a group of bars, as long as the value beside the group's largest."""
    names, parts, y = list(results), [], 10
    for number, name in enumerate(names):
        colour = COLOURS[number % len(COLOURS)]
        parts.append(
            f'<rect x="{10 + number * 118}" y="{y}" width="10" height="10" fill="{colour}"/>'
        )
        parts.append(f'<text x="{24 + number * 118}" y="{y + 9}">{html.escape(name)}</text>')
    y += 30
    for row, unit, _ in rows:
        values = [(n, statistics.median(results[n][row])) for n in names if results[n].get(row)]
        if not values:
            continue
        largest = max(value for _, value in values)
        parts.append(f'<text x="10" y="{y + 10}">{html.escape(f"{row}, {unit}")}</text>')
        for name, value in values:
            length = max(1, value / largest * (WIDTH - LABEL - 70))
            colour = COLOURS[names.index(name) % len(COLOURS)]
            parts.append(
                f'<rect x="{LABEL}" y="{y}" width="{length:.0f}" height="{BAR - 2}" fill="{colour}"/>'
                f'<text x="{LABEL + length + 4:.0f}" y="{y + 10}">{value:.3g}</text>'
            )
            y += BAR
        y += GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" '
        f'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def write(name, text, rows, results, options):
    """Put the table between its marks in docs/benchmarks.md, and the plot beside it."""
    (DOCS / f"{name}.svg").write_text(plot(rows, results))
    file = DOCS / "benchmarks.md"
    begin, end = f"<!-- bench {name}: begin -->", f"<!-- bench {name}: end -->"
    page = file.read_text()
    if begin not in page or end not in page:
        raise SystemExit(
            f"{file} has no lines '{begin}' and '{end}': add them where the table belongs"
        )
    command = shlex.join(["scripts/bench", f"--{name}", *sys.argv[1:]])
    head = (
        f"`sudo {command}`, {time.strftime('%Y-%m-%d')}: {machine()}; {options.rounds} rounds of "
        f"{options.seconds} s, medians (lowest-highest).\n\n![{name}]({name}.svg)"
    )
    before, rest = page.split(begin)
    file.write_text(f"{before}{begin}\n{head}\n\n{text}\n{end}{rest.split(end)[1]}")
