# SPDX-License-Identifier: BSD-3-Clause
"""The coordination server in its sandbox: what it gave up, and that it misses nothing of it.

every command, nodes, a full write-ahead log, certificates ──loopback──▶ control serve
"""

import json
import os
import shutil
import stat
import subprocess

import pytest
from lab import wait_for
from lab.build import BUILD
from lab.loopback_control import (
    JoinedNode,
    LoopbackControl,
    status_fields,
    threads_of,
)
from lab.pki import Authority

OWNER = 65532
POLICY = {
    "groups": {"group:all": ["default@"]},
    "grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}],
}


@pytest.fixture
def server(tmp_path):
    made = LoopbackControl(tmp_path, tls=True, relay=True)
    yield made
    made.end()


def joined(server, nodes, folder):
    key = server.cli("keys", "create", "--reusable")["key"]
    node = JoinedNode(server, key, folder)
    nodes.append(node)
    wait_for(lambda: " netmap " in node.text(), 20, node.text)
    return node


@pytest.fixture
def nodes():
    made = []
    yield made
    for node in made:
        node.close()


def check_confined(server, uid):
    threads = threads_of(server.process.pid)
    assert threads
    for thread in threads:
        fields = status_fields(server.process.pid, thread)
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(fields[name], 16) == 0, (thread, name)
        assert fields["NoNewPrivs"] == "1", thread
        assert fields["Seccomp"] == "2", thread
        assert fields["Uid"].split() == [str(uid)] * 4
        assert fields["Gid"].split() == [str(uid)] * 4
    # Not dumpable: its memory belongs to root. The leak check of a sanitizer needs it so at the end.
    assert os.stat(f"/proc/{server.process.pid}/mem").st_uid == 0
    assert "is not available" not in server.log.read_text()


@pytest.mark.parametrize("uid", [0, OWNER], ids=["root", "owner"])
def test_every_thread_has_nothing(tmp_path, server, nodes, uid):
    """Started as root, it becomes the owner of its folder, and keeps no privilege."""
    server.state.mkdir(mode=0o700)
    # Others must be able to get there.
    for folder in (server.state, *server.state.parents):
        if folder.is_relative_to(tmp_path.parents[2]) and uid:
            os.chmod(folder, folder.stat().st_mode | 0o011)
    os.chown(server.state, uid, uid)
    server.start()
    check_confined(server, uid)
    joined(server, nodes, tmp_path)
    check_confined(server, uid)
    for path in server.state.rglob("*"):
        assert path.stat().st_uid == uid, path
        if path.suffix not in (".pem", ""):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    # And so after a restart: what it made it can use again.
    assert server.stop() == 0
    server.start()
    assert len(server.cli("nodes", "list")["nodes"]) == 1


def test_a_folder_that_its_owner_cannot_use(tmp_path, server):
    """Files of another user's in it: said with the remedy, not in the middle of the work."""
    server.start()
    assert server.stop() == 0
    os.chown(server.state, OWNER, OWNER)
    done = subprocess.run(
        [
            *[BUILD / "pillion-server", "control", "serve", f"--url={server.url}"],
            *[f"--state={server.state}", "--relay=off"],
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 1
    assert f"chown -R {OWNER}" in done.stderr


def operate(server, policy):
    """Every command of the operator's, each of which has to say yes."""
    nodes = server.cli("nodes", "list")["nodes"]
    name = nodes[0]["name"]
    made = server.cli("keys", "create", "--user", "someone", "--reusable", "--ephemeral")
    for arguments in (
        ("users", "list"),
        ("users", "create", "other"),
        ("users", "delete", "other"),
        ("keys", "list"),
        ("keys", "expire", made["key"].split("-")[2]),
        ("nodes", "show", name),
        ("nodes", "rename", name, "renamed"),
        ("nodes", "rename", "renamed", name),
        ("nodes", "approve-routes", name, "10.0.0.0/8"),
        ("nodes", "approve-routes", name, ""),
        ("policy", "get"),
        ("policy", "check", policy),
        ("policy", "set", policy),
        ("debug", "netmap", name),
    ):
        done = server.run(*map(str, arguments))
        assert done.returncode == 0, (arguments, done.stderr)


def test_it_misses_nothing(tmp_path, server, nodes):
    """All commands again and again, until the write-ahead log was written back many times."""
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps(POLICY))
    server.start()
    one = joined(server, nodes, tmp_path)
    log = server.state / "control.db-wal"
    database = server.state / "control.db"
    before = database.stat().st_size
    # A checkpoint comes at 1000 pages of the log, each of 4 KiB; so large is what follows.
    big = tmp_path / "big.json"
    big.write_text(json.dumps(POLICY | {"hosts": {f"h{i}": "10.0.0.1" for i in range(20000)}}))
    for _ in range(12):
        assert server.run("policy", "set", str(big)).returncode == 0
        operate(server, policy)
    assert log.stat().st_size > 1000 * 4096
    assert database.stat().st_size > before
    assert server.stop() == 0
    assert not log.exists()
    server.start()
    wait_for(
        lambda: server.cli("nodes", "list")["nodes"][0]["connected"], 40, "the node to be back"
    )
    operate(server, policy)
    server.kill()
    server.start()
    operate(server, policy)
    name = server.cli("nodes", "list")["nodes"][0]["name"]
    for arguments in (("nodes", "expire", name), ("nodes", "delete", name)):
        assert server.run(*arguments).returncode == 0
    assert one.process.poll() is None


# Certificates


def certificate(server, port=None):
    """What it proves itself by, in PEM, and the fingerprint."""
    done = subprocess.run(
        [
            *["openssl", "s_client", "-connect", f"127.0.0.1:{port or server.port}"],
            *["-servername", "control.test"],
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    return subprocess.run(
        ["openssl", "x509", "-noout", "-fingerprint", "-sha256"],
        input=done.stdout,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def curl(server, ca):
    return subprocess.run(
        ["curl", "-sS", "--max-time", "10", "--cacert", str(ca), f"{server.url}/health"],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_private_authority(tmp_path, server, nodes):
    """Its PEM is printed once, curl and nodes trust by it, and it outlives the certificates."""
    server.start()
    pem = server.ca.read_text()
    assert server.log.read_text().count(pem) == 1
    assert curl(server, server.ca).stdout == "ok\n"
    other = Authority(tmp_path / "other")
    assert "certificate" in curl(server, other.certificate).stderr
    joined(server, nodes, tmp_path)
    first = certificate(server)
    assert server.stop() == 0
    server.start()
    assert certificate(server) == first
    assert server.ca.read_text() == pem
    assert server.log.read_text().count(pem) == 1


def shorten(server, days):
    """Give it a certificate by its own authority with so many days to live."""
    state = server.state
    extensions = server.folder / "extensions"
    extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost,IP:::1\n")
    request = server.folder / "request"
    for command in (
        ["req", "-new", "-key", state / "server.key", "-out", request, "-subj", "/CN=old"],
        [
            *["x509", "-req", "-in", request, "-CA", state / "ca.pem", "-CAkey", state / "ca.key"],
            *["-CAcreateserial", "-CAserial", server.folder / "serial", "-days", days],
            *["-extfile", extensions, "-out", state / "server.pem"],
        ],
    ):
        subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True)


@pytest.mark.parametrize("days", [3, 200])
def test_a_certificate_is_renewed_before_its_end(tmp_path, server, nodes, days):
    """While it serves, too: the node's connection stays, the next one sees the new certificate."""
    server.start()
    joined(server, nodes, tmp_path)
    shorten(server, days)
    assert server.stop() == 0
    old = server.ca.read_text()
    server.start()
    said = "made a new certificate" in server.log.read_text()
    assert said == (days < 30)
    connected = server.cli("nodes", "list")["nodes"][0]
    wait_for(
        lambda: server.cli("nodes", "list")["nodes"][0]["connected"], 40, lambda: str(connected)
    )
    before = certificate(server)
    shorten(server, days)
    server.hang_up()
    if days < 30:
        wait_for(lambda: certificate(server) != before, 10, "another certificate")
    else:
        wait_for(lambda: certificate(server) != before, 10, "what is in the file")
    assert server.cli("nodes", "list")["nodes"][0]["connected"]
    assert curl(server, server.ca).stdout == "ok\n"
    assert server.ca.read_text() == old


@pytest.fixture
def files(tmp_path):
    """A certificate of the operator's, in a folder that others may read."""
    authority = Authority(tmp_path / "pki")
    folder = tmp_path / "certificate"
    folder.mkdir()

    class Files:
        certificate = folder / "server.pem"
        key = folder / "server.key"
        ca = authority.certificate

        def renew(self, name="control.test"):
            pem, key = authority.issue(name, "127.0.0.1")
            # As certbot and others do: another file in its place.
            for source, target in ((pem, self.certificate), (key, self.key)):
                shutil.copy(source, f"{target}.new")
                os.rename(f"{target}.new", target)

    made = Files()
    made.renew()
    return made


def test_files_are_read_again(tmp_path, server, nodes, files):
    """Changed files serve without a signal, broken ones don't, and no connection ends."""
    server.ca = files.ca
    server.start(f"--certificate={files.certificate}", f"--key={files.key}")
    joined(server, nodes, tmp_path)
    first = certificate(server)
    files.renew()
    wait_for(lambda: certificate(server) != first, 20, "the new certificate")
    second = certificate(server)
    files.certificate.write_text("nonsense")
    wait_for(
        lambda: "the new certificate is not used" in server.log.read_text(),
        30,
        lambda: server.log.read_text()[-1000:],
    )
    assert certificate(server) == second
    files.certificate.unlink()
    server.hang_up()
    wait_for(
        lambda: "No such file" in server.log.read_text(), 10, lambda: server.log.read_text()[-1000:]
    )
    assert certificate(server) == second
    files.renew()
    server.hang_up()
    wait_for(lambda: certificate(server) != second, 10, "the third certificate")
    assert server.cli("nodes", "list")["nodes"][0]["connected"]
    # One line for the unchanged trouble, one for the operator who asked.
    assert server.log.read_text().count("the new certificate is not used") == 2
    assert curl(server, files.ca).stdout == "ok\n"
    assert len(nodes[0].text().split(" netmap ")) > 1


def test_links_are_followed(tmp_path, server, files):
    """As Kubernetes and certbot have it: the path is a link, and its target is replaced."""
    live, archive = tmp_path / "live", tmp_path / "archive"
    live.mkdir()
    archive.mkdir()

    def publish(number):
        for path in (files.certificate, files.key):
            target = archive / f"{number}-{path.name}"
            shutil.copy(path, target)
            link = live / path.name
            fresh = live / f"{path.name}.new"
            fresh.symlink_to(target)
            os.rename(fresh, link)

    publish(1)
    server.ca = files.ca
    server.start(f"--certificate={live / files.certificate.name}", f"--key={live / files.key.name}")
    first = certificate(server)
    files.renew()
    publish(2)
    wait_for(lambda: certificate(server) != first, 20, "the new certificate")
