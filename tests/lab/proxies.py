# SPDX-License-Identifier: BSD-3-Clause
"""Third-party proxies in a box: tinyproxy (HTTP CONNECT) and nginx (reverse proxy)."""

import re

from lab.waiting import wait_for

TINYPROXY = """\
Port {port}
Timeout 600
LogLevel Info
MaxClients 100
ConnectPort 443
ConnectPort 8444
ConnectPort 14000
"""


class Tinyproxy:
    """A proxy with CONNECT; with a user it wants the password."""

    port = 8888

    def __init__(self, box, user=None, password=None):
        self.box = box
        text = TINYPROXY.format(port=self.port)
        if user:
            text += f"BasicAuth {user} {password}\n"
        configuration = box.folder / "tinyproxy.conf"
        configuration.write_text(text)
        self.process = box.start("tinyproxy", "-d", "-c", configuration)
        self.process.wait_text("Starting main loop", 15)

    @property
    def address(self):
        return f"{self.box.v4}:{self.port}"

    def targets(self):
        """host:port of each CONNECT request."""
        return re.findall(r"Request \(file descriptor \d+\): CONNECT (\S+)", self.process.text())

    def only_way_out_of(self, box):
        """A firewall in the box: only packets to the proxy leave."""
        box.nft(
            f"""
            table inet only {{
                chain out {{
                    type filter hook output priority 0
                    oifname eth0 ip daddr != {self.box.v4} drop
                    oifname eth0 meta nfproto ipv6 drop
                }}
            }}
            """
        )


NGINX = """\
daemon off;
error_log stderr;
pid {folder}/nginx.pid;
events {{}}
http {{
    log_format ended "ended $uri $status";
    access_log {log} ended;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    proxy_http_version 1.1;
    proxy_set_header Host $host;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection Upgrade;
    proxy_read_timeout {timeout};
    proxy_send_timeout {timeout};
    server {{ listen 80; return 301 https://$host$request_uri; }}
    server {{ listen 443 ssl; location / {{ proxy_pass https://{control}:443; }} }}
    server {{
        listen 8444 ssl;
        ssl_certificate {relay}/relay.crt;
        ssl_certificate_key {relay}/relay.pem;
        location / {{ proxy_pass https://{control}:8444; }}
    }}
}}
"""


class Nginx:
    """A reverse proxy for control and its relay, TLS on both sides; port 80 redirects to 443."""

    def __init__(self, box, control, timeout="60s", name=None):
        self.box = box
        self.control = control
        self.log = box.folder / "access.log"
        name = name or f"{box.name}.lab"
        configuration = box.folder / "nginx.conf"
        certificate, key = control.authority.issue(name, box.v4)
        configuration.write_text(
            NGINX.format(
                folder=box.folder,
                log=self.log,
                certificate=certificate,
                key=key,
                control=control.box.v4,
                relay=control.box.folder / "control" / "relay",
                timeout=timeout,
            )
        )
        self.process = box.start("nginx", "-c", configuration)
        wait_for(
            lambda: self.process.ensure_running()
            and box.run("nc", "-z", "127.0.0.1", "8444", check=False).returncode == 0,
            15,
            lambda: self.process.describe(),
        )

    def ended(self, path):
        """The number of requests for a path, and of connections upgraded from them, that have ended."""
        return self.log.read_text().count(f"ended {path} ") if self.log.exists() else 0

    def stand_before(self, box):
        """Redirect packets of the host to control and relay to this proxy; IPv4 only."""
        box.nft(
            f"""
            table ip before {{
                chain out {{
                    type nat hook output priority -100
                    ip daddr {self.control.box.v4} tcp dport {{ 443, 8444 }} dnat to {self.box.v4}
                }}
            }}
            table ip6 before {{
                chain out {{
                    type filter hook output priority 0
                    oifname eth0 meta l4proto tcp reject
                }}
            }}
            """
        )
