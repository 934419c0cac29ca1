# SPDX-License-Identifier: BSD-3-Clause
"""Both ends of a TCP connection of which each direction ends alone.

python3 half_closed.py app PORT
python3 half_closed.py client ADDRESS PORT NAME client-first|app-first [CAFILE]

The one that ends first sends its bytes and the end of its direction. The other one waits for that end before it
sends its own. The client begins with a ClientHello for NAME, or, with CAFILE, speaks TLS. Both print what they got.
"""

import contextlib
import hashlib
import socket
import ssl
import sys
import threading

SIZE = 3 << 20
PIECE = bytes(range(256)) * 256
APP_FIRST, CLIENT_FIRST = b"a", b"c"


class Plain:
    def __init__(self, connection):
        self.connection = connection
        self.send = connection.sendall
        self.recv = connection.recv

    def end(self):
        self.connection.shutdown(socket.SHUT_WR)


class Tls:
    """Python's own sockets give up both directions at the first close_notify."""

    def __init__(self, connection, authority, name):
        self.connection = connection
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context(cafile=authority)
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)
        self.until(self.tls.do_handshake)

    def flush(self):
        self.connection.sendall(self.outgoing.read())

    def until(self, step, *arguments):
        while True:
            try:
                done = step(*arguments)
                self.flush()
                return done
            except ssl.SSLWantReadError:
                self.flush()
                if not (more := self.connection.recv(1 << 16)):
                    raise ConnectionError("an end without close_notify") from None
                self.incoming.write(more)

    def send(self, data):
        self.tls.write(data)
        self.flush()

    def recv(self, size):
        try:
            return self.until(self.tls.read, size)
        except ssl.SSLZeroReturnError:
            return b""

    def end(self):
        with contextlib.suppress(ssl.SSLError):  # the other direction goes on
            self.tls.unwrap()
        self.flush()


def hello_of(name):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    stream = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        stream.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()


def give(end):
    for _ in range(SIZE // len(PIECE)):
        end.send(PIECE)
    end.end()


def take(end, who):
    got, seen = 0, hashlib.sha256()
    while more := end.recv(1 << 16):
        got += len(more)
        seen.update(more)
    right = seen.digest() == hashlib.sha256(PIECE * (SIZE // len(PIECE))).digest()
    print(f"{who} got {got} {right}", flush=True)


def serve(connection):
    end = Plain(connection)
    first = connection.recv(1)
    if first == b"\x16":  # a ClientHello, which is not the app's
        head = connection.recv(4, socket.MSG_WAITALL)
        connection.recv(int.from_bytes(head[2:]), socket.MSG_WAITALL)
        first = connection.recv(1)
    steps = [lambda: give(end), lambda: take(end, "app")]
    for step in steps if first == APP_FIRST else reversed(steps):
        step()
    connection.close()


def main(role, *arguments):
    if role == "app":
        listener = socket.create_server(("127.0.0.1", int(arguments[0])))
        print("ready", flush=True)
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
    address, port, name, order, *authority = arguments
    connection = socket.create_connection((address, int(port)), 20)
    end = Tls(connection, authority[0], name) if authority else Plain(connection)
    if not authority:
        end.send(hello_of(name))
    first = order == "client-first"
    end.send(CLIENT_FIRST if first else APP_FIRST)
    steps = [lambda: give(end), lambda: take(end, "client")]
    for step in steps if first else reversed(steps):
        step()


if __name__ == "__main__":
    main(*sys.argv[1:])
