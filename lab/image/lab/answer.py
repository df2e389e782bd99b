"""Answers the probes of a component whose software is not to be had, and nothing else.

Arguments: PORT/PATH answers that path with 200, PORT/PATH=STATUS with that status, PORT takes a connection and keeps it; PORT~TEXT greets with that line.
Other paths of a port that has one answer 404. Without arguments the process only waits.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys


def parsed(arguments):
    """{port: ({path: status}, greeting)} of the arguments. Raises ValueError."""
    ports = {}
    for argument in arguments:
        found = re.fullmatch(r"(\d+)(?:(/[^=]*)(?:=(\d{3}))?|~(.+))?", argument)
        if not found:
            raise ValueError(f"not PORT, PORT/PATH, PORT/PATH=STATUS or PORT~TEXT: {argument}")
        port, path, status, greeting = found.groups()
        paths, _ = ports.get(int(port), ({}, None))
        if path:
            paths[path] = int(status or 200)
        ports[int(port)] = (paths, greeting)
    return ports


async def converse(reader, writer, paths, greeting):
    """One connection."""
    try:
        if greeting:
            writer.write(greeting.encode() + b"\r\n")
            await writer.drain()
        while paths:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].decode("latin-1").split("?")[0]
            status = paths.get(path, 404)
            body = b"" if status == 204 else (b"ok\n" if status < 400 else b"not found\n")
            writer.write(b"HTTP/1.1 %d Lab\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
            await writer.drain()
        await reader.read()
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, IndexError):
        # the client went, or never spoke HTTP
        return
    finally:
        writer.close()


async def main(arguments):
    for port, (paths, greeting) in parsed(arguments).items():
        await asyncio.start_server(lambda r, w, p=paths, g=greeting: converse(r, w, p, g), None, port)
    done = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, done.set)
    await done.wait()


asyncio.run(main(sys.argv[1:]))
