"""The command line: python -m lab up | down | status | store | postgres | registry | hosts | seed | shell | images | setup."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from lab import allocation, builds, cgroups, cleanup, content, images, nodes, paths, processes, requirements
from lab.cluster import Cluster
from lab.errors import LabError
from lab.hosts import commands as commands_of_hosts
from lab.hosts import trees
from lab.layout import Layout
from lab.machines import Machine
from lab.platforms import charts
from lab.progress import Steps
from lab.servers import Server

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
    beside = {"store": "the S3 server", "postgres": "the PostgreSQL", "registry": "the image registry"}
    for name, text in ((name, f"{what} beside the cluster") for name, what in beside.items()):
        server = command(name, partial(_server, name), f"{text}: up, down, or a fault")
        server.add_argument("verb", choices=("up", "down", "kill", "stop", "start", "cut", "mend"))
        server.add_argument("--purge", action="store_true", help="with down: remove its data too")
        server.add_argument("--pods-only", action="store_true", help="with cut: this machine still reaches it")
        if name == "store":
            server.add_argument("--region", default="us-east-1", help="what requests are signed for (default: %(default)s)")
        elif name == "postgres":
            server.add_argument("--max-connections", type=int, default=100, help="(default: %(default)s)")
    commands_of_hosts.describe(command("hosts", lambda options: commands_of_hosts.run(options, _say), "standalone hosts beside the cluster", named=False))
    seed = command("seed", _seed, "put real data into a platform: images, slugs, an app, rows")
    seed.add_argument("--platform", choices=charts.names(), default="hephy", help="(default: %(default)s)")
    seed.add_argument("--seed", type=int, default=1, help="the same number gives the same data (default: %(default)s)")
    seed.add_argument("--megabytes", type=int, default=0, metavar="N", help="fill a table of the platform's database up to this size")
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
        for server in (cluster.store(), cluster.postgres(), cluster.registry()):
            if server.folder.exists():
                _say(f"  {server.name} {server.address}: {_running(server.machine)}, {server.credentials_file}")
        for number in layout.node_numbers():
            _say(f"  node{number} {layout.addresses.node(number)}: {_daemons(layout, number)}")
    return 0


def _daemons(layout: Layout, number: int) -> str:
    return _running(nodes.machine(layout, number))


def _running(machine: Machine) -> str:
    if not machine.init_pid():
        return "down"
    found = []
    for component, wanted in machine.components().items():
        pid = machine.component_pid(component)
        found.append(f"{component} {pid or ('DOWN' if wanted else 'stopped')}")
    return ", ".join(found)


def _server(name: str, options: argparse.Namespace) -> int:
    cluster = Cluster(options.name)
    server: Server = cluster.registry()
    if name == "store":
        server = cluster.store(options.region)
    elif name == "postgres":
        server = cluster.postgres(options.max_connections)
    if options.verb == "up":
        server.up(_say)
        _say(f"  {name} of lab {options.name} at {server.address}: {server.credentials_file}")
    elif options.verb == "down":
        server.down(options.purge)
    elif options.verb == "cut":
        server.cut(options.pods_only)
    else:
        {"kill": server.kill, "stop": server.stop, "start": server.start, "mend": server.mend}[options.verb]()
    return 0


def _seed(options: argparse.Namespace) -> int:
    from lab.seed import command  # only this needs it

    return command(Cluster(options.name), options.platform, options.seed, options.megabytes, _say)


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
        # Packages are unpacked one after the other, and waited for: the compiler has most of the machine meanwhile.
        with steps.step("programs and root file systems of hosts"), ThreadPoolExecutor(1) as beside:
            made = beside.submit(lambda: [trees.tree(release, _say) for release in trees.RELEASES])
            builds.ensure(builds.of_a_lab(), _say)
            made.result()
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
