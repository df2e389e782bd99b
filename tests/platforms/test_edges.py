"""What stands at the edge of the platforms, and what waits and answers in their pods: real nginx and real sockets, in a network of their own."""

from __future__ import annotations

import json

import pytest

from tests.platforms.sandbox import Sandbox

HEAD = "import json, subprocess, sys; sys.path.insert(0, '/lab'); import edge, {module}; data = json.load(sys.stdin)\n"

# two services behind it, nginx in front, then one question a line: port, Host, path
RUN = """
python3 /lab/answer.py 7001/=201 7002/=202 7003~SSH-2.0-lab &
nginx -t -q -c /run/edge/nginx.conf
nginx -c /run/edge/nginx.conf -g 'daemon off;' &
for port in 7001 7002 %(port)s; do until (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do sleep 0.05; done; done
while read -r scheme port host path; do
  if [ $scheme = tcp ]; then timeout 5 head -c 11 < /dev/tcp/127.0.0.1/$port; echo; else
  curl -sk -o /dev/null -w '%%{http_code}\\n' --resolve "$host:$port:127.0.0.1" "$scheme://$host:$port$path"; fi
done <<'EOF'
%(questions)s
EOF
kill %%2 %%1; wait
"""


def answers(sandbox: Sandbox, module: str, expression: str, data: object, port: int, questions: list[str], **env: str) -> list[str]:
    """What nginx says, with the configuration that the module makes of the data."""
    code = HEAD.format(module=module) + f"edge.own_certificate(); edge.write('/run/edge/nginx.conf', {expression})"
    sandbox.run("python3", "-c", code, stdin=json.dumps(data), env=env)
    return sandbox.run("bash", "-ec", RUN % {"port": port, "questions": "\n".join(questions)}, own_network=True).split()


def service(name: str, namespace: str, port: int, **annotations: str) -> dict[str, object]:
    notes = {f"router.deis.io/{key}": value for key, value in annotations.items()}
    return {"metadata": {"name": name, "namespace": namespace, "annotations": notes}, "spec": {"clusterIP": "127.0.0.1", "ports": [{"port": port}]}}


SERVICES = [
    service("deis-controller", "deis", 7001, domains="deis", connectTimeout="10", tcpTimeout="1200"),
    service("web", "app", 7002, domains="app, www.elsewhere.test"),
    service("nothing", "app", 7002),
]


@pytest.mark.parametrize(("annotations", "foreign"), [({"router.deis.io/nginx.platformDomain": "lab.test"}, "404"), ({}, "201")], ids=["domain", "any domain"])
def test_the_router_routes_by_host(sandbox: Sandbox, annotations: dict[str, str], foreign: str) -> None:
    questions = [
        "http 8080 deis.lab.test /",
        "https 6443 deis.lab.test /",
        "http 8080 app.lab.test /",
        "http 8080 www.elsewhere.test /",
        "http 8080 other.lab.test /",
        "http 8080 deis.other.test /",
        "http 9090 any.test /healthz",
        "tcp 2222 - -",
    ]
    env = {"DEIS_BUILDER_SERVICE_HOST": "127.0.0.1", "DEIS_BUILDER_SERVICE_PORT": "7003"}
    told = answers(sandbox, "router", "router.configuration(*data)", [SERVICES, annotations], 9090, questions, **env)
    assert told == ["201", "201", "202", "202", "404", foreign, "200", "SSH-2.0-lab"]


def test_the_router_without_rights_is_healthy_and_knows_no_host(sandbox: Sandbox) -> None:
    told = answers(sandbox, "router", "router.configuration(*data)", [[], {}], 9090, ["http 9090 any.test /healthz", "http 8080 deis.lab.test /"])
    assert told == ["200", "404"]


def test_the_gateway_is_ready_and_knows_its_hosts(sandbox: Sandbox) -> None:
    def route(name: str, section: str, port: int) -> dict[str, object]:
        rules = [{"backendRefs": [{"name": name, "port": port}]}]
        return {"metadata": {"name": name}, "spec": {"hostnames": [f"{name}.lab.test"], "parentRefs": [{"sectionName": section}], "rules": rules}}

    data = [[route("drycc", "http-80", 7001)], [route("drycc-builder", "tcp-2222", 7003)], "drycc", "cluster.local", "127.0.0.1"]
    # there is no name server: a host that is known cannot be reached, one that is not known is not there
    told = answers(
        sandbox,
        "gateway",
        "gateway.configuration(*data)",
        data,
        15021,
        ["http 15021 x.test /healthz/ready", "http 80 drycc.lab.test /", "http 80 x.lab.test /"],
    )
    assert told == ["200", "502", "404"]


def test_a_component_that_is_not_to_be_had_answers_its_probes_and_no_more(sandbox: Sandbox) -> None:
    script = """
    python3 /lab/answer.py 8086/ping=204 8086/health 8083 & until (exec 3<>/dev/tcp/127.0.0.1/8083) 2>/dev/null; do sleep 0.05; done
    for path in ping health other; do curl -s -o /dev/null -w '%{http_code} ' http://127.0.0.1:8086/$path; done
    kill %1; wait %1; echo $?
    """
    assert sandbox.run("bash", "-c", script, own_network=True).split() == ["204", "200", "404", "0"]


def test_init_containers_wait_until_every_end_answers(sandbox: Sandbox) -> None:
    script = """
    netcat -v -u 'postgres://user:word@127.0.0.1:7001/name,http://127.0.0.1:7002,$(NOT_SET)' -a 127.0.0.1:7003 > /tmp/waited & sleep 0.5
    python3 /lab/answer.py 7001 7002 & sleep 0.7; kill -0 %1 && echo waits
    python3 /lab/answer.py 7003 & wait %1; echo $?; cat /tmp/waited; kill %2 %3
    """
    told = sandbox.run("bash", "-c", script, own_network=True).split("\n")
    assert told[:2] == ["waits", "0"]
    assert told[2:5] == [f"127.0.0.1:{port} answers" for port in (7001, 7002, 7003)]
