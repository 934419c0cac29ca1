#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A WebSocket app and its client.

    websocket_app.py serve PORT
    websocket_app.py call ADDRESS:PORT NAME CA|- PATH     prints a line of JSON

The app sends the path and the headers that it saw, and then each message back; after "end" it
closes with code 4000.
"""

import json
import socket
import ssl
import sys

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import serve as serve_websockets


def answer(websocket):
    headers = [[name.lower(), value] for name, value in websocket.request.headers.raw_items()]
    websocket.send(json.dumps({"path": websocket.request.path, "headers": dict(headers)}))
    for message in websocket:
        if message == "end":
            websocket.close(4000, "as asked")
            return
        websocket.send(message)


def serve(port):
    with serve_websockets(answer, "127.0.0.1", int(port), max_size=None) as server:
        print("serving", flush=True)
        server.serve_forever()


def call(at, name, authority, path):
    address, port = at.rsplit(":", 1)
    tls = ssl.create_default_context(cafile=authority) if authority != "-" else None
    big = "z" * 3_000_000
    with connect(
        f"{'wss' if tls else 'ws'}://{name}:{port}{path}",
        sock=socket.create_connection((address, int(port))),
        ssl=tls,
        server_hostname=name if tls else None,
        max_size=None,
        open_timeout=20,
    ) as websocket:
        said = json.loads(websocket.recv(timeout=20))
        websocket.send("hello")
        said["echo"] = websocket.recv(timeout=20)
        websocket.send(big)
        said["big"] = websocket.recv(timeout=20) == big
        websocket.ping().wait(20)
        websocket.send("end")
        try:
            websocket.recv(timeout=20)
        except ConnectionClosed as e:
            said["code"] = e.rcvd.code
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    {"serve": serve, "call": call}[sys.argv[1]](*sys.argv[2:])
