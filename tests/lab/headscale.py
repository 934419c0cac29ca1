# SPDX-License-Identifier: BSD-3-Clause
"""The real control server in a box, with its embedded relay and STUN or a derper beside it."""

import json
import subprocess
import time

from lab.peers import peer
from lab.pki import Authority
from lab.relay_tool import free_port
from lab.waiting import Timeout, wait_for

OPEN_POLICY = {"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}


def configuration(url, listen, state, ports=(9090, 50443), **more):
    """Headscale's configuration without a relay; JSON is YAML too.

    ports: on loopback, of its metrics and of gRPC; more: members beside these, or instead of them.
    """
    return {
        "server_url": url,
        "listen_addr": listen,
        "metrics_listen_addr": f"127.0.0.1:{ports[0]}",
        "grpc_listen_addr": f"127.0.0.1:{ports[1]}",
        "noise": {"private_key_path": f"{state}/noise.key"},
        "prefixes": {
            "v4": "100.64.0.0/10",
            "v6": "fd7a:115c:a1e0::/48",
            "allocation": "sequential",
        },
        "database": {
            "type": "sqlite",
            "sqlite": {"path": f"{state}/db.sqlite", "write_ahead_log": True},
        },
        "derp": relays(),
        "dns": {
            "magic_dns": True,
            "base_domain": "tail.lab",
            "override_local_dns": False,
            "nameservers": {"global": []},
        },
        "unix_socket": f"{state}/headscale.sock",
        "unix_socket_permission": "0770",
        "disable_check_updates": True,
        "logtail": {"enabled": False},
        "log": {"level": "info", "format": "text"},
    } | more


def relays(*maps, **server):
    """The member derp of a configuration: files with a map, and the members of its own relay."""
    return {
        "server": {"enabled": False} | server,
        "urls": [],
        "paths": [str(path) for path in maps],
        "auto_update_enabled": False,
    }


def own_relay(state, stun="0.0.0.0:3478", **more):
    """The members of Headscale's own relay."""
    return {
        "enabled": True,
        "region_id": 900,
        "region_code": "lab",
        "region_name": "Lab",
        "stun_listen_addr": stun,
        "private_key_path": f"{state}/derp.key",
        "automatically_add_embedded_derp_region": True,
    } | more


class Headscale:
    """start() and stop() may alternate: its state stays. With a derper its own relay is off.

    batch: how long it collects writes before it commits and answers them, "5ms". Its default,
    500 ms, is most of the time that a join takes.
    """

    def __init__(self, box, derper=None, batch=None):
        self.box = box
        self.url = f"https://{box.name}.lab"
        self.state = box.folder / "headscale"
        self.state.mkdir()
        self.authority = Authority(box.folder / "pki")
        certificate, key = self.authority.issue(f"{box.name}.lab", box.v4, box.v6)
        self._policy = box.folder / "policy.json"
        self._policy.write_text(json.dumps(OPEN_POLICY))
        self._config = box.folder / "headscale.yaml"
        if derper:
            derper.start(self.authority)
            (self.state / "derp.yaml").write_text(derper.map())
            derp = relays(self.state / "derp.yaml")
        else:
            addresses = {"ipv4": box.v4, "ipv6": box.v6}
            derp = relays(**own_relay(self.state, verify_clients=True, **addresses))
        more = {
            "derp": derp,
            "tls_cert_path": str(certificate),
            "tls_key_path": str(key),
            "policy": {"mode": "file", "path": str(self._policy)},
        }
        if batch:
            more["tuning"] = {"node_store_batch_timeout": batch}
        settings = configuration(self.url, "0.0.0.0:443", self.state, **more)
        self._config.write_text(json.dumps(settings))
        self.process = None
        self.start()
        self.cli("users", "create", "lab")
        self._user = self.cli("users", "list")[0]["id"]

    def start(self):
        self.process = self.box.start(peer("headscale"), "serve", "--config", self._config)
        health = ["--max-time", 2, f"{self.url}/health", "--cacert", self.authority.certificate]
        resolve = ["--resolve", f"{self.box.name}.lab:443:{self.box.v4}"]
        wait_for(
            lambda: self.process.ensure_running()
            and self.box.run("curl", "-sf", *health, *resolve, check=False).stdout.strip(),
            30,
            lambda: self.process.describe(),
        )

    def stop(self):
        """All of it: control, relay and STUN. At once, as a crash would."""
        self.process.kill()

    def cli(self, *arguments):
        """Run its command line; return its JSON output."""
        done = self.box.run(
            *[peer("headscale"), "--config", self._config, "--output", "json", *arguments],
        )
        return json.loads(done.stdout) if done.stdout.strip() else None

    def auth_key(self, reusable=False, ephemeral=False, expiration="1h", tags=()):
        """A new pre-authentication key."""
        flags = ["--user", self._user, "--expiration", expiration]
        flags += ["--reusable"] if reusable else []
        flags += ["--ephemeral"] if ephemeral else []
        flags += ["--tags", ",".join(tags)] if tags else []
        return self.cli("preauthkeys", "create", *flags)["key"]

    def expired_auth_key(self):
        """An expired key."""
        key = self.auth_key(expiration="1s")
        time.sleep(1.1)  # its clock decides; there is no event to wait for
        return key

    def nodes(self):
        """All nodes, by the name that they were given."""
        return {node["given_name"]: node for node in self.cli("nodes", "list") or []}

    def node(self, name):
        return self.nodes().get(name)

    def delete(self, name):
        self.cli("nodes", "delete", "--identifier", self.node(name)["id"], "--force")

    def expire(self, name):
        self.cli("nodes", "expire", "--identifier", self.node(name)["id"])

    def set_policy(self, policy):
        """Replace the policy and have it read again."""
        self._policy.write_text(json.dumps(policy))
        since = len(self.process.text())
        self.process.signal(1)  # SIGHUP
        self.process.wait_text("(?i)(acl|policy).*(reload|success|updat|loaded)", 15, since)


class LoopbackHeadscale:
    """`headscale serve` on 127.0.0.1, without TLS; more: members of its configuration."""

    def __init__(self, folder, users=("lab",), **more):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.config = folder / "headscale.yaml"
        ports = free_port(), free_port()
        settings = configuration(self.url, f"127.0.0.1:{port}", folder, ports, **more)
        self.config.write_text(json.dumps(settings))
        self.log = folder / "headscale.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [peer("headscale"), "--config", self.config, "serve"], stdout=log, stderr=log
            )
        wait_for(self._serves, 30, self.log.read_text)
        for user in users:
            self.cli("users", "create", user)
        self.users = {user["name"]: str(user["id"]) for user in self.cli("users", "list")}

    def _serves(self):
        if self.process.poll() is not None:
            raise Timeout(self.log.read_text())
        return self.run("users", "list").returncode == 0

    def run(self, *arguments):
        return subprocess.run(
            [peer("headscale"), "--config", self.config, "--output", "json", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    def cli(self, *arguments):
        """The JSON output of a command."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    def auth_key(self, *flags, user=None):
        user = self.users[user or next(iter(self.users))]
        return self.cli("preauthkeys", "create", "--user", user, *flags)["key"]

    def end(self):
        self.process.terminate()
        self.process.wait(20)
