# SPDX-License-Identifier: BSD-3-Clause
"""A coordination server that misbehaves on demand, before a real one: tests/tools/control_faults.

node ──TS2021──▶ control_faults ──TS2021──▶ Control or Headscale
"""

import itertools
import json

from lab.build import build_folder
from lab.waiting import wait_for


def zstd(*pieces, size=None):
    """A zstd frame (RFC 8878) of blocks as they are: bytes, or (byte, count) for so many of it.

    size: the content size in the header; default: the true size; 0: no size.
    """
    blocks = []
    for piece in pieces:
        if isinstance(piece, tuple):
            blocks += [(1, n, piece[0]) for n in _split(piece[1])]
        else:
            at = 0
            for n in _split(len(piece)):
                blocks.append((0, n, piece[at : at + n]))
                at += n
    blocks = blocks or [(0, 0, b"")]
    total = sum(n for _, n, _ in blocks)
    if size == 0:
        header = b"\x00\x58"  # no size; a window of 2 MiB
    else:
        header = b"\xa0" + (total if size is None else size).to_bytes(4, "little")
    out = b"\x28\xb5\x2f\xfd" + header
    for number, (kind, n, data) in enumerate(blocks):
        last = number == len(blocks) - 1
        out += (last | kind << 1 | n << 3).to_bytes(3, "little") + data
    return out


def _split(count, most=1 << 17):
    return [most] * (count // most) + ([count % most] if count % most else [])


def frame(body, length=None):
    """A frame of the map stream: its length, or another one, and the body."""
    return (len(body) if length is None else length).to_bytes(4, "little") + body


def message(content):
    """A whole message: JSON, as an object or as text that need not be any, in a frame."""
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return frame(zstd(text))


class Faults:
    """In the place of a coordination server for a node; without a fault it passes all on."""

    _numbers = itertools.count(1)

    def __init__(self, box, control, port=80):
        self.box = box
        self.control = control
        self.authority = control.authority
        # By address: a client tries other ports of a name too.
        self.url = f"http://{box.v4}:{port}"
        self._behind = f"https://{control.box.v4}"
        self._port = port
        self._answered = self._cleared = 0
        self.process = box.start(
            *[build_folder() / "tests/tools/control_faults", port, self._behind],
            log=f"faults-{port}",
        )
        self.process.wait_text("^serving", 10)

    def auth_key(self, **more):
        return self.control.auth_key(**more)

    def _say(self, *words):
        self._answered += 1
        self.process.write(" ".join(map(str, words)) + "\n")
        wait_for(
            lambda: self.process.text().splitlines().count("ok") >= self._answered,
            10,
            lambda: f"control_faults to do {words}: {self.process.describe()}",
        )

    def _file(self, content):
        path = self.box.folder / f"fault-{next(self._numbers)}"
        path.write_bytes(content)
        return path

    def answer(self, path, status, body=b"", ends=True, **headers):
        """Requests of a path get this; with ends=False the body never does."""
        named = [f"{name.replace('_', '-')}:{value}" for name, value in headers.items()]
        file = self._file(body) if body else "-"
        self._say("answer", path, status, file, *([] if ends else ["open"]), *named)

    def maps(self, body):
        """Every new map session begins with these bytes, and says no more."""
        self.answer("/machine/map", 200, body, ends=False)

    def hold(self, path):
        self._say("hold", path)

    def insert(self, content, times=1):
        """Bytes into the map streams that are open, between two frames."""
        self._say("insert", self._file(content), times)

    def silence(self):
        self._say("silence")

    def raw(self, content):
        self._say("raw", self._file(content))

    def upgrade(self, content):
        self._say("upgrade", self._file(content))

    def early(self, content):
        self._say("early", self._file(content))

    def rekey(self):
        self._say("rekey")

    def cut(self):
        self._say("cut")

    def asked(self, path):
        """How many requests got the answer of a fault, since the last clear()."""
        return self.process.text()[self._cleared :].count(f"{path}: a fault\n")

    def clear(self):
        self._say("clear")
        self._cleared = len(self.process.text())
