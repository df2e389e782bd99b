"""The lab's own requests to its API server, under a name that the audit log leaves out."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any

from lab.errors import LabError
from lab.layout import Layout

_COLLECTIONS = {
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "Service": "/api/v1/namespaces/{namespace}/services",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices",
    "Node": "/api/v1/nodes",
}


class Api:
    """Requests to the API server of one lab."""

    def __init__(self, layout: Layout) -> None:
        pki = layout.authority.folder
        self._host = layout.addresses.node(1)
        self._trust = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._trust.load_cert_chain(pki / "operator.crt", pki / "operator.key")

    def request(self, method: str, path: str, body: Any = None, seconds: float = 10, kind: str = "application/json") -> tuple[int, Any]:
        """Send one request; return the status and the decoded answer. Raises OSError when nobody answers."""
        connection = http.client.HTTPSConnection(self._host, 6443, timeout=seconds, context=self._trust)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": kind, "Accept": "application/json", "User-Agent": "paas-lab"})
            answer = connection.getresponse()
            data = answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"the API server broke off: {error!r}") from error
        finally:
            connection.close()
        try:
            return answer.status, json.loads(data)
        except ValueError:
            return answer.status, data.decode(errors="replace")

    def ready(self) -> bool:
        """Whether the API server says that it is ready."""
        try:
            return self.request("GET", "/readyz", seconds=3)[0] == 200
        except OSError:
            return False

    def get(self, path: str) -> Any:
        """The object at a path, or None when it is not there or the server does not answer yet."""
        try:
            status, answer = self.request("GET", path)
        except OSError:
            return None
        return answer if status == 200 else None

    def apply(self, item: dict[str, Any]) -> None:
        """Make the object as it is given, whether it is there or not. Raises LabError when the server refuses."""
        path = f"{_collection(item)}/{item['metadata']['name']}?fieldManager=paas-lab&force=true"
        self._accepted(item, *self.request("PATCH", path, item, kind="application/apply-patch+yaml"))

    def create(self, item: dict[str, Any]) -> None:
        """Make the object if it is not there. Raises LabError when the server refuses."""
        status, answer = self.request("POST", _collection(item), item)
        if status != 409:
            self._accepted(item, status, answer)

    @staticmethod
    def _accepted(item: dict[str, Any], status: int, answer: Any) -> None:
        if status not in (200, 201):
            reason = answer.get("message", "") if isinstance(answer, dict) else answer
            raise LabError(f"the API server refuses {item['kind']} {item['metadata']['name']}: {status} {reason}")


def _collection(item: dict[str, Any]) -> str:
    return _COLLECTIONS[item["kind"]].format(namespace=item["metadata"].get("namespace", ""))
