# SPDX-License-Identifier: BSD-3-Clause
"""Mistakes in the file of TS_SERVE_CONFIG, at the start and while it is watched: the node stays."""

import os

from lab import wait_for
from lab.served import Served

GOOD = (
    '{"TCP": {"80": {"HTTP": true}},'
    ' "Web": {"${TS_CERT_DOMAIN}:80": {"Handlers": {"/": {"Text": "PAGE"}}}}}'
)
NOT_USED = "TS_SERVE_CONFIG is not used: "

# What stands in the file, and what health says of it.
TEXTS = {
    "empty": (b"", "it is empty: write {} to serve nothing"),
    "white space": (b" \n\n", "it is empty"),
    "cut off": (GOOD[:-2].encode(), "line 1, column 108: '}' expected near end of file"),
    "a comma too many": (
        b'{"TCP": {"80": {"HTTP": true},}}',
        "line 1, column 31: string or '}' expected near '}' (no comma stands before a closing brace)",
    ),
    "a comment": (b'{"TCP": {} // the port\n}', "(JSON has no comments)"),
    "a comment of C": (b"/* ports */ {}", "(JSON has no comments)"),
    "a comment of a shell": (b"# ports\n{}", "(JSON has no comments)"),
    "single quotes": (b"{'TCP': {}}", "(names and texts stand in double quotes)"),
    "no quotes": (
        b"{TCP: {}}",
        "line 1, column 4: string or '}' expected near 'TCP' (names stand in double quotes)",
    ),
    "YAML": (b"TCP:\n  80: {HTTP: true}\n", "(it must be a JSON object: {…})"),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD.encode(), "save it as UTF-8 without one"),
    "UTF-16": (GOOD.encode("utf-16"), "it is UTF-16: save it as UTF-8"),
    "Latin-1": (
        '{"TCP": {"80": {"TCPForward": "b\xfc"}}}'.encode("latin-1"),
        "line 1, column 32: unable to decode byte 0xfc",
    ),
    "a zero byte": (b'{"TCP": \0{}}', "line 1, column 8"),
    "a zero byte in a text": (
        b'{"TCP": {"80": {"TCPForward": "a\\u0000:1"}}}',
        "\\u0000 is not allowed",
    ),
    "half a character": (b'{"TCP": {"80": {"TCPForward": "\\ud800"}}}', "invalid Unicode"),
    "a list": (b"[]", "the configuration is a JSON object"),
    "null": (b"null", "(it must be a JSON object: {…})"),
    "a text": (b'"TCP"', "(it must be a JSON object: {…})"),
    "two objects": (b"{} {}", "line 1, column 4: end of file expected"),
    "a member twice": (
        b'{"TCP": {}, "TCP": {}}',
        "line 1, column 17: duplicate object key near '\"TCP\"'",
    ),
    "a file for Services": (
        b'{"version": "0.0.1", "services": {}}',
        "write the members TCP and Web instead",
    ),
    "deep": (b'{"TCP":' * 10000, "maximum parsing depth"),
    "deep lists": (b"[" * 100000, "maximum parsing depth"),
    "large": (b'{"a": "' + b"x" * (4 << 20) + b'"}', "it can't be read: it is too large"),
    "a port as a number": (b'{"TCP": {"80": 8080}}', "TCP.80: a port needs an object"),
    "a list of ports": (b'{"TCP": [{"80": {"HTTP": true}}]}', "TCP must be an object"),
    "no port": (
        b'{"Web": {"${TS_CERT_DOMAIN}": {"Handlers": {}}}}',
        "the name of a site is HOST:PORT",
    ),
    "a URL in TCP": (
        b'{"TCP": {"80": {"TCPForward": "http://127.0.0.1:80"}}}',
        "write 127.0.0.1:5432 or unix:/PATH",
    ),
    "true in quotes": (b'{"TCP": {"80": {"HTTP": "true"}}}', "TCP.80: HTTP must be true or false"),
}


def make_fifo(file):
    os.mkfifo(file)


FILES = {
    "a folder": (lambda file: file.mkdir(), "it is a folder (a container engine makes one"),
    "a FIFO": (make_fifo, "it is not a regular file"),
    "a device": (lambda file: file.symlink_to("/dev/zero"), "it is not a regular file"),
    "a link to nothing": (lambda file: file.symlink_to("nothing"), "No such file"),
    "a link to itself": (
        lambda file: file.symlink_to(file.name),
        "Too many levels of symbolic links",
    ),
}


def health(node):
    return "\n".join(node.status()["Health"] or [])


def wait_health(node, text):
    wait_for(lambda: text in health(node), 20, lambda: f"{text!r} in {health(node)!r}")


def remove(file):
    if file.is_dir() and not file.is_symlink():
        file.rmdir()
    else:
        file.unlink()


def test_each_mistake_is_named_and_the_last_good_one_goes_on(world):
    made = Served(world, GOOD)
    made.wait("http://NAME/", "PAGE")
    pid = made.node.supervisor_pid()
    for name, (content, says) in TEXTS.items():
        made.file.write_bytes(content)
        wait_health(made.node, says)
        assert NOT_USED in health(made.node)
        assert made.fetch("http://NAME/") == "PAGE", name
    for name, (make, says) in FILES.items():
        remove(made.file)
        make(made.file)
        wait_health(made.node, f"{NOT_USED}it can't be read: {says}")
        assert made.fetch("http://NAME/") == "PAGE", name
        assert "The last good one stays in force" in health(made.node)
        remove(made.file)
        made.write(GOOD)
        wait_for(lambda: "TS_SERVE_CONFIG" not in health(made.node), 20, "the good file")
    made.write(GOOD.replace("PAGE", "NEXT"))
    made.wait("http://NAME/", "NEXT")
    assert "TS_SERVE_CONFIG" not in health(made.node)
    assert made.node.supervisor_pid() == pid and made.node.process.running()


def test_a_mistake_at_the_start_keeps_nobody_from_joining(world):
    made = Served(world, GOOD)
    made.wait("http://NAME/", "PAGE")
    for make, says in [(lambda file: file.write_bytes(b"{"), "'}' expected"), *FILES.values()]:
        made.node.stop()
        remove(made.file)
        make(made.file)
        made.node.start(None, {"TS_SERVE_CONFIG": str(made.file)})
        made.node.wait_running()
        wait_health(made.node, says)
        assert "othing is served" in health(made.node)
        remove(made.file)
        made.write(GOOD)
        made.wait("http://NAME/", "PAGE")
