"""Stands in for Telegraf: it makes its configuration out of the environment as the real one's start does, ends when that is no TOML, and sends a point."""

import base64
import os
import socket
import time
import tomllib
import urllib.parse
import urllib.request

SECONDS = 5.0


def places():
    """The addresses of its output. Raises tomllib.TOMLDecodeError."""
    return tomllib.loads(f"urls = [{os.environ.get('INFLUXDB_URLS', '')}]")["urls"]


def send(url):
    """Write one point, if somebody takes it."""
    query = urllib.parse.urlencode({"db": os.environ.get("INFLUXDB_DATABASE", "kubernetes")})
    request = urllib.request.Request(f"{url}/write?{query}", f"system,host={socket.gethostname()} uptime={time.monotonic():.0f}i".encode())
    if os.environ.get("INFLUXDB_USERNAME"):
        words = f"{os.environ['INFLUXDB_USERNAME']}:{os.environ.get('INFLUXDB_PASSWORD', '')}"
        request.add_header("Authorization", "Basic " + base64.b64encode(words.encode()).decode())
    try:
        urllib.request.urlopen(request, timeout=5).close()
    except (OSError, ValueError) as error:
        print(f"{url}: {error}", flush=True)


def main():
    outputs = places()
    while True:
        for url in outputs:
            send(url)
        time.sleep(SECONDS)


main()
