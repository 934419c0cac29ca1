# SPDX-License-Identifier: BSD-3-Clause
"""`pillion serve` in the foreground: a port is served as long as the command runs."""

import json
import re
import signal

import pytest
from lab import wait_for
from lab.build import ROOT, build_folder
from lab.sidecar import Sidecar

PAGE = ROOT / "docs/serve.md"


@pytest.fixture
def node(world):
    return world.sidecar.join()


@pytest.fixture
def fetch(world, node):
    """What the laptop gets of a URL of the node, as NAME, or curl's error."""
    name = name_of(node)

    def fetched(url):
        at = f"{name}::{node.addresses()[0]}:"
        command = ["curl", "-skS", "--max-time", "10", "--connect-to", at]
        done = world.laptop.box.run(*command, url.replace("NAME", name), check=False)
        return done.stdout or done.stderr

    return fetched


def name_of(node):
    return node.status()["Self"]["DNSName"].rstrip(".")


def begin(node: Sidecar, *arguments, log):
    """A command in the foreground that serves."""
    process = node.box.start(
        *[build_folder() / "pillion", f"--socket={node.socket}", "serve", *arguments], log=log
    )
    process.wait_text("Press Ctrl.C to exit", 10)
    return process


def config(node):
    return json.loads(node.pillion("serve", "status", "--json").stdout)


def wait_page(fetch, url, page, timeout=20):
    wait_for(lambda: fetch(url) == page, timeout, lambda: f"{url}: {fetch(url)}")


def wait_closed(fetch, url):
    wait_for(lambda: "curl: (7)" in fetch(url), 20, lambda: f"{url}: {fetch(url)}")


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_the_port_ends_with_the_command(node, fetch, end):
    """By Ctrl-C, exit code 0, or however the command ends. A port in the background stays."""
    name = name_of(node)
    node.pillion("serve", "--bg", "--http=80", "text:stays")
    process = begin(node, "--http=8088", "text:hello", log="first")
    assert f'http://{name}:8088/\n|-- text  "hello"\n\nPress Ctrl+C' in process.text()
    wait_page(fetch, "http://NAME:8088/", "hello")
    (session,) = config(node)["Foreground"].values()
    assert list(session["TCP"]) == ["8088"]
    assert "in the foreground" in node.pillion("serve", "status").stdout
    process.signal(end)
    assert (process.wait(10) == 0) == (end == signal.SIGINT)
    wait_closed(fetch, "http://NAME:8088/")
    wait_for(lambda: "Foreground" not in config(node), 10, lambda: config(node))
    assert fetch("http://NAME/") == "stays"


def test_two_commands_side_by_side(node, fetch):
    """Each has its port, none takes another's, and the end of one leaves the other."""
    first = begin(node, "--http=8088", "text:one", log="one")
    second = begin(node, "--http=8089", "text:two", log="two")
    wait_page(fetch, "http://NAME:8088/", "one")
    wait_page(fetch, "http://NAME:8089/", "two")
    for arguments, says in (
        (["--http=8088", "text:x"], "listener already exists for port 8088"),
        (["--bg", "--http=8089", "text:x"], "listener already exists for port 8089"),
    ):
        done = node.pillion("serve", *arguments, check=False)
        assert done.returncode == 1 and says in done.stderr
    first.signal(signal.SIGINT)
    first.wait(10)
    wait_closed(fetch, "http://NAME:8088/")
    assert fetch("http://NAME:8089/") == "two"
    node.pillion("serve", "reset")
    assert second.wait(10) == 0
    wait_closed(fetch, "http://NAME:8089/")


def test_a_crash_ends_the_command_and_the_port(node, fetch):
    """The next engine knows no session; the command says what happened."""
    process = begin(node, "--http=8088", "text:hello", log="first")
    wait_page(fetch, "http://NAME:8088/", "hello")
    node.kill_engine()
    assert process.wait(20) == 1
    assert "The port is not served any more" in process.text()
    wait_for(lambda: config(node) == {}, 20, lambda: config(node))
    wait_closed(fetch, "http://NAME:8088/")


def test_foreign_sessions_are_not_served(node, fetch):
    """A session that does not exist, in a request or a file, serves nothing."""
    wanted = {
        "TCP": {"80": {"HTTP": True}},
        "Foreground": {"0123456789abcdef": {"TCP": {"81": {"HTTP": True}}}},
    }
    command = ["curl", "-sS", "--unix-socket", node.socket, "-d", json.dumps(wanted)]
    node.box.run(*command, "http://local-tailscaled.sock/localapi/v0/serve-config")
    assert config(node) == {"TCP": {"80": {"HTTP": True}}}


@pytest.mark.parametrize("word", ["advertise", "drain", "clear", "get-config", "set-config"])
def test_services_are_named_as_missing(node, word):
    done = node.pillion("serve", word, "svc:web", check=False)
    assert done.returncode == 1 and "not supported yet" in done.stderr


def test_services_in_the_configuration(node):
    """Accepted as the official daemon does, and named in status."""
    wanted = {"Services": {"svc:web": {"TCP": {"443": {"HTTPS": True}}}}}
    command = ["curl", "-sS", "--unix-socket", node.socket, "-d", json.dumps(wanted)]
    node.box.run(*command, "http://local-tailscaled.sock/localapi/v0/serve-config")
    assert config(node) == wanted
    assert "svc:web" in node.pillion("serve", "status").stdout
    wait_for(
        lambda: any("Services are not offered yet" in line for line in node.status()["Health"]),
        10,
        "health",
    )


def test_capabilities_by_flag(node):
    node.pillion("serve", "--bg", "--http=80", "--accept-app-caps=a.example/x, b.example/y", "1")
    (site,) = config(node)["Web"].values()
    assert site["Handlers"]["/"]["AcceptAppCaps"] == ["a.example/x", "b.example/y"]
    done = node.pillion("serve", "--bg", "--accept-app-caps=nonsense", "1", check=False)
    assert done.returncode == 1 and "does not match the form" in done.stderr


def test_the_command_of_the_page(node):
    """docs/serve.md has one in the foreground."""
    (line,) = re.findall(r"^pillion serve (.*?) *# .*Ctrl-C", PAGE.read_text(), re.M)
    process = begin(node, *line.split(), log="page")
    (session,) = config(node)["Foreground"].values()
    assert session["TCP"] == {"443": {"HTTPS": True}}
    process.signal(signal.SIGINT)
    assert process.wait(10) == 0
