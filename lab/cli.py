"""The command line: python -m lab up | down | status | shell | images | setup."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial

from lab import allocation, builds, cgroups, cleanup, content, images, nodes, paths, processes, requirements
from lab.cluster import Cluster
from lab.errors import LabError
from lab.layout import Layout
from lab.progress import Steps

_say = partial(print, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status: 0 done, 1 failed with a message, 130 interrupted."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab", description="A real Kubernetes with real nodes on this machine, without Docker.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: object, text: str, named: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        if named:
            sub.add_argument("--name", default=paths.DEFAULT_NAME, help="which lab (default: %(default)s)")
        return sub

    up = command("up", _up, "bring a lab up, or complete it")
    up.add_argument("--nodes", type=int, default=2, help="real nodes (default: %(default)s)")
    up.add_argument("--kwok", type=int, default=0, metavar="N", help="nodes that only pretend, for tests of scale")
    up.add_argument("--platform", action="append", default=[], metavar="NAME[=NAMESPACE]", help="install a platform; may be given again")
    up.add_argument("--helm", choices=("3", "4"), default="3", help="the Helm that installs it (default: %(default)s)")
    up.add_argument("--fresh", action="store_true", help="drop the lab's state first")
    down = command("down", _down, "take a lab down and leave no trace of it but its state", named=False)
    which = down.add_mutually_exclusive_group()
    which.add_argument("--name", default=paths.DEFAULT_NAME, help="which lab (default: %(default)s)")
    which.add_argument("--all", action="store_true", help="all labs")
    down.add_argument("--purge", action="store_true", help="remove the state too")
    down.add_argument("--cache", action="store_true", help="with --all --purge: remove compiled programs and images as well")
    command("status", _status, "show the labs", named=False)
    shell = command("shell", _shell, "a shell, or one command, that talks to a lab's cluster")
    shell.add_argument("--node", type=int, metavar="N", help="inside this node instead")
    shell.add_argument("words", nargs="*", metavar="COMMAND", help="after --: a command instead of a shell")
    made = command("images", _images, "build the images and everything they need", named=False)
    made.add_argument("--platforms", action="store_true", help="those of the platforms too")
    made.add_argument("--programs", action="store_true", help="every program of the lab as well, so that nothing is left to build")
    command("setup", _setup, "install the Debian packages that the lab needs", named=False)
    return parser


def _up(options: argparse.Namespace) -> int:
    cluster = Cluster(options.name)
    cluster.up(nodes=options.nodes, kwok=options.kwok, platforms=options.platform, fresh=options.fresh, report=_say, helm=options.helm)
    _say(f"  export KUBECONFIG={cluster.kubeconfig}\n  or: python -m lab shell --name {options.name}")
    return 0


def _down(options: argparse.Namespace) -> int:
    if options.cache and not (options.all and options.purge):
        raise LabError("--cache goes with --all --purge")
    for name in cleanup.names() if options.all else [options.name]:
        Cluster(name).down(purge=options.purge, report=_say)
    if options.cache:
        cleanup.remove_cache()
        _say(f"removed {paths.cache()}")
    return 0


def _status(_options: argparse.Namespace) -> int:
    names = cleanup.names()
    if not names:
        _say("no labs")
    for name in names:
        cluster = Cluster(name)
        if allocation.number_of(name) is None:
            _say(f"{name}: its state is lost: python -m lab down --purge --name {name}")
            continue
        layout = cluster.layout
        used = sum(processes.memory(pid) for pid in cgroups.members(layout.addresses.bridge))
        _say(f"{name}: {'up' if cluster.is_up() else 'not up'}, {layout.addresses.network}, {used >> 20} MiB, kubeconfig {layout.kubeconfig}")
        for platform, namespace in cluster.facts["platforms"].items():
            _say(f"  platform {platform}" + (f" in {namespace}" if namespace else ""))
        for number in layout.node_numbers():
            _say(f"  node{number} {layout.addresses.node(number)}: {_daemons(layout, number)}")
    return 0


def _daemons(layout: Layout, number: int) -> str:
    if not nodes.init_pid(layout, number):
        return "down"
    found = []
    for component, wanted in nodes.components(layout, number).items():
        pid = nodes.component_pid(layout, number, component)
        found.append(f"{component} {pid or ('DOWN' if wanted else 'stopped')}")
    return ", ".join(found)


def _shell(options: argparse.Namespace) -> int:
    cluster = Cluster(options.name)
    words = options.words or [os.environ.get("SHELL", "/bin/sh")]
    if options.node:
        return subprocess.call(nodes.inside(cluster.layout, options.node, *words))
    builds.ensure(["kubectl", "helm"], _say)
    return subprocess.call(words, env=cluster.environment())


def _images(options: argparse.Namespace) -> int:
    requirements.check()
    steps = Steps(_say)
    if options.programs:
        with steps.step("programs"):
            builds.ensure(builds.programs(), _say)
    with steps.step("images"):
        essential = images.essential(_say)
        extra = images.platforms(_say) if options.platforms else []
        content.store(essential, _say)
        if extra:
            content.store(extra, _say, essential)
    for image in [*essential, *extra]:
        _say(f"  {image.name}")
    return 0


def _setup(_options: argparse.Namespace) -> int:
    requirements.install(_say)
    return 0
