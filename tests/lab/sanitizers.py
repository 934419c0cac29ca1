# SPDX-License-Identifier: BSD-3-Clause
"""Reports of ASan, UBSan, LSan and TSan: wherever one was written, the test has failed.

Supervisor and command line write theirs to stderr; the engine's stderr is a pipe to the
supervisor, which passes it on. So a report is in the log of a process, in the log file of a
daemon in the background, or in what a command printed.
"""

WORDS = ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:")


def report_in(text):
    """The lines around a sanitizer's first word, or None."""
    places = [text.find(word) for word in WORDS if word in text]
    if not places:
        return None
    at = text.rfind("\n", 0, min(places)) + 1
    return text[at : at + 4000]


def check_text(text, where):
    report = report_in(text)
    assert report is None, f"a sanitizer's report in {where}:\n{report}"


def check_folder(folder):
    """All logs below a folder."""
    for path in sorted(folder.rglob("*.log*")):
        if path.is_file():
            check_text(path.read_text(errors="replace"), path)
