"""Answers the probes of a component whose software is not to be had, and nothing else.

Arguments: PORT/PATH answers that path with 200, PORT/PATH=STATUS with that status, PORT takes a connection and keeps it; PORT~TEXT greets with that line.
Other paths of a port that has one answer 404. Without arguments the process only waits. It imports little: a lab runs dozens of it.
"""

import os
import signal
import socket
import sys
import threading


def parsed(arguments):
    """{port: ({path: status}, greeting)} of the arguments. Raises ValueError."""
    ports = {}
    for argument in arguments:
        what, _, greeting = argument.partition("~")
        port, slash, path = what.partition("/")
        path, _, status = path.partition("=")
        paths, _ = ports.get(int(port), ({}, ""))
        if slash:
            paths["/" + path] = int(status or 200)
        ports[int(port)] = (paths, greeting)
    return ports


def converse(connection, paths, greeting):
    """One connection, until the client ends it or says what is no HTTP."""
    with connection:
        try:
            if greeting:
                connection.sendall(greeting.encode() + b"\r\n")
            heard = b""
            while chunk := connection.recv(4096):
                heard += chunk
                while paths and b"\r\n\r\n" in heard:
                    head, _, heard = heard.partition(b"\r\n\r\n")
                    connection.sendall(answer(head.split(b" ", 2)[1].decode("latin-1").partition("?")[0], paths))
        except (OSError, IndexError):
            return


def answer(path, paths):
    """The HTTP answer for a path; a status that is a function is asked for anew each time."""
    status = paths.get(path, 404)
    status = status() if callable(status) else status
    body = b"" if status == 204 else (b"ok\n" if status < 400 else b"not found\n")
    return b"HTTP/1.1 %d Lab\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


def listen(port, paths, greeting):
    """Takes connections at a port for ever."""
    with socket.create_server(("", port), backlog=128) as server:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=converse, args=(connection, paths, greeting), daemon=True).start()


def serve(ports):
    """Answers for ever."""
    # the first process of a container gets no default for this signal
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    for number, (known, greets) in ports.items():
        threading.Thread(target=listen, args=(number, known, greets), daemon=True).start()
    while True:
        signal.pause()


if __name__ == "__main__":
    serve(parsed(sys.argv[1:]))
