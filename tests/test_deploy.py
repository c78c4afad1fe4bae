"""deploy/: units, container, compose file and what operators are told, as far as no engine is needed to check them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.options import option_parser

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
COMMAND = "/opt/flowshard/bin/flowshard"


def text(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


def options(words: str) -> set[str]:
    """The options among the words of a command or a text."""
    return set(re.findall(r"(?<![\w-])--?[a-zA-Z][a-z0-9-]*", words))


def known() -> set[str]:
    """The options that this version has."""
    return {name for action in option_parser()._actions for name in action.option_strings} | {"-md5"}


def test_units_are_hard() -> None:
    """systemd-analyze gives the sensor at most 1.5 and the offline unit at most 0.5, and understands every line."""
    done = subprocess.run([DEPLOY / "check"], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("systemd-analyze is not there")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" of at most ") == 3


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_understands_the_units(unit: Path, tmp_path: Path) -> None:
    """Nothing in a unit is unknown to systemd but the command, which is not installed here."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not there")
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text(encoding="utf-8").replace(COMMAND, "/bin/true"), encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True)
    assert tmp_path.name not in done.stderr


@pytest.mark.parametrize("name", [*(unit.name for unit in UNITS), "Containerfile", "compose.yaml"])
def test_only_options_that_there_are(name: str) -> None:
    """What starts flowshard gives it options of this version."""
    joined = text(name).replace("\n        ", " ")
    commands = re.findall(rf"(?:{COMMAND}|\bflowshard) (-.*?)(?:'|$)", joined, re.MULTILINE)
    assert commands
    assert options(re.sub(r"\$\(.*?\)", "", " ".join(commands))) <= known()


@pytest.mark.parametrize("name", ["OPERATING.md", "TUNING.md", "README.md"])
def test_operators_are_told_of_options_that_there_are(name: str) -> None:
    """An option in backquotes that is nobody else's exists."""
    foreign = {
        "--kill-whom",
        "-s",
        "-i",
        "--mbps",
        "--loop",
        "--cpunodebind",
        "--membind",
        "-h",
        "-V",
        "-T",
        "-G",
        "-o",
    }
    spans = re.findall(r"`(-[^`]*)`", text(name))
    assert options(" ".join(spans)) - foreign <= known()


def test_users_and_folders_agree() -> None:
    """The user that units run as and the folders that they name are made by sysusers and tmpfiles."""
    users = re.findall(r"^u (\S+)", text("sysusers.d/flowshard.conf"), re.MULTILINE)
    folders = re.findall(r"^d (\S+)", text("tmpfiles.d/flowshard.conf"), re.MULTILINE)
    for unit in UNITS:
        content = unit.read_text(encoding="utf-8")
        assert re.findall(r"^User=(.*)$", content, re.MULTILINE) == users
        named = set(re.findall(r"(?:/var/lib|/etc)/flowshard(?:/in|/out)?", content))
        assert named <= set(folders)


def instructions(content: str) -> list[tuple[str, str]]:
    """The instructions of a container file, continued lines joined."""
    joined = re.sub(r"\\\n", " ", "\n".join(line for line in content.splitlines() if not line.startswith("#")))
    return [(word.upper(), rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def container_faults(content: str) -> list[str]:
    """What is wrong with a container file, by the rules that we keep."""
    found = []
    steps = instructions(content)
    stages = {rest.split()[2] for word, rest in steps if word == "FROM" and " AS " in rest}
    for word, rest in steps:
        if word == "FROM" and not re.fullmatch(r"[a-z/-]+:\d+\.\d+[a-z0-9.-]*( AS [a-z]+)?", rest):
            found.append(f"not pinned, or from a host: {rest}")
        if word == "ADD":
            found.append("ADD fetches and unpacks: use COPY")
        if word == "COPY" and (source := re.match(r"--from=(\S+)", rest)) and source[1] not in stages:
            found.append(f"copied from elsewhere: {rest}")
        if word in {"RUN", "COPY"} and re.search(r"curl|wget|https?://|sudo|chmod 777", rest):
            found.append(f"fetched or too open: {rest}")
        if word in {"ENV", "ARG", "COPY"} and re.search(r"(?i)secret|password|token|\.env\b|\.git\b|id_rsa", rest):
            found.append(f"a secret: {rest}")
        if word in {"ENTRYPOINT", "CMD"} and not rest.startswith("["):
            found.append(f"signals would go to a shell: {rest}")
        if word == "RUN" and "pip install" in rest and "--no-cache-dir" not in rest:
            found.append(f"leaves a cache: {rest}")
    users = [rest for word, rest in steps if word == "USER"]
    last = max((n for n, (word, _) in enumerate(steps) if word == "FROM"), default=0)
    final = [rest for word, rest in steps[last:] if word == "USER"]
    if not users or not final or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", final[-1]):
        found.append("the last USER is root, or no number")
    return found


def test_the_container_file() -> None:
    """It keeps our rules: pinned, nobody special, nothing fetched, no secret, signals reach flowshard."""
    assert container_faults(text("Containerfile")) == []


def test_the_container_has_what_is_built() -> None:
    """Packages, and files that the build asks for, are copied into the container that builds."""
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], wheel["hooks"]["custom"]["path"], project["project"]["readme"], "pyproject.toml"}
    assert needed <= {
        source for word, rest in instructions(text("Containerfile")) if word == "COPY" for source in rest.split()
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("USER 10001:10001", "USER 0:0"),
        ("USER 10001:10001\n", ""),
        ("USER 10001:10001", "USER root"),
        ("FROM python:3.11 AS", "FROM python AS"),
        ("FROM python:3.11 AS", "FROM python:latest AS"),
        ("FROM python:3.11 AS", "FROM registry.example/python:3.11 AS"),
        ("COPY workers workers", "ADD https://host.example/workers.tar /"),
        ("COPY workers workers", "COPY .env ."),
        ("COPY --from=build", "COPY --from=elsewhere"),
        ('ENTRYPOINT ["/opt/flowshard/bin/flowshard"]', "ENTRYPOINT flowshard"),
        ("--no-cache-dir", ""),
        ("WORKDIR /source", "ENV API_TOKEN=1"),
    ],
)
def test_the_rules_find_faults(old: str, new: str) -> None:
    """Each rule fails for a file that breaks it."""
    content = text("Containerfile")
    assert old in content
    assert container_faults(content.replace(old, new, 1))


# The parts of the compose specification that we use, with the types that it gives them.
SERVICE: dict[str, Any] = {
    "build": dict, "image": str, "entrypoint": list, "command": list, "environment": dict, "network_mode": str,
    "cap_drop": list, "cap_add": list, "security_opt": list, "read_only": bool, "tmpfs": list, "volumes": list,
    "mem_limit": str, "stop_signal": str, "stop_grace_period": str, "restart": str,
}  # fmt: skip
DURATION = r"(\d+(us|ms|s|m|h))+"
VOLUME = r"[a-z./][\w./-]*:/[\w./-]+(:ro|:rw)?"


def test_the_compose_file() -> None:
    """Its keys and types are those of the compose specification, and volumes and files that it names are there."""
    compose = yaml.safe_load(text("compose.yaml"))
    assert compose.keys() == {"services", "volumes"}
    for service in compose["services"].values():
        assert {key: type(value) for key, value in service.items()} == {key: SERVICE[key] for key in service}
        assert ("image" in service) != ("build" in service)
        assert re.fullmatch(r"no|always|unless-stopped|on-failure(:\d+)?", service["restart"])
        assert re.fullmatch(DURATION, service.get("stop_grace_period", "1s"))
        for volume in service["volumes"]:
            assert re.fullmatch(VOLUME, volume)
            source = volume.partition(":")[0]
            assert (DEPLOY / source).is_file() if source.startswith(".") else source in compose["volumes"]
    build = compose["services"]["sensor"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).samefile(DEPLOY / "Containerfile")


def test_containers_have_no_more_than_they_need() -> None:
    """The sensor has NET_RAW and nothing else, its root is read-only, and so it is with Prometheus."""
    services = yaml.safe_load(text("compose.yaml"))["services"]
    assert {name: (one["cap_drop"], one.get("cap_add", []), one["read_only"]) for name, one in services.items()} == {
        "sensor": (["ALL"], ["NET_RAW"], True), "prometheus": (["ALL"], [], True)
    }  # fmt: skip
    (command,) = services["sensor"]["command"]
    words = shlex.split(command.replace("$$", "$"))
    assert words[words.index("--metrics") + 1] == "9100"
    targets = yaml.safe_load(text("prometheus.yml"))["scrape_configs"][0]["static_configs"][0]["targets"]
    assert targets == ["127.0.0.1:9100"]
