# SPDX-License-Identifier: BSD-3-Clause
"""pillion-demo/compose.yaml: a tailnet of containers in which a laptop fetches the app's page.

project's network ─┬─ control    `pillion control`; lays a key and its authority's certificate
                   │               where the nodes take them
                   ├─ sidecar ── demo-app, an nginx (shares its namespace)
                   └─ laptop     scripts/laptop: by relay while it can't reach the sidecar, then direct
"""

import json
import re
import shutil

import conftest
import pytest
from lab.build import ROOT
from lab.waiting import wait_for

pytestmark = pytest.mark.timeout(conftest.FIRST)

PROJECT = f"{conftest.NAME}-demo"
LABEL = f"label=com.docker.compose.project={PROJECT}"
DEMO = ROOT / "pillion-demo/compose.yaml"
APP = """FROM {base}
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx-light >/dev/null
CMD ["nginx", "-g", "daemon off;"]
"""


@pytest.fixture(scope="module")
def app_image(base):
    """An nginx, since there may be no registry to have one from."""
    tag = "pillion-test-app:latest"
    conftest.docker("build", "--network", "host", "-t", tag, "-", stdin=APP.format(base=base))
    return tag


def compose(*arguments, check=True, folder=ROOT, images=()):
    """Compose's second version where it is, else the first one."""
    if conftest.docker("compose", "version", check=False).returncode == 0:
        command = ["/usr/bin/docker", "compose"]
    else:
        command = [shutil.which("docker-compose")]
    return conftest.run(
        *["env", "-C", folder, *images, *command, "-p", PROJECT, *arguments],
        check=check,
    )


def shipped(folder):
    """Copy the shipped compose file, and the file that it mounts."""
    for name in ("compose.yaml", "serve.json"):
        shutil.copy(ROOT / name, folder)


def page_by_https(docker_cli, sidecar, folder):
    """The app's page by the tailnet's HTTPS, trusted as docs/certificates.md says."""
    authority = folder / "app-ca.pem"
    # The node's own authority, and the server's once that has signed.
    asked = ["exec", sidecar, "pillion", "cert", "--ca"]
    wait_for(
        lambda: docker_cli(*asked).stdout.count("BEGIN CERTIFICATE") == 2, 30, "both authorities"
    )
    authority.write_text(docker_cli(*asked).stdout)
    status = json.loads(docker_cli("exec", sidecar, "tailscale", "status", "--json").stdout)
    name, address = status["Self"]["DNSName"].rstrip("."), status["TailscaleIPs"][0]
    process = json.loads(docker_cli("inspect", sidecar).stdout)[0]["State"]["Pid"]
    return conftest.run(
        *["nsenter", "--net", "-t", process, "curl", "-sS", "--max-time", "10", "--noproxy", "*"],
        *["--cacert", authority, "--resolve", f"{name}:443:{address}", f"https://{name}/"],
        check=False,
    )


@pytest.fixture
def demo(image, app_image):
    """Compose with the demo's file; all its containers and volumes are removed afterwards."""

    def run(*arguments, check=True):
        images = [f"PILLION_IMAGE={image}", f"APP_IMAGE={app_image}"]
        return compose("-f", DEMO, *arguments, check=check, images=images)

    yield run
    run("down", "--volumes", "--timeout", "5", check=False)


def left():
    """What there is of the project."""
    kinds = [["ps", "-aq"], ["network", "ls", "-q"], ["volume", "ls", "-q"]]
    return [conftest.docker(*kind, "--filter", LABEL).stdout.split() for kind in kinds]


def test_the_example_of_settings_starts_the_own_tailnets(image, app_image, tmp_path, docker_cli):
    """The command of the page works as it is copied."""
    shutil.copy(ROOT / ".env.example", tmp_path / ".env")
    shipped(tmp_path)
    images = [f"PILLION_IMAGE={image}", f"APP_IMAGE={app_image}"]
    try:
        compose("up", "--no-build", "--no-start", folder=tmp_path, images=images)
        label = '{{.Label "com.docker.compose.service"}}'
        made = docker_cli("ps", "-a", "--filter", LABEL, "--format", label).stdout.split()
        assert sorted(made) == ["app", "pillion"]
        chosen = "label=com.docker.compose.service=pillion"
        own = docker_cli("ps", "-aq", "--filter", LABEL, "--filter", chosen).stdout.strip()
        facts = json.loads(docker_cli("inspect", own).stdout)[0]
        assert "TS_LOGIN_SERVER=https://headscale.example.com" in facts["Config"]["Env"]
    finally:
        compose("down", "--volumes", folder=tmp_path)
    assert left() == [[], [], []]


@pytest.fixture
def control(image, tmp_path):
    """`pillion control` with its own authority, as a container that other networks can be joined by."""
    name = f"{conftest.NAME}-control"
    conftest.docker(
        *["run", "-d", "--name", name, "-v", f"{tmp_path}/control:/state"],
        *["--entrypoint", "pillion", image, "control", "serve", "--state=/state"],
        "--url=https://control:8443",
    )

    def ask(*arguments):
        command = ["pillion", "control", *arguments, "--socket=/state/control.sock"]
        return conftest.docker("exec", name, *command, check=False)

    wait_for(lambda: ask("users").returncode == 0, 30, "the server")
    yield name, tmp_path / "control/ca.pem", lambda: ask("keys", "create").stdout.strip()
    conftest.docker("rm", "-f", "-v", name)


def test_the_shipped_file_with_our_server_and_what_a_restart_costs(
    image, app_image, control, tmp_path, docker_cli
):
    """.env has the key and ca.pem. Where Docker cuts the app off, its health check says so."""
    name, authority, make_key = control
    shipped(tmp_path)
    lines = (ROOT / ".env.example").read_text().splitlines()
    values = {"LOGIN_SERVER": "https://control:8443", "AUTHKEY": make_key(), "CA_FILE": authority}
    lines = [f"{k}={values[k]}" if (k := line.split("=")[0]) in values else line for line in lines]
    (tmp_path / ".env").write_text("\n".join(lines) + "\n")
    images = [f"PILLION_IMAGE={image}", f"APP_IMAGE={app_image}"]

    def own(*arguments):
        return compose(*arguments, folder=tmp_path, images=images).stdout

    def health(service):
        container = own("ps", "-q", service).strip()
        facts = json.loads(docker_cli("inspect", container).stdout)[0]
        return facts["State"]["Health"]["Status"]

    def up(*flags):
        own("up", "--no-build", "-d", *flags)
        for service in ("pillion", "app"):
            wait_for(lambda s=service: health(s) == "healthy", 120, lambda: own("logs"))

    try:
        own("up", "--no-build", "-d", "pillion")  # it makes the network, and waits for the server
        docker_cli("network", "connect", "--alias", "control", f"{PROJECT}_default", name)
        up()
        said = own("logs", "--no-color", "pillion")
        assert re.search(r"Running as demo-app, 100\.64\.0\.1, fd7a:", said), said
        assert "IPv6" not in said
        sidecar = own("ps", "-q", "pillion").strip()
        page = page_by_https(docker_cli, sidecar, tmp_path)
        assert "Welcome to nginx" in page.stdout, (page, said)
        # The engine dies: nothing is cut off.
        kill = "kill -KILL $(grep -lx pillion-engine /proc/[0-9]*/comm | cut -d/ -f3)"
        docker_cli("exec", sidecar, "sh", "-c", kill)
        wait_for(lambda: own("logs", "pillion").count("Running as") >= 2, 30, lambda: own("logs"))
        assert health("app") == "healthy"
        docker_cli("restart", sidecar)
        wait_for(lambda: health("app") == "unhealthy", 120, lambda: own("logs"))
        wait_for(lambda: health("pillion") == "healthy", 60, lambda: own("logs"))
        up("--force-recreate")
        assert "Running as demo-app, 100.64.0.1" in own("logs", "--no-color", "pillion")
        docker_cli("network", "disconnect", f"{PROJECT}_default", name)
        own("down")
        volumes = docker_cli("volume", "ls", "-q").stdout.split()
        assert f"{PROJECT}_state" in volumes
    finally:
        docker_cli("network", "disconnect", "-f", f"{PROJECT}_default", name, check=False)
        compose("down", "--volumes", folder=tmp_path, images=images)
    assert left() == [[], [], []]


def test_the_laptop_fetches_by_relay_and_then_direct(demo, docker_cli):
    demo("up", "--no-build", "-d")
    laptop = demo("ps", "-q", "laptop").stdout.strip()
    code = docker_cli("wait", laptop, timeout=180).stdout.strip()
    said = demo("logs", "--no-color").stdout
    assert code == "0", said
    lines = [line for line in docker_cli("logs", laptop).stdout.splitlines() if "$ " in line]
    assert ["Welcome to nginx!" in line for line in lines] == [True, False, True, False], lines
    assert "by relay" in lines[1]
    assert "directly" in lines[3]
    # A process has no capability that it doesn't need: control has none, the node has one.
    for name, rights in (("control", 0), ("sidecar", 1 << 12)):
        container = demo("ps", "-q", name).stdout.strip()
        status = docker_cli("exec", container, "cat", "/proc/1/status").stdout
        values = dict(line.split(":", 1) for line in status.splitlines())
        assert int(values["CapBnd"], 16) == rights, name
        assert int(values["CapEff"], 16) == rights, name
        assert values["NoNewPrivs"].strip() == "1", name
        facts = json.loads(docker_cli("inspect", container).stdout)[0]
        assert facts["HostConfig"]["ReadonlyRootfs"], name
    # What control keeps for itself is not where the nodes look.
    sidecar = demo("ps", "-q", "sidecar").stdout.strip()
    names = docker_cli("exec", sidecar, "ls", "/join").stdout.split()
    assert names == ["ca.pem", "key"]
    key = docker_cli("exec", sidecar, "cat", "/join/key").stdout.strip()
    assert key and key not in said


def test_the_demo_ends_by_itself_and_again_on_what_it_kept(demo):
    """As the README has it: in the foreground, until the laptop is done."""
    for _ in range(2):
        done = demo("up", "--no-build", "--no-color", "--exit-code-from", "laptop", check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "directly" in done.stdout
        demo("down", "--timeout", "5")
    assert left()[:2] == [[], []]
    demo("down", "--volumes")
    assert left() == [[], [], []]
