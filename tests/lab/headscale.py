# SPDX-License-Identifier: BSD-3-Clause
"""The real control server in a box, with its embedded relay and STUN or a derper beside it."""

import json
import time

from lab.peers import peer
from lab.pki import Authority
from lab.waiting import wait_for

OPEN_POLICY = {"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}

CONFIG = """
server_url: {url}
listen_addr: 0.0.0.0:443
metrics_listen_addr: 127.0.0.1:9090
grpc_listen_addr: 127.0.0.1:50443
tls_cert_path: {certificate}
tls_key_path: {key}
noise: {{private_key_path: {state}/noise.key}}
prefixes: {{v4: 100.64.0.0/10, v6: "fd7a:115c:a1e0::/48", allocation: sequential}}
database: {{type: sqlite, sqlite: {{path: {state}/db.sqlite, write_ahead_log: true}}}}
derp:
  server:
    enabled: {embedded}
    region_id: 900
    region_code: lab
    region_name: Lab
    verify_clients: true
    stun_listen_addr: "0.0.0.0:3478"
    private_key_path: {state}/derp.key
    automatically_add_embedded_derp_region: true
    ipv4: {v4}
    ipv6: "{v6}"
  urls: []
  paths: {maps}
  auto_update_enabled: false
dns:
  magic_dns: true
  base_domain: tail.lab
  override_local_dns: false
  nameservers: {{global: []}}
policy: {{mode: file, path: {policy}}}
unix_socket: {state}/headscale.sock
unix_socket_permission: "0770"
disable_check_updates: true
logtail: {{enabled: false}}
log: {{level: info, format: text}}
{tuning}
"""


class Headscale:
    """start() and stop() may alternate: its state stays. With a derper its own relay is off.

    batch: how long it collects writes before it makes and answers them, "5ms"; its own choice,
    500 ms, is most of the time that a node takes to join.
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
        maps = []
        if derper:
            derper.start(self.authority)
            maps.append(str(self.state / "derp.yaml"))
            (self.state / "derp.yaml").write_text(derper.map())
        self._config.write_text(
            CONFIG.format(
                tuning=f"tuning: {{node_store_batch_timeout: {batch}}}" if batch else "",
                embedded=json.dumps(derper is None),
                maps=json.dumps(maps),
                url=self.url,
                certificate=certificate,
                key=key,
                state=self.state,
                v4=box.v4,
                v6=box.v6,
                policy=self._policy,
            )
        )
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
        """Run its command line; what it prints, as JSON."""
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
        """A key whose time is over."""
        key = self.auth_key(expiration="1s")
        time.sleep(1.1)  # nothing to wait for: its clock decides
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
