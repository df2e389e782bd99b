# Copyright: the paas.hardening contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands in a container, and HTTP to a port of a pod, through the API server's web sockets. Nothing secret goes on a command line."""

from __future__ import annotations

import http.client
import io
import json
import ssl
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple
from urllib.parse import urlencode, urlsplit

from ansible_collections.paas.hardening.plugins.module_utils._cluster.connection import Connection
from ansible_collections.paas.hardening.plugins.module_utils._cluster.kinds import KINDS, Target, target_of
from ansible_collections.paas.hardening.plugins.module_utils._core.errors import Failure, Invalid, MissingDependency, NotFound, TimedOut, Unavailable
from ansible_collections.paas.hardening.plugins.module_utils._core.retry import Deadline

try:
    import websocket as _websocket

    websocket: Any = _websocket
    MISSING: Optional[ImportError] = None
except ImportError as _error:
    MISSING = _error

# Version 5 can say that standard input is at its end, version 4 (servers before Kubernetes 1.29) cannot.
_V5, _V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
_STDIN, _STDOUT, _STDERR, _RESULT, _CLOSE = 0, 1, 2, 3, 255
_CHUNK = 32 * 1024
# Seconds that a forwarded port may serve: the program that uses it has its own patience.
_FOR_GOOD = 7 * 24 * 3600.0
# Stands in for the missing end of input: it hands exactly so many bytes to the command, whose exit code remains the result.
_COUNTED = ["sh", "-c", 'count=$1; shift; head -c "$count" | "$@"', "sh"]


class ExecAnswer(NamedTuple):
    """How a command ended: its exit code, and what it wrote."""

    code: int
    stdout: str
    stderr: str


class HttpAnswer(NamedTuple):
    """An HTTP answer of a pod. Header names are in lower case; a name may come several times (cookies)."""

    status: int
    headers: List[Tuple[str, str]]
    text: str


class ProtocolNotSpoken(Unavailable):
    """The server knows none of the protocols that we offered."""


def execute(
    connection: Connection,
    namespace: str,
    pod: str,
    command: Sequence[str],
    container: Optional[str] = None,
    stdin: Optional[str] = None,
    timeout: float = 20,
    protocols: Sequence[str] = (_V5, _V4),
) -> ExecAnswer:
    """Run a command in a container and wait for its end, at most ``timeout`` seconds.

    What is secret belongs into ``stdin``: the command itself is seen by everybody who sees processes or the audit log. Raises NotFound (also for a command
    that the container does not have), Forbidden, Unavailable, or TimedOut; the command then may still run. ``protocols`` are those to offer.
    """
    deadline = Deadline(timeout)
    if stdin is not None and protocols != (_V4,):
        try:
            return _execute(connection, namespace, pod, command, container, stdin, deadline, (_V5,))
        except ProtocolNotSpoken:
            pass
    if stdin is None:
        return _execute(connection, namespace, pod, command, container, None, deadline, protocols)
    counted = [*_COUNTED, str(len(stdin.encode())), *command]
    return _execute(connection, namespace, pod, counted, container, stdin, deadline, (_V4,))


def _execute(
    connection: Connection,
    namespace: str,
    pod: str,
    command: Sequence[str],
    container: Optional[str],
    stdin: Optional[str],
    deadline: Deadline,
    protocols: Sequence[str],
) -> ExecAnswer:
    query = [("command", word) for word in command] + [("stdout", "true"), ("stderr", "true")]
    query += [("container", container)] if container else []
    query += [("stdin", "true")] if stdin is not None else []
    socket = _Socket(connection, KINDS["Pod"].path(namespace, pod, "exec"), query, protocols, deadline)
    try:
        if stdin is not None:
            data = stdin.encode()
            for start in range(0, len(data), _CHUNK):
                socket.send(_STDIN, data[start : start + _CHUNK])
            if socket.protocol == _V5:
                socket.send(_CLOSE, bytes([_STDIN]))
        written: Dict[int, bytearray] = {_STDOUT: bytearray(), _STDERR: bytearray(), _RESULT: bytearray()}
        while True:
            frame = socket.receive()
            if frame is None:
                break
            channel, data = frame
            if channel in written:
                written[channel] += data
    finally:
        socket.close()
    code = _exit_code(bytes(written[_RESULT]), socket.target, command)
    return ExecAnswer(code, written[_STDOUT].decode("utf-8", "replace"), written[_STDERR].decode("utf-8", "replace"))


def _exit_code(result: bytes, target: Target, command: Sequence[str]) -> int:
    """Read the last message of the server: the exit code, or that the command could not run."""
    try:
        status = json.loads(result)
    except ValueError:
        raise Unavailable(f"The connection for the command in {target.subject} broke before it ended.", "Run again.", target.subject) from None
    if status.get("status") == "Success":
        return 0
    for cause in (status.get("details") or {}).get("causes") or []:
        if cause.get("reason") == "ExitCode":
            try:
                return int(cause.get("message"))
            except (TypeError, ValueError):
                break
    message = status.get("message") if isinstance(status.get("message"), str) else ""
    if "executable file not found" in message or "no such file or directory" in message:
        raise NotFound(f"The container has no command {command[0]}.", "Is it the right container?", target.subject)
    raise Unavailable(f"The node could not run a command in {target.subject}.", "Look at the pod, and at the kubelet's log.", target.subject)


def http_through(
    connection: Connection,
    namespace: str,
    pod: str,
    port: int,
    method: str = "GET",
    path: str = "/",
    headers: Optional[Mapping[str, str]] = None,
    body: Optional[str] = None,
    timeout: float = 10,
    tls: bool = False,
    server_name: Optional[str] = None,
) -> HttpAnswer:
    """Send one HTTP request to a port of a pod through the API server and return the answer; redirects are not followed.

    With ``tls`` the request goes through TLS for ``server_name``; its certificate is not verified, because it is the API server that vouches for the pod.
    Raises Unavailable when nothing listens or no HTTP comes back, TimedOut after ``timeout`` seconds.
    """
    socket = PortSocket(connection, namespace, pod, port, timeout)
    place = socket.place
    try:
        stream: Any = _PortStream(socket)
        if tls:
            stream = _TlsStream(stream, server_name)
        client = http.client.HTTPConnection(server_name or "localhost", port, timeout=timeout)
        client.sock = stream
        client.request(method, path, body=None if body is None else body.encode(), headers={"Connection": "close", **(headers or {})})
        answer = client.getresponse()
        text = answer.read().decode("utf-8", "replace")
        return HttpAnswer(answer.status, [(name.lower(), value) for name, value in answer.getheaders()], text)
    except (http.client.HTTPException, ssl.SSLError):
        what = "speaks no TLS or HTTP" if tls else "speaks no HTTP"
        raise Unavailable(f"{place[0].upper()}{place[1:]} {what}.", "Is it the right port?", place) from None
    finally:
        socket.close()


class _Socket:
    """A web socket of the API server, whose messages begin with the number of a channel."""

    def __init__(
        self,
        connection: Connection,
        path: str,
        query: List[Tuple[str, str]],
        protocols: Sequence[str],
        deadline: Deadline,
        patience: float = _FOR_GOOD,
    ) -> None:
        """Connect. Within the deadline for all of it no single message may take longer than ``patience`` seconds."""
        if MISSING is not None:
            raise MissingDependency("The Python package websocket-client is not installed.", "Install what is needed: pip install kubernetes websocket-client")
        self.target = target_of("GET", path)
        self._connection = connection
        self._deadline = deadline
        self._patience = patience
        self._socket = websocket.WebSocket(sslopt=self._tls(), skip_utf8_validation=True)
        connection.reads += 1
        self._open(f"{connection.host}{path}?{urlencode(query)}".replace("http", "ws", 1), protocols)
        self.protocol = self._socket.getsubprotocol() or _V4

    def _tls(self) -> Dict[str, Any]:
        options: Dict[str, Any] = {"context": self._connection.context}
        if self._connection.server_name:
            options["server_hostname"] = self._connection.server_name
        return options

    def _open(self, url: str, protocols: Sequence[str]) -> None:
        connection = self._connection
        options: Dict[str, Any] = {"http_no_proxy": ["*"]}
        if connection.proxy.applies_to(connection.host):
            proxy = urlsplit(connection.proxy.url)
            options = {"http_proxy_host": proxy.hostname, "http_proxy_port": proxy.port, "http_no_proxy": [], "proxy_type": proxy.scheme or "http"}
            if connection.proxy.login:
                options["http_proxy_auth"] = connection.proxy.login
        self._socket.settimeout(self._left())
        header = [f"{name}: {value}" for name, value in connection.headers()]
        try:
            self._socket.connect(url, header=header, subprotocols=list(protocols), suppress_origin=True, redirect_limit=0, **options)
        except websocket.WebSocketBadStatusException as error:
            raise self._refused(error) from None
        except websocket.WebSocketTimeoutException:
            raise self._late() from None
        except (websocket.WebSocketException, OSError) as error:
            raise connection.broken(error, self.target, self._deadline.seconds, True) from None

    def _refused(self, error: Any) -> Failure:
        body = error.resp_body or b""
        if error.status_code in (400, 403) and b'"Status"' not in body:
            return ProtocolNotSpoken("The server speaks none of our web socket protocols.", "The cluster is too old, or a proxy in between cannot do it.")
        if error.status_code == 400:
            hint = "Does the pod run, and has it that container? Of several containers one has to be named."
            return Invalid(f"The API server cannot reach into {self.target.subject}.", hint, self.target.subject, 400)
        return self._connection.refused(error.status_code, error.resp_headers or {}, body, self.target)

    def _left(self) -> float:
        left = self._deadline.left
        if left <= 0:
            raise self._late()
        return min(left, self._patience)

    def _late(self) -> TimedOut:
        return TimedOut(f"{self.target.subject} took longer than {self._deadline.seconds:g} s.", "Look at the pod, or allow more time.", self.target.subject)

    def send(self, channel: int, data: bytes) -> None:
        self._socket.settimeout(self._left())
        try:
            self._socket.send_binary(bytes([channel]) + data)
        except websocket.WebSocketTimeoutException:
            raise self._late() from None
        except (websocket.WebSocketException, OSError) as error:
            raise self._connection.broken(error, self.target, self._deadline.seconds, False) from None

    def receive(self) -> Optional[Tuple[int, bytes]]:
        """Return the next message as (channel, data), or None when the server has closed the socket."""
        while True:
            frame = self.receive_frame()
            if frame is None or frame[0] != _CLOSE:
                return frame

    def receive_frame(self) -> Optional[Tuple[int, bytes]]:
        """Return the next message, or (255, nothing) for one that only keeps the connection alive, or None when the server has closed the socket."""
        self._socket.settimeout(self._left())
        try:
            opcode, frame = self._socket.recv_data(control_frame=True)
        except websocket.WebSocketTimeoutException:
            raise self._late() from None
        except websocket.WebSocketConnectionClosedException:
            return None
        except (websocket.WebSocketException, OSError) as error:
            raise self._connection.broken(error, self.target, self._deadline.seconds, False) from None
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            return None
        if opcode != websocket.ABNF.OPCODE_BINARY or not frame:
            return _CLOSE, b""
        return frame[0], frame[1:]

    @property
    def handle(self) -> Any:
        """The socket of the system, to wait for."""
        return self._socket.sock

    def pending(self) -> bool:
        """Tell whether something has come that the system no longer knows of, since TLS has read it."""
        return bool(getattr(self._socket.sock, "pending", int)())

    def close(self) -> None:
        self._socket.close(timeout=1)


class CommandSocket:
    """A command in a container that goes on while we do other things. That its input has ended cannot be told: an old server has no word for it."""

    def __init__(self, connection: Connection, namespace: str, pod: str, command: Sequence[str], container: str, patience: float) -> None:
        """Start it. No message may take longer than ``patience`` seconds. Raises NotFound, Forbidden, Invalid or Unavailable."""
        self._command = command
        query = [("command", word) for word in command] + [(name, "true") for name in ("stdin", "stdout", "stderr")] + [("container", container)]
        self._socket = _Socket(connection, KINDS["Pod"].path(namespace, pod, "exec"), query, (_V5, _V4), Deadline(_FOR_GOOD), patience)
        self._result = bytearray()
        self.handle, self.pending, self.close = self._socket.handle, self._socket.pending, self._socket.close

    def send(self, data: bytes) -> None:
        """Send a part of its input."""
        for start in range(0, len(data), _CHUNK):
            self._socket.send(_STDIN, data[start : start + _CHUNK])

    def receive(self) -> Optional[Tuple[bool, bytes]]:
        """Return what it has written with the next message, which may be nothing, and whether as a complaint; None when it has ended."""
        frame = self._socket.receive_frame()
        if frame is None:
            return None
        channel, data = frame
        if channel == _RESULT:
            self._result += data
        return channel == _STDERR, data if channel in (_STDOUT, _STDERR) else b""

    def code(self) -> int:
        """Return the exit code of a command that has ended. Raises Unavailable when the connection broke before, or the command could not be run."""
        return _exit_code(bytes(self._result), self._socket.target, self._command)


class PortSocket:
    """One connection to a port of a pod. Channel 0 is the data, channel 1 the error; each first names the port."""

    def __init__(self, connection: Connection, namespace: str, pod: str, port: int, timeout: float = _FOR_GOOD) -> None:
        """Connect. Raises NotFound, Forbidden or Unavailable; whether anything listens on the port shows with the first data. ``timeout`` is for all of it."""
        self.place = f"port {port} of the pod {namespace}/{pod}"
        path = KINDS["Pod"].path(namespace, pod, "portforward")
        self._socket = _Socket(connection, path, [("ports", str(port))], (_V4,), Deadline(timeout))
        self._greeted = {0: False, 1: False}
        self.handle, self.pending, self.close = self._socket.handle, self._socket.pending, self._socket.close

    def send(self, data: bytes) -> None:
        for start in range(0, len(data), _CHUNK):
            self._socket.send(0, bytes(data[start : start + _CHUNK]))

    def receive(self) -> Optional[bytes]:
        """Return what has come with the next message, which may be nothing, or None when the pod has closed the connection. Raises Unavailable."""
        frame = self._socket.receive_frame()
        if frame is None:
            return None
        channel, data = frame
        if not self._greeted.get(channel, True):
            self._greeted[channel] = True
            data = data[2:]
        if channel == 1 and data:
            if b"refused" in data or b"failed to connect" in data:
                raise Unavailable(f"Nothing answers on {self.place}.", "Is the container ready, and is it the right port?", self.place)
            return None
        return data if channel == 0 else b""


class _PortStream:
    """A forwarded port with the few methods of a socket that an HTTP client uses."""

    def __init__(self, socket: PortSocket) -> None:
        self._socket = socket
        self._kept = b""

    def sendall(self, data: bytes) -> None:
        self._socket.send(data)

    def recv(self, size: int) -> bytes:
        """Return what has come, or nothing when the pod has closed the connection."""
        while not self._kept:
            data = self._socket.receive()
            if data is None:
                return b""
            self._kept = data
        data, self._kept = self._kept[:size], self._kept[size:]
        return data

    def makefile(self, *_args: Any, **_options: Any) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        """Leave the socket to its owner: an HTTP client closes its side before the answer is read."""


class _TlsStream(_PortStream):
    """TLS inside a forwarded port."""

    def __init__(self, stream: _PortStream, server_name: Optional[str]) -> None:
        super().__init__(stream._socket)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._stream = stream
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        self._run(self._tls.do_handshake)

    def _run(self, step: Any) -> Any:
        while True:
            try:
                result = step()
                self._flush()
                return result
            except ssl.SSLWantReadError:
                self._flush()
                data = self._stream.recv(_CHUNK)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self._stream.sendall(data)

    def sendall(self, data: bytes) -> None:
        self._run(lambda: self._tls.write(data))

    def recv(self, size: int) -> bytes:
        try:
            return bytes(self._run(lambda: self._tls.read(size)))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""


class _Reader(io.RawIOBase):
    """What a stream receives, as a file."""

    def __init__(self, stream: _PortStream) -> None:
        super().__init__()
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)
