#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""HTTP clients that ask until their input ends, for tests that break something meanwhile.

    http_load.py ADDRESS PORT HOST PATH THREADS

Half of the threads keep their connections, the others make one for each request. Prints "begun",
and at the end "counts" and JSON: how often each status came, or each error by its name.
"""

import collections
import http.client
import json
import sys
import threading

TIMEOUT = 60


def ask(address, port, host, path, keep, ended, counts):
    connection = None
    while not ended.is_set():
        connection = connection or http.client.HTTPConnection(address, port, timeout=TIMEOUT)
        try:
            connection.request("GET", path, headers={"Host": host})
            answer = connection.getresponse()
            answer.read()
            what = str(answer.status)
        except (OSError, http.client.HTTPException) as error:
            what = type(error).__name__
            connection.close()
            connection = None
        counts[what] += 1
        if connection and not keep:
            connection.close()
            connection = None
    if connection:
        connection.close()


def main():
    address, port, host, path, threads = sys.argv[1:]
    ended, counts = threading.Event(), collections.Counter()
    clients = [
        threading.Thread(
            target=ask, args=(address, int(port), host, path, i % 2 == 0, ended, counts)
        )
        for i in range(int(threads))
    ]
    for client in clients:
        client.start()
    print("begun", flush=True)
    sys.stdin.read()
    ended.set()
    for client in clients:
        client.join()
    print("counts", json.dumps(counts), flush=True)


if __name__ == "__main__":
    main()
