"""Stands in for the Grafana of Deis and Hephy: it answers, and says under /lab/source whether its start would have made a data source that answers.

The start of the real one puts its variables into a text of JSON as they are.
"""

import base64
import json
import os
import urllib.error
import urllib.request

import answer
import psycopg2


def database():
    """A connection to the database of its own, which it keeps, when it is told of one."""
    if os.environ.get("DATABASE_TYPE") != "postgres":
        return None
    host, _, port = os.environ["DATABASE_HOST"].rpartition(":")
    names = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "sslmode": "SSL_MODE"}
    found = psycopg2.connect(host=host, port=port, **{key: os.environ[f"DATABASE_{name}"] for key, name in names.items()})
    found.autocommit = True
    with found.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS migration_log (id serial)")
    return found


def source():
    """200 when the data source is one and takes us, 500 when it is none, 502 when nobody answers there."""
    inside = f"http://{os.environ.get('DEIS_MONITOR_INFLUXAPI_SERVICE_HOST', '')}:{os.environ.get('DEIS_MONITOR_INFLUXAPI_SERVICE_PORT_TRANSPORT', '')}"
    said = [os.environ.get("INFLUXDB_SERVICE_URL") or inside]
    said += [os.environ.get(f"INFLUXDB_{name}") or default for name, default in (("USER", "admin"), ("PASSWORD", "admin"), ("DATABASE", "kubernetes"))]
    try:
        made = json.loads("{" + ", ".join(f'"{name}": "{text}"' for name, text in zip(("url", "user", "password", "database"), said, strict=True)) + "}")
    except ValueError:
        return 500
    request = urllib.request.Request(f"{made['url']}/query?db={made['database']}&q=SHOW%20DATABASES")
    request.add_header("Authorization", "Basic " + base64.b64encode(f"{made['user']}:{made['password']}".encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=5) as given:
            return given.status
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, ValueError):
        return 502


kept = database()
answer.serve({3500: ({"/": 200, "/lab/source": source}, "")})
