#!/usr/bin/env python3
"""Says of every case what the docker-compose of this Python says of it, one line each.

    oracle.py DIRECTORY

A case is a file `NAME.yml`, or a directory `NAME` with a `docker-compose.yml` and what stands beside it. A line has the
case, the verdict and docker-compose's words, separated by tabs. The verdicts:

    takes    `docker-compose config` takes it, and containers could be described for docker
    config   `docker-compose config` refuses it
    start    `docker-compose config` takes it, and starting does not come as far as docker

No docker daemon is asked. Every case runs in a process of its own, in a copy of the case, with the environment of a VPU.
"""
import io
import os
import shutil
import sys
import tempfile
import traceback

import docker
import requests
from compose.cli import main as cli
from compose.cli.command import get_config_from_options
from compose.project import Project

ENVIRONMENT = {"HOME": "/home/oem", "USER": "oem", "LOGNAME": "oem", "PATH": "/usr/bin:/bin"}


class NoDocker(docker.APIClient):
    """A docker that has nothing and does nothing."""

    def __init__(self):
        super().__init__(base_url="http://localhost:1", version="1.40")

    def inspect_network(self, *_args, **_kwargs):
        raise docker.errors.NotFound("no such network")

    def inspect_volume(self, *_args, **_kwargs):
        raise docker.errors.NotFound("no such volume")


def describe():
    """Describes every container for docker, as `up` does before it asks docker for anything."""
    config = get_config_from_options(".", {})
    client = NoDocker()
    project = Project.from_config("case", config, client)
    for service in project.services:
        service._get_container_host_config({})


def run(action):
    """Runs an action in a child; returns whether it worked, and what it wrote."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        os.dup2(write, 1)
        os.dup2(write, 2)
        sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb"), encoding="utf-8")
        sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb"), encoding="utf-8")
        code = 0
        try:
            action()
        except SystemExit as stop:
            if isinstance(stop.code, str):
                print(stop.code, file=sys.stderr)
            code = 0 if stop.code in (None, 0) else 1
        except BaseException as error:  # whatever docker-compose breaks off with
            message = getattr(error, "msg", None) or str(error) or type(error).__name__
            # As far as docker is far enough.
            if not isinstance(error, requests.exceptions.ConnectionError):
                print(f"{type(error).__name__}: {message}", file=sys.stderr)
                code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    os.close(write)
    with os.fdopen(read, encoding="utf-8", errors="replace") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    return status == 0, said


def words(said, directory):
    """What was said, on one line and without this machine's paths."""
    lines = [line.strip() for line in said.replace(os.path.realpath(directory), ".").splitlines()]
    lines = [line for line in lines if line and not line.startswith("You might be seeing")]
    return " ".join(lines).replace("\t", " ")[:300]


def config():
    sys.argv = ["docker-compose", "config", "-q"]
    cli.main()


def judge(path, directory):
    if os.path.isdir(path):
        shutil.copytree(path, directory, dirs_exist_ok=True)
    else:
        shutil.copy(path, os.path.join(directory, "docker-compose.yml"))
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(ENVIRONMENT)
    works, said = run(config)
    if not works:
        return "config", words(said, directory)
    works, said_later = run(describe)
    if not works:
        return "start", words(said_later, directory)
    return "takes", words(said, directory)


def main():
    cases = os.path.realpath(sys.argv[1])
    for name in sorted(os.listdir(cases)):
        path = os.path.join(cases, name)
        if not (name.endswith(".yml") or os.path.isdir(path)):
            continue
        with tempfile.TemporaryDirectory(prefix="case-") as directory:
            verdict, said = judge(path, directory)
            os.chdir("/")
        print(name, verdict, said, sep="\t", flush=True)


try:
    main()
except Exception:
    traceback.print_exc()
    sys.exit(2)
