# SPDX-License-Identifier: BSD-3-Clause
"""What the coordination server has acknowledged is there after kill -9, and after a full disk.

    four threads of orders, nodes that join ──▶ server ──▶ database ◀── kill -9, full disk

A ledger holds for each item what was acknowledged, and what was asked for and not yet answered:
after a restart the item is one of these two, and whole.
"""

import collections
import contextlib
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import threading
import time
from http import HTTPStatus

import pytest
from lab import wait_for
from lab.loopback_control import JoinedNode, LoopbackControl, joined

ROUNDS = 50
NO_ANSWER = (OSError, http.client.HTTPException, json.JSONDecodeError)
ABSENT = "absent"
MEMBERS = {"name": "name", "tags": "tags", "routes": "approved_routes"}


def order(server, method, path, body=None):
    """An order as the commands give it; what the server answers. Fails without an answer."""
    connection = http.client.HTTPConnection("control", timeout=20)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(20)
    with contextlib.closing(connection):
        connection.sock.connect(str(server.socket))
        text = body if isinstance(body, str) else json.dumps(body) if body else None
        connection.request(method, f"/v1/{path}", text)
        reply = connection.getresponse()
        said = reply.read()
        assert reply.status < HTTPStatus.BAD_REQUEST, said
        return json.loads(said) if said else {}


class Ledger:
    """What each item may be: the value that was acknowledged, and one that was asked for."""

    def __init__(self):
        self.acknowledged = {}
        self.asked = {}
        self.counts = collections.Counter()

    def change(self, item, value, do):
        """Ask by do(); the value holds once that has come back."""
        self.asked[item] = value
        do()
        self.acknowledged[item] = value
        self.counts[item[0]] += 1
        del self.asked[item]

    def check(self, item, stored):
        """The server says that the item is as @stored."""
        possible = [self.acknowledged.get(item, ABSENT)]
        if item in self.asked:
            possible.append(self.asked.pop(item))
        assert stored in possible, (item, stored, possible)
        self.acknowledged[item] = stored


class Operators:
    """Threads that change things as fast as they are answered, until the server dies."""

    def __init__(self, server, ledger, number, nodes):
        self.server = server
        self.ledger = ledger
        self.number = number
        self.nodes = nodes  # ids, each changed by one thread only
        self.failure = None
        self.threads = [
            threading.Thread(target=self._run, args=(work,))
            for work in (self._keys, self._users, self._policies, self._nodes)
        ]
        for thread in self.threads:
            thread.start()

    def _run(self, work):
        count = 0
        try:
            while True:
                count += 1
                work(count)
        except NO_ANSWER:
            pass
        except Exception as failure:  # noqa: BLE001
            self.failure = failure

    def join(self):
        for thread in self.threads:
            thread.join(30)
        assert self.failure is None, self.failure

    def _keys(self, count):
        want = {
            "user": f"k{self.number}-{count % 3}",
            "reusable": bool(count % 2),
            "ephemeral": bool(count % 3),
            "tags": [f"tag:t{i}" for i in range(count % 4)],
        }
        made = order(self.server, "POST", "keys", want)
        self.ledger.acknowledged["key", made["prefix"]] = (want, False)
        self.ledger.counts["key"] += 1
        if count % 4 == 0:
            path = f"keys/{made['prefix']}/expire"
            self.ledger.change(
                ("key", made["prefix"]), (want, True), lambda: order(self.server, "POST", path)
            )

    def _users(self, count):
        name = f"u{self.number}-{count}"
        self.ledger.change(
            ("user", name), name, lambda: order(self.server, "POST", "users", {"name": name})
        )
        if count % 3 == 0:
            self.ledger.change(
                ("user", name), ABSENT, lambda: order(self.server, "DELETE", f"users/{name}")
            )

    def _policies(self, count):
        rule = '{"action": "accept", "src": ["*"], "dst": ["*:*"]}'
        text = f"// {self.number}-{count}\n" + '{"acls": [' + ",".join([rule] * (count % 40)) + "]}"
        self.ledger.change(("policy",), text, lambda: order(self.server, "PUT", "policy", text))

    def _nodes(self, count):
        if not self.nodes:
            raise OSError
        node = self.nodes[count % len(self.nodes)]
        name = f"r{self.number}-{count}"
        tags = [f"tag:t{i}" for i in range(count % 3)]
        routes = [f"10.{self.number}.{count % 256}.0/24"]
        for what, value, path, body in (
            ("name", name, "rename", {"name": name}),
            ("tags", tags, "tags", {"tags": tags}),
            ("routes", routes, "routes", {"routes": routes}),
        ):
            self.ledger.change(
                (what, node),
                value,
                lambda path=path, body=body: order(
                    self.server, "POST", f"nodes/{node}/{path}", body
                ),
            )
        if count % 25 == 0:
            self.ledger.change(
                ("node", node), ABSENT, lambda: order(self.server, "DELETE", f"nodes/{node}")
            )
            self.nodes.remove(node)


def check_all(server, ledger):
    """Every item of the ledger, and that no other is half there."""
    users = {user["name"] for user in order(server, "GET", "users")}
    keys = {key["prefix"]: key for key in order(server, "GET", "keys")}
    nodes = {node["id"]: node for node in order(server, "GET", "nodes")["nodes"]}
    known = list(ledger.acknowledged.items()) + list(ledger.asked.items())
    for item, value in known:
        if item[0] == "user":
            ledger.check(item, item[1] if item[1] in users else ABSENT)
        elif item[0] == "key":
            key = keys[item[1]]
            want = {name: key[name] for name in value[0]}
            over = key.get("expiry", "9999") <= time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            ledger.check(item, (want, over))
        elif item[0] == "policy":
            ledger.check(item, order(server, "GET", "policy")["policy"] or ABSENT)
        elif item[0] == "node":
            node = nodes.get(item[1])
            ledger.check(item, (node["node_key"], node["addresses"]) if node else ABSENT)
        elif item[1] in nodes:
            ledger.check(item, nodes[item[1]][MEMBERS[item[0]]])
    for owned in [*keys.values(), *nodes.values()]:
        assert owned["user"] in users, owned
    names = [node["name"] for node in nodes.values()]
    addresses = [address for node in nodes.values() for address in node["addresses"]]
    assert len(set(names)) == len(names)
    assert len(set(addresses)) == 2 * len(nodes)
    assert len({node["node_key"] for node in nodes.values()}) == len(nodes)
    assert all(names)
    return keys, nodes


class Joining:
    """A node that joins by a key for one node, or by a login that is approved meanwhile."""

    def __init__(self, server, number, folder):
        self.server = server
        self.user = f"j{number}"
        self.by_login = number % 3 == 0
        key = "" if self.by_login else self._mint()
        self.node = JoinedNode(server, key, folder)
        self.approved = None
        self.thread = threading.Thread(target=self._approve)
        self.thread.start()

    def _mint(self):
        made = order(self.server, "POST", "keys", {"user": self.user})
        self.prefix = made["prefix"]
        return made["key"]

    def _approve(self):
        """As soon as it shows its URL; over when the server is."""
        with contextlib.suppress(*NO_ANSWER):
            while self.by_login:
                found = re.search(r"/register/([0-9a-f]{32})", self.node.text())
                if found:
                    path = f"logins/{found.group(1)}/approve"
                    self.approved = order(self.server, "POST", path, {"user": self.user})
                    return
                order(self.server, "GET", "users")
                time.sleep(0.005)

    def end(self):
        self.thread.join(30)
        self.node.close()

    def told(self):
        """The node key that the server has acknowledged, if it has."""
        return self.node.registered() or (self.approved and self.approved["node_key"])

    def check(self, keys, nodes):
        """Its node, if there is one. A client that got an answer must have one."""
        mine = [node for node in nodes.values() if node["user"] == self.user]
        told = self.told()
        assert len(mine) <= 1
        if told:
            assert [node["node_key"] for node in mine] == [told]
        # A key is used with the node that it made, or not at all.
        if not self.by_login:
            assert keys[self.prefix]["used"] == bool(mine)
        return mine[0] if mine else None


def test_nothing_acknowledged_is_lost_by_kill_9(server, tmp_path):
    """50 times, at a moment that is drawn; every fifth time also while it starts.

    There is something to lose each time: a new key, every fourth time a new node as well.
    """
    drawn = random.Random(4)
    ledger = Ledger()
    nodes = []
    for number in range(ROUNDS):
        joining = Joining(server, number, tmp_path)
        made = ledger.counts["key"]
        operators = Operators(server, ledger, number, list(nodes))
        wait_for(lambda made=made: ledger.counts["key"] > made, 20, "a key")
        if number % 4 == 0:
            wait_for(joining.told, 20, joining.node.text)
        time.sleep(drawn.uniform(0.02, 0.5))  # the moment of the kill is what is drawn
        server.kill()
        operators.join()
        joining.end()
        if number % 5 == 0:
            server.begin()
            time.sleep(drawn.uniform(0, 0.3))
            server.kill()
        server.start()
        keys, stored = check_all(server, ledger)
        nodes = [node for node in nodes if node in stored]
        made = joining.check(keys, stored)
        if made:
            ledger.acknowledged["node", made["id"]] = (made["node_key"], made["addresses"])
            for what, member in MEMBERS.items():
                ledger.acknowledged[what, made["id"]] = made[member]
            nodes.append(made["id"])
    for kind in ("user", "policy", *MEMBERS):
        assert ledger.counts[kind] > 0, ledger.counts


class SmallDisk(LoopbackControl):
    """Its state is on a tmpfs of 2 MiB, which fill() fills and free() frees."""

    def __init__(self, folder):
        super().__init__(folder)
        self.state.mkdir()
        self.socket = folder / "control.sock"
        self.flags.append(f"--socket={self.socket}")
        mount = f"mount -t tmpfs -o size=2m,mode=700 tmpfs '{self.state}' && echo up && sleep inf"
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation=private", "sh", "-c", mount],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.holder.stdout.readline() == "up\n"
        self.wrapper = ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", "--wd=/"]

    def inside(self, command):
        subprocess.run(
            [*self.wrapper, "sh", "-c", command], cwd=self.folder, check=False, capture_output=True
        )

    def fill(self):
        self.inside(f"dd if=/dev/zero of='{self.state}/ballast' bs=4k")

    def free(self):
        self.inside(f"rm '{self.state}/ballast'")

    def end(self):
        try:
            super().end()
        finally:
            os.killpg(self.holder.pid, signal.SIGKILL)
            self.holder.wait(10)
            self.holder.stdout.close()


@pytest.fixture
def small(tmp_path):
    made = SmallDisk(tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.end()


def unhealthy(server):
    with contextlib.suppress(OSError):
        server.get("/health").read()
        return False
    return server.process.poll() is None


def test_a_full_disk(small, tmp_path):
    """Orders are refused and say why, nodes wait, nothing acknowledged is lost, and it heals."""
    key = small.cli("keys", "create", "--reusable")["key"]
    policy = '{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}'
    assert small.run("policy", "set", "-", stdin=policy).returncode == 0
    first = JoinedNode(small, key, tmp_path)
    late = None
    try:
        joined(first)
        second = JoinedNode(small, key, tmp_path)
        joined(second)
        second.close()
        small.fill()
        users = []
        while (done := small.run("users", "create", f"u{len(users)}")).returncode == 0:
            users.append(f"u{len(users)}")
            assert len(users) < 5000
        assert done.returncode == 1
        assert "disk is full" in done.stderr
        assert "not stored yet" in done.stderr
        for arguments in (
            ("users", "create", "x"),
            ("nodes", "rename", "1", "x"),
            ("keys", "create"),
        ):
            done = small.run(*arguments)
            assert done.returncode == 1
            assert "nothing was changed" in done.stderr
            assert "disk is full" in done.stderr
        done = small.run("policy", "set", "-", stdin='{"acls": []}')
        assert "nothing was changed" in done.stderr
        wait_for(lambda: unhealthy(small), 10, "/health to say so")
        # What takes a right holds at once.
        done = small.run("nodes", "delete", "2")
        assert done.returncode == 0 or "not stored yet" in done.stderr, done.stderr
        deleted = done.returncode == 0
        assert [node["id"] for node in small.cli("nodes", "list")["nodes"]] == [1]
        late = JoinedNode(small, key, tmp_path)
        wait_for(lambda: "new-node-key" in late.text(), 10, late.text)
        # It is not answered, however often it is tried to write.
        wait_for(lambda: "disk is full" in small.log.read_text(), 10, small.log.read_text)
        assert late.registered() is None

        small.kill()
        small.begin()
        wait_for(lambda: small.run("users").returncode == 0, 20, small.log.read_text)
        assert set(users) <= {user["name"] for user in small.cli("users")}
        assert small.cli("nodes", "show", "1")["node_key"] == first.registered()
        assert small.run("policy", "get").stdout == policy
        if deleted:
            assert [node["id"] for node in small.cli("nodes", "list")["nodes"]] == [1]

        small.free()
        wait_for(lambda: small.run("users", "create", "y").returncode == 0, 20, small.log.read_text)
        if not deleted:
            assert small.run("nodes", "delete", "2").returncode == 0
        joined(late, 60)
        assert len(small.cli("nodes", "list")["nodes"]) == 2
        wait_for(
            lambda: all(n["connected"] for n in small.cli("nodes", "list")["nodes"]), 60, first.text
        )
    finally:
        for node in filter(None, (first, late)):
            node.close()
