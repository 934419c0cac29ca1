# SPDX-License-Identifier: BSD-3-Clause
"""112 policies for the tailnet of policy_servers.py, and in what servers differ over them."""

import json

HEAD = {
    "groups": {
        "group:dev": ["alice@"],
        "group:ops": ["bob@"],
        "group:all": ["alice@", "bob@"],
        "group:none": [],
    },
    "tagOwners": {
        "tag:server": ["group:ops"],
        "tag:db": ["group:ops"],
        "tag:router": ["group:ops"],
        "tag:exit": ["group:ops"],
        "tag:other": [],
    },
    "hosts": {
        "lan": "192.168.2.0/24",
        "printer": "192.168.2.9",
        "corp": "10.33.0.0/16",
        "corp-part": "10.33.4.0/24",
        "site": "10.0.0.0/8",
        "web": "100.64.0.4",
        "dns": "8.8.8.8/32",
    },
}


def acl(source, destination, protocol=None):
    """Words with blanks between."""
    made = {"action": "accept", "src": source.split(), "dst": destination.split()}
    return made | ({"proto": protocol} if protocol else {})


def grant(source, destination, ip=None, app=None):
    made = {"src": source.split(), "dst": destination.split()}
    return made | ({"ip": ip.split()} if ip else {}) | ({"app": app} if app else {})


def acls(*rules, **more):
    return json.dumps(HEAD | {"acls": [acl(*rule) for rule in rules]} | more)


def grants(*rules, **more):
    return json.dumps(HEAD | {"grants": [grant(*rule) for rule in rules]} | more)


def ssh(source, destination, users, action="accept", **more):
    rule = {"action": action, "src": source.split(), "dst": destination.split()}
    return rule | {"users": users.split()} | more


# One rule each: sources and destinations of every kind, alone and in pairs.
PAIRS = {
    "any-any": ("*", "*:*"),
    "any-user": ("*", "alice@:*"),
    "any-group": ("*", "group:all:22"),
    "any-tag": ("*", "tag:server:443"),
    "any-router": ("*", "tag:router:*"),
    "any-exit": ("*", "tag:exit:*"),
    "any-route": ("*", "lan:*"),
    "any-part-of-route": ("*", "printer:631"),
    "any-beyond-route": ("*", "site:443"),
    "any-internet": ("*", "autogroup:internet:*"),
    "any-member": ("*", "autogroup:member:*"),
    "any-tagged": ("*", "autogroup:tagged:*"),
    "any-self": ("*", "autogroup:self:*"),
    "any-public": ("*", "dns:53"),
    "any-default": ("*", "0.0.0.0/0:*"),
    "any-default-v6": ("*", "::/0:*"),
    "any-ula": ("*", "fd7a:115c:a1e0::/48:*"),
    "user-any": ("alice@", "*:*"),
    "user-user": ("alice@", "bob@:*"),
    "user-itself": ("alice@", "alice@:*"),
    "user-tag": ("alice@", "tag:server:80,443"),
    "user-route": ("alice@", "corp:*"),
    "user-part-of-route": ("alice@", "corp-part:22"),
    "user-both-routes": ("alice@", "lan:* corp:*"),
    "user-router": ("alice@", "tag:router:22"),
    "user-exit": ("alice@", "tag:exit:22"),
    "user-internet": ("alice@", "autogroup:internet:*"),
    "user-public": ("alice@", "dns:53"),
    "user-public-v6": ("alice@", "2001:db8::/32:*"),
    "user-half-the-internet": ("alice@", "0.0.0.0/1:* 128.0.0.0/1:*"),
    "user-self": ("alice@", "autogroup:self:*"),
    "user-node": ("alice@", "web:*"),
    "user-node-v6": ("alice@", "fd7a:115c:a1e0::4:*"),
    "user-nodes": ("alice@", "100.64.0.4/31:1-100"),
    "user-nobody": ("alice@", "100.64.9.9:*"),
    "group-route": ("group:ops", "lan:445"),
    "group-self": ("group:all", "autogroup:self:22"),
    "group-empty": ("group:none", "*:*"),
    "group-tags": ("group:dev group:ops", "tag:server:* tag:db:5432"),
    "member-member": ("autogroup:member", "autogroup:member:*"),
    "member-tagged": ("autogroup:member", "autogroup:tagged:22"),
    "member-internet": ("autogroup:member", "autogroup:internet:443"),
    "member-route": ("autogroup:member", "lan:* printer:9100"),
    "member-self": ("autogroup:member", "autogroup:self:*"),
    "tagged-tagged": ("autogroup:tagged", "autogroup:tagged:*"),
    "tagged-member": ("autogroup:tagged", "autogroup:member:*"),
    "tagged-internet": ("autogroup:tagged", "autogroup:internet:*"),
    "tag-tag": ("tag:server", "tag:db:5432"),
    "tag-itself": ("tag:server", "tag:server:*"),
    "tag-route": ("tag:server", "corp:8000-8100"),
    "tag-unused": ("tag:other", "*:*"),
    "tag-nobody": ("alice@", "tag:other:*"),
    "router-any": ("tag:router", "*:*"),
    "router-member": ("tag:router", "autogroup:member:*"),
    "router-own-route": ("tag:router", "lan:*"),
    "exit-any": ("tag:exit", "*:*"),
    "exit-internet": ("tag:exit", "autogroup:internet:*"),
    "route-user": ("lan", "alice@:*"),
    "route-tag": ("192.168.0.0/16", "tag:server:443"),
    "route-route": ("lan", "corp:*"),
    "part-of-route-tag": ("printer", "tag:server:443"),
    "routes-any": ("site", "*:*"),
    "node-node": ("100.64.0.1", "web:443"),
    "nodes-any": ("100.64.0.0/30", "*:22"),
    "public-tag": ("dns", "tag:server:53"),
    "danger-tag": ("autogroup:danger-all", "tag:server:443"),
    "any-and-route": ("* lan", "tag:db:*"),
}

# Several rules together, and whole files.
WHOLE = {
    "nothing": "{}",
    "no-rules": acls(),
    "comments": '// open\n{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]},],}',
    "same-twice": acls(("alice@", "tag:server:80"), ("alice@", "tag:server:80")),
    "ports-meet": acls(("alice@", "tag:server:1-100"), ("alice@", "tag:server:101-200")),
    "two-users": acls(("alice@", "tag:server:80"), ("bob@", "tag:server:443")),
    "route-and-tag": acls(("alice@", "lan:80"), ("bob@", "tag:router:22")),
    "route-each-way": acls(("alice@", "lan:*"), ("lan", "alice@:*")),
    "other-routes": acls(("alice@", "lan:*"), ("bob@", "corp:*")),
    "exit-and-tag": acls(("alice@", "autogroup:internet:*"), ("bob@", "tag:exit:22")),
    "exit-by-any": acls(("alice@", "*:443"), ("bob@", "dns:53")),
    "self-and-any": acls(("autogroup:member", "autogroup:self:*"), ("group:ops", "*:*")),
    "self-and-internet": acls(
        ("autogroup:member", "autogroup:self:* autogroup:internet:*"), ("bob@", "lan:*")
    ),
    "tcp": acls(("alice@", "tag:server:80", "tcp")),
    "udp": acls(("alice@", "tag:server:53", "udp")),
    "icmp": acls(("alice@", "tag:server:*", "icmp")),
    "icmp-v6": acls(("alice@", "tag:server:*", "ipv6-icmp")),
    "sctp": acls(("alice@", "tag:server:80-90", "sctp")),
    "gre": acls(("alice@", "tag:server:*", "gre")),
    "protocol-number": acls(("alice@", "tag:server:*", "42")),
    "tcp-and-udp": acls(("alice@", "web:53", "tcp"), ("alice@", "web:53", "udp")),
    "grant-any": grants(("*", "*", "*")),
    "grant-ports": grants(("alice@", "tag:server", "tcp:443 udp:53 8000-8100")),
    "grant-icmp": grants(("alice@", "tag:server", "icmp:*")),
    "grant-route": grants(("alice@", "lan", "*"), ("bob@", "corp", "tcp:22")),
    "grant-internet": grants(("alice@", "autogroup:internet", "*")),
    "grant-self": grants(("autogroup:member", "autogroup:self", "*")),
    "grant-app": grants(("alice@", "tag:server", None, {"example.com/cap/x": [{"may": ["read"]}]})),
    "grant-app-route": grants(("alice@", "lan", None, {"example.com/cap/x": []})),
    "grant-both": grants(("bob@", "tag:db", "5432", {"example.com/cap/db": [{"role": "dba"}]})),
    "grants-and-acls": grants(("alice@", "tag:db", "*"), acls=[acl("bob@", "tag:server:*")]),
    "ssh-self": acls(
        ("*", "*:*"),
        ssh=[ssh("autogroup:member", "autogroup:self", "autogroup:nonroot root", "check")],
    ),
    "ssh-tags": acls(
        ("*", "*:22"),
        ssh=[
            ssh("group:ops", "tag:server tag:db", "root"),
            ssh("alice@", "tag:server", "deploy", "check", checkPeriod="4h"),
            ssh("tag:server", "tag:db", "autogroup:nonroot"),
        ],
    ),
    "attributes": acls(
        ("*", "*:*"), nodeAttrs=[{"target": ["tag:server", "alice@"], "attr": ["magicdns-aaaa"]}]
    ),
    "word-unknown": acls(("nobody", "*:*")),
    "tag-undeclared": acls(("tag:nowhere", "*:*")),
    # Of public repositories in shape, under other names.
    "real-self-star": """
        // everybody reaches the own devices, admins everything
        {"groups": {"group:admins": ["alice@"]},
        "tagOwners": {"tag:server": ["group:admins"], "tag:db": ["group:admins"],
            "tag:router": ["group:admins"]},
        "acls": [{"action": "accept", "src": ["*"], "dst": ["autogroup:self:*"]},
            {"action": "accept", "src": ["group:admins"], "dst": ["*:*"]},],
        "nodeAttrs": [{"target": ["group:admins"], "attr": ["funnel"]}],}""",
    "real-self-and-tag": """
        // a rule for the own devices must not hide what other rules give
        {"groups": {"group:home": ["alice@", "bob@"], "group:ops": ["alice@"]},
        "tagOwners": {"tag:server": ["group:ops"], "tag:db": ["group:ops"],
            "tag:router": ["group:ops"]},
        "acls": [{"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self:*"]},
            {"action": "accept", "src": ["group:home"],
                "dst": ["192.168.2.0/24:*", "tag:server:*"]},]}""",
    "real-ports-icmp": """
        // notes as '#' members, lists of ports, a rule for ICMP alone
        {"groups": {"group:apps": ["bob@"]},
        "tagOwners": {"tag:server": ["group:apps"], "tag:db": ["group:apps"]},
        "hosts": {},
        "acls": [{"#note": {"name": "apps reach servers", "open": false}, "action": "accept",
            "proto": "tcp", "src": ["group:apps"], "dst": ["tag:server:80,443,667,1812"]},
            {"action": "accept", "proto": "icmp", "src": ["group:apps"], "dst": ["tag:db:*"]},
            {"action": "accept", "proto": "icmp", "src": ["tag:server"],
                "dst": ["group:apps:*"]},]}""",
    "real-protocol-split": """
        // one rule a protocol, members reach members on 443 only, with tests
        {"tagOwners": {"tag:dns": ["alice@"], "tag:server": ["alice@"], "tag:db": ["alice@"]},
        "acls": [{"action": "accept", "src": ["autogroup:member"], "proto": "tcp",
            "dst": ["autogroup:internet:*", "autogroup:self:*", "tag:server:53",
                "autogroup:member:443", "tag:db:80", "tag:db:443"]},
            {"action": "accept", "src": ["autogroup:member"], "proto": "udp",
            "dst": ["autogroup:internet:*", "autogroup:self:*", "tag:server:53",
                "autogroup:member:443", "tag:db:443"]},],
        "tests": [{"src": "bob@", "proto": "tcp", "accept": ["tag:server:53", "tag:db:443"],
            "deny": ["tag:server:80"]},
            {"src": "bob@", "proto": "udp", "accept": ["tag:db:443"], "deny": ["tag:db:80"]},],}""",
    "real-tag-grants": """
        // grants between tags, and tags that a tag owns
        {"grants": [{"src": ["alice@"], "dst": ["*"], "ip": ["*"]},
            {"src": ["tag:server"], "dst": ["tag:server"], "ip": ["*"]},
            {"src": ["tag:server"], "dst": ["tag:db"], "ip": ["tcp:5432", "udp:53", "8080"]},],
        "tagOwners": {"tag:iac": ["alice@"], "tag:server": ["tag:iac"], "tag:db": ["tag:iac"],
            "tag:ci": ["tag:iac"]},
        "ssh": [{"action": "check", "src": ["autogroup:member"], "dst": ["autogroup:self"],
            "users": ["autogroup:nonroot", "root"]}],}""",
    "real-tagged": """
        // a group owns tags and reaches all that is tagged
        {"groups": {"group:admins": ["bob@"]},
        "tagOwners": {"tag:server": ["group:admins"], "tag:db": ["group:admins"]},
        "acls": [{"action": "accept", "src": ["group:admins"], "dst": ["autogroup:tagged:*"]}],
        "ssh": [{"action": "accept", "src": ["group:admins"], "dst": ["autogroup:tagged"],
            "users": ["root", "autogroup:nonroot"]}],}""",
    "real-ranges": """
        // ranges and lists of ports, single addresses
        {"groups": {"group:admins": ["alice@"]},
        "tagOwners": {"tag:server": ["group:admins"], "tag:db": ["group:admins"]},
        "acls": [{"action": "accept", "src": ["tag:server"],
            "dst": ["tag:server:*", "autogroup:internet:*", "100.64.0.3:*"]},
            {"action": "accept", "src": ["group:admins"], "dst": ["*:*"]},
            {"action": "accept", "src": ["autogroup:member"],
                "dst": ["*:22,50-79,666,5000-6000"]},
            {"action": "accept", "src": ["tag:db"], "dst": ["100.64.0.1:22,5432"]},],}""",
    # no port behind the star
    "real-bare-star": """
        {"groups": {"group:apps": ["bob@"]},
        "acls": [{"action": "accept", "src": ["group:apps"], "proto": "icmp", "dst": ["*"]}],}""",
    "real-tag-owns-itself": """
        {"tagOwners": {"tag:iac": ["alice@"], "tag:ci": ["tag:iac", "tag:ci"]},
        "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}""",
}

POLICIES = {name: acls(rule) for name, rule in PAIRS.items()} | WHOLE

# Outside of the corpus: what Headscale takes, and we refuse with these words.
UNSUPPORTED = {
    "via": (
        json.dumps(HEAD | {"grants": [grant("alice@", "lan", "*") | {"via": ["tag:router"]}]}),
        '"via" is not supported',
    ),
}

# By both servers.
REFUSED = {"word-unknown", "tag-undeclared", "real-bare-star"}

# Where the servers differ, and why. A policy that is here and on which they agree fails the test.
DIFFERENCES = {
    "nothing": "everybody reaches everybody; from Headscale any address may, from us those of the "
    "tailnet and its routes, as with a rule from * to *",
    "real-self-star": "Headscale refuses the attribute funnel, and we pass it on",
}
