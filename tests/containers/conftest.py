# SPDX-License-Identifier: BSD-3-Clause
"""A Docker engine, an image of ours on a Debian made by debootstrap, and a tailnet around it.

docker network ─┬─ control   Headscale, TLS by a private authority
                ├─ sidecar   the image under test ── app (shares its namespace)
                └─ laptop    stock tailscaled
"""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from lab.build import ROOT
from lab.headscale import configuration, own_relay, relays
from lab.peers import peer
from lab.pki import Authority
from lab.waiting import wait_for

NAME = f"pillion-test-{os.getpid()}"
CACHE = Path(os.environ.get("PILLION_PEERS", "/var/cache/pillion-peers"))
# Seconds: the first test makes Debian and the image, which compiles everything.
FIRST = 3600
# A page by Perl, which every Debian has: the app needs nothing of its own.
APP = (
    "use IO::Socket::INET; my $l = IO::Socket::INET->new(LocalPort => 8080, Listen => 9, "
    'ReuseAddr => 1) or die; print "serving\\n"; while (my $c = $l->accept) { my $r = <$c>; '
    'print $c "HTTP/1.0 200 OK\\r\\nContent-Length: 12\\r\\n\\r\\nthis is app\\n"; close $c }'
)


def run(*arguments, check=True, timeout=900, stdin=None):
    done = subprocess.run(
        [str(argument) for argument in arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        input=stdin,
        check=False,
    )
    if check and done.returncode != 0:
        raise AssertionError(
            f"{arguments} ended with {done.returncode}: {done.stdout}{done.stderr}"
        )
    return done


def docker(*arguments, **options):
    return run("/usr/bin/docker", *arguments, **options)


@pytest.fixture(scope="session")
def engine():
    """The Docker daemon; started here if there is none, and then stopped here too."""
    if not shutil.which("dockerd"):
        pytest.fail("the container tests need Debian's docker.io and debootstrap")
    daemon = None
    if docker("info", check=False).returncode != 0:
        daemon = subprocess.Popen(["dockerd"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: docker("info", check=False).returncode == 0, 60, "dockerd")
    yield
    if daemon:
        daemon.terminate()
        daemon.wait(30)


@pytest.fixture(scope="session")
def base(engine):
    """Debian 12 by debootstrap, since there may be no registry; kept by release."""
    tag = "pillion-test-base:12"
    archive = CACHE / "debian-12.tar"
    if not archive.exists():
        folder = CACHE / "debian-12"
        shutil.rmtree(folder, ignore_errors=True)
        run("debootstrap", "--variant=minbase", "bookworm", folder, timeout=FIRST)
        run("tar", "-C", folder, "-cf", archive.with_suffix(".new"), ".")
        archive.with_suffix(".new").rename(archive)
        shutil.rmtree(folder)
    # Once: with a base of another identity each image would be built anew.
    if docker("image", "inspect", tag, check=False).returncode != 0:
        docker("import", archive, tag)
    return tag


@pytest.fixture(scope="session")
def image(base):
    tag = "pillion-test:latest"
    docker(
        *["build", "--network", "host", "--build-arg", f"BASE={base}"],
        *["-f", ROOT / "Containerfile", "-t", tag, ROOT],
        timeout=FIRST,
    )
    return tag


class Tailnet:
    """Headscale and a laptop in containers of their own; starts sidecars."""

    def __init__(self, base_tag, image_tag, folder):
        self.base = base_tag
        self.image = image_tag
        self.folder = folder
        self.containers = []
        docker("network", "create", NAME)
        self.authority = Authority(folder)

    def start(self, name, *arguments, image=None):
        full = f"{NAME}-{name}"
        docker("run", "-d", "--name", full, *arguments)
        self.containers.append(full)
        return full

    def close(self):
        for name in reversed(self.containers):
            docker("rm", "-f", "-v", name, check=False)
        docker("network", "rm", NAME, check=False)
        for volume in docker("volume", "ls", "-q", "--filter", f"name={NAME}").stdout.split():
            docker("volume", "rm", volume, check=False)

    def start_control(self):
        certificate, key = self.authority.issue("control.lab")
        config = self.folder / "headscale.yaml"
        more = {
            "tls_cert_path": f"/lab/{Path(certificate).name}",
            "tls_key_path": f"/lab/{Path(key).name}",
            "derp": relays(**own_relay("/state")),
            "cli": {"timeout": "30s"},
        }
        settings = configuration("https://control.lab", "0.0.0.0:443", "/state", **more)
        config.write_text(json.dumps(settings))
        self.control = self.start(
            "control",
            *["--network", NAME, "--network-alias", "control.lab", "--tmpfs", "/state"],
            *["-v", f"{peer('headscale').parent}:/peers:ro", "-v", f"{self.folder}:/lab:ro"],
            *[self.base, "/peers/headscale", "-c", "/lab/headscale.yaml", "serve"],
        )
        wait_for(
            lambda: self.headscale("users", "create", "lab", check=False).returncode == 0,
            30,
            "headscale",
        )

    def headscale(self, *arguments, check=True):
        return docker(
            *["exec", self.control, "/peers/headscale", "-c", "/lab/headscale.yaml"],
            *["-o", "json", *arguments],
            check=check,
        )

    def auth_key(self):
        return json.loads(self.headscale("preauthkeys", "create", "--user", "1").stdout)["key"]

    def start_laptop(self):
        self.laptop = self.start(
            "laptop",
            *["--network", NAME, "--cap-add", "NET_ADMIN", "--device", "/dev/net/tun"],
            *["--sysctl", "net.ipv6.conf.all.disable_ipv6=0"],
            *["-v", f"{peer('tailscaled').parent}:/peers:ro", "-v", f"{self.folder}:/lab:ro"],
            *["-e", f"SSL_CERT_FILE=/lab/{self.authority.certificate.name}"],
            *["--entrypoint", "/peers/tailscaled", self.image, "--state=mem:"],
            *["--socket=/tmp/sock", "--no-logs-no-support"],
        )
        wait_for(
            lambda: docker(
                *["exec", self.laptop, "/peers/tailscale", "--socket=/tmp/sock", "up"],
                *["--login-server=https://control.lab", f"--auth-key={self.auth_key()}"],
                *["--hostname=laptop", "--accept-dns=false", "--timeout=20s"],
                check=False,
            ).returncode
            == 0,
            60,
            "the laptop to join",
        )

    def sidecar(self, name, *arguments, key=True, variables=()):
        """The image under test, as the README's compose file runs it."""
        settings = {
            "TS_LOGIN_SERVER": "https://control.lab",
            "TS_CA_FILE": f"/lab/{self.authority.certificate.name}",
            "TS_STATE_DIR": "/var/lib/tailscale",
            "TS_USERSPACE": "false",
            "TS_AUTH_ONCE": "true",
            "TS_ENABLE_HEALTH_CHECK": "true",
            "TS_LOCAL_ADDR_PORT": "127.0.0.1:41234",
        }
        if key:
            settings["TS_AUTHKEY"] = self.auth_key()
        settings.update(variables)
        flags = [f for k, v in settings.items() for f in ("-e", f"{k}={v}")]
        return self.start(
            name,
            *["--network", NAME, "--hostname", name, "--device", "/dev/net/tun"],
            *["-v", f"{NAME}-{name}:/var/lib/tailscale", "-v", f"{self.folder}:/lab:ro"],
            *flags,
            *arguments,
            self.image,
        )

    def start_app(self, sidecar):
        app = self.start(
            f"app-of-{sidecar.removeprefix(NAME + '-')}",
            *["--network", f"container:{sidecar}", self.base, "perl", "-e", APP],
        )
        return app

    @staticmethod
    def logs(container):
        done = docker("logs", container)
        return done.stdout + done.stderr

    def wait_started(self, container):
        wait_for(
            lambda: "Startup complete, waiting for shutdown signal" in self.logs(container),
            40,
            f"{container} to start: {self.logs(container)}",
        )

    def address(self, container):
        return docker("exec", container, "tailscale", "ip", "-4").stdout.strip()

    def fetch(self, address, timeout=20):
        """From the laptop; by wget, which the image has for health checks."""
        wait_for(
            lambda: docker(
                *["exec", self.laptop, "wget", "-qO-", "-T", "5", "-t", "1"],
                f"http://{address}:8080/",
                check=False,
            ).stdout
            == "this is app\n",
            timeout,
            f"the app at {address}",
        )


@pytest.fixture(scope="session")
def tailnet(base, image, tmp_path_factory):
    tailnet = Tailnet(base, image, tmp_path_factory.mktemp("lab"))
    try:
        tailnet.start_control()
        tailnet.start_laptop()
        yield tailnet
    finally:
        tailnet.close()


@pytest.fixture
def docker_cli():
    return docker


@pytest.fixture
def patience():
    """A moment for what must not happen."""
    return lambda seconds: time.sleep(seconds)
