#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""An app that answers with what it saw, to stand behind a proxy.

    mirror.py PORT|SOCKET

/anything       JSON: method, target, headers (a list of pairs), the body's length and SHA-256
/chunks/N       N chunks of a line each, one every 20 ms
/bytes/N        N bytes
/early          an answer before the body was read
/upgrade        101, and then every byte back in capital letters
/hangup         the connection ends without an answer
/status/N       an empty answer with this status
/slow           as /anything, but the body is read after 4 s
/raw/BYTES      these bytes (percent-encoded) as the answer; with ?close, then the end
"""

import contextlib
import hashlib
import json
import os
import socket
import sys
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Mirror(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length", 0))
        while left > 0:
            piece = self.rfile.read(min(left, 1 << 16))
            left -= len(piece)
            yield piece

    def send(self, status, body, kind="text/plain"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def chunks(self, count):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(count):
            line = f"data: {number}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            time.sleep(0.02)
        self.wfile.write(b"0\r\n\r\n")

    def upgrade(self):
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", self.headers["Upgrade"])
        self.end_headers()
        self.close_connection = True
        while piece := self.connection.recv(1 << 16):
            self.connection.sendall(piece.upper())

    def mirror(self):
        digest, length = hashlib.sha256(), 0
        for piece in self.body():
            digest.update(piece)
            length += len(piece)
        seen = {
            "method": self.command,
            "target": self.path,
            "headers": self.headers.items(),
            "length": length,
            "sha256": digest.hexdigest(),
        }
        self.send(200, json.dumps(seen).encode(), "application/json")

    def answer(self):
        name, _, argument = self.path.strip("/").partition("/")
        if name == "chunks":
            self.chunks(int(argument))
        elif name == "bytes":
            self.send(200, b"x" * int(argument))
        elif name == "early":
            self.send(413, b"too large\n")
            self.close_connection = True
        elif name == "upgrade":
            self.upgrade()
        elif name == "hangup":
            self.close_connection = True
        elif name == "slow":
            time.sleep(4)
            self.mirror()
        elif name == "raw":
            text, _, how = argument.partition("?")
            self.wfile.write(urllib.parse.unquote_to_bytes(text))
            self.close_connection = how == "close"
        elif name == "status":
            self.send(int(argument), b"")
        else:
            self.mirror()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = answer


class UnixServer(ThreadingHTTPServer):
    address_family = socket.AF_UNIX

    def server_bind(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.server_address)
        self.socket.bind(self.server_address)

    def get_request(self):
        return self.socket.accept()[0], ("unix", 0)


if __name__ == "__main__":
    ThreadingHTTPServer.request_queue_size = 1024
    where = sys.argv[1]
    server = (
        UnixServer(where, Mirror)
        if where.startswith("/")
        else ThreadingHTTPServer(("127.0.0.1", int(where)), Mirror)
    )
    server.daemon_threads = True
    print("serving", flush=True)
    server.serve_forever()
