#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""bench/memory.py PID... - the memory of a group of processes, each page counted once

Private pages count in full, and a page of a file once, however many of the processes map it: what
they cost the machine together. A page is known by its frame number (/proc/PID/pagemap), so root is
needed. Shared memory (TUN rings, memfds) counts once too; page tables and other memory of the
kernel are left out, and the part that lies in swap is added in full.

    bench/memory.py $(pgrep -f pillion)

prints a line for each process, and the sum. --files adds the largest files.
"""

import argparse
import struct
from pathlib import Path

PAGE = 4096
PRESENT, SWAPPED, OF_FILE = 1 << 63, 1 << 62, 1 << 61
FRAME = (1 << 55) - 1
KIB = 1024


def mappings(pid):
    """(first address, last, name) of each mapping; the name is "" for anonymous memory."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        addresses, _, _, _, inode, *name = line.split(None, 5)
        first, last = (int(part, 16) for part in addresses.split("-"))
        if name and name[0] in ("[vsyscall]", "[vvar]", "[vdso]"):
            continue  # the kernel's own pages
        yield first, last, name[0] if inode != "0" and name else ""


def pages(pid):
    """(frame or None when swapped, name of the file or "") of each page that a process holds."""
    with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pagemap:
        for first, last, name in mappings(pid):
            pagemap.seek(first // PAGE * 8)
            entries = pagemap.read((last - first) // PAGE * 8)
            for (entry,) in struct.iter_unpack("<Q", entries):
                if entry & PRESENT:
                    if not entry & FRAME:
                        raise SystemExit("bench/memory.py: frame numbers are hidden: be root")
                    # A page of a file's mapping that was written to is private, as .data is.
                    yield entry & FRAME, name if entry & OF_FILE else ""
                elif entry & SWAPPED:
                    yield None, ""


def measure(pids):
    """Bytes: {"total", "private", "files", "by_process": {pid: (private, files)}, "by_file"}.

    A process's file pages are counted for the first process that holds them, so that the parts
    add up to the total.
    """
    seen, by_process, by_file = set(), {}, {}
    for pid in pids:
        private = files = 0
        for frame, name in pages(pid):
            if frame is not None and frame in seen:
                continue
            if frame is not None:
                seen.add(frame)
            if name:
                files += PAGE
                by_file[name] = by_file.get(name, 0) + PAGE
            else:
                private += PAGE
        by_process[pid] = (private, files)
    private = sum(p for p, _ in by_process.values())
    files = sum(f for _, f in by_process.values())
    return {
        "total": private + files,
        "private": private,
        "files": files,
        "by_process": by_process,
        "by_file": by_file,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pids", nargs="+", type=int, metavar="PID")
    parser.add_argument("--files", action="store_true", help="also the largest files")
    arguments = parser.parse_args()
    result = measure(arguments.pids)
    print(f"{'private':>10} {'files':>10}  KiB")
    for pid, (private, files) in result["by_process"].items():
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        print(f"{private // KIB:>10} {files // KIB:>10}  {name} ({pid})")
    print(f"{result['private'] // KIB:>10} {result['files'] // KIB:>10}  all")
    print(f"total {result['total'] / KIB / KIB:.1f} MiB")
    if arguments.files:
        for name, size in sorted(result["by_file"].items(), key=lambda item: -item[1])[:15]:
            print(f"{size // KIB:>10}  {name}")


if __name__ == "__main__":
    main()
