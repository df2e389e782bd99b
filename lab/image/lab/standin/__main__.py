"""A stand-in: it answers the registration, health and settings questions of the platforms' own controller and passport, and nothing else.

    python3 /lab/standin controller          the Deis or Hephy controller, port 8000
    python3 /lab/standin drycc-controller    the Drycc controller, port 8000
    python3 /lab/standin drycc-mutate        its admission webhook, port 8443 with TLS, which changes nothing
    python3 /lab/standin passport            Drycc's passport, port 8000
    python3 /lab/standin passport-migrate    lays the tables of passport
    python3 /lab/standin passport-admin      creates the administrator out of ADMIN_USERNAME, ADMIN_PASSWORD, ADMIN_EMAIL; keeps one that is there

It reads the environment that the real code reads, keeps its users in the platform's real PostgreSQL, and ignores what the real code ignores:
Drycc's REGISTRATION_MODE for one. What it answers was measured at the real services; tests/platforms/test_standin.py holds it to that.
"""

from __future__ import annotations

import os
import signal
import ssl
import sys

import accounts
import controller
import passport
import web


def deis_accounts():
    """The users of Deis and Hephy: name and user of the database are the same unless DEIS_DATABASE_NAME says otherwise."""
    env = os.environ
    user = env.get("DEIS_DATABASE_USER", "")
    return accounts.Accounts(
        {
            "dbname": env.get("DEIS_DATABASE_NAME", user or "deis"),
            "user": user,
            "password": env.get("DEIS_DATABASE_PASSWORD", ""),
            "host": env.get("DEIS_DATABASE_SERVICE_HOST", ""),
            "port": env.get("DEIS_DATABASE_SERVICE_PORT", "5432"),
        },
        table="auth_user",
        anonymous=True,
    )


def drycc_accounts():
    """The users of Drycc, by the one URL that its services take."""
    return accounts.Accounts({"dsn": os.environ["DRYCC_DATABASE_URL"].replace("postgres://", "postgresql://", 1)}, table="api_user", anonymous=False)


def serve(role, address):
    """Serves one role for ever, at an address [HOST:]PORT or at the role's own port of every interface."""
    host, _, port = address.rpartition(":")
    port = int(port) if port else None
    if role == "drycc-mutate":
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(os.path.join(certificates(), "tls.crt"), os.path.join(certificates(), "tls.key"))
        web.serve((host, port or 8443), controller.Mutate(drycc_accounts()), tls)
    if role == "controller":
        service = controller.Deis(deis_accounts(), os.environ)
    elif role == "drycc-controller":
        service = controller.Drycc(drycc_accounts())
    else:
        service = passport.Passport(drycc_accounts(), os.environ)
    service.accounts.lay_tables()
    web.serve((host, port or 8000), service)


def certificates():
    """Where the webhook's certificate is mounted: the two Drycc shapes differ."""
    return next(folder for folder in ("/etc/controller/cert", "/etc/controller/mutate/cert") if os.path.isdir(folder))


def main(arguments):
    role, address = arguments[0], arguments[1] if len(arguments) > 1 else ""
    if role == "passport-migrate":
        drycc_accounts().lay_tables()
    elif role == "passport-admin":
        name = os.environ["ADMIN_USERNAME"]
        made = drycc_accounts().create_administrator(name, os.environ["ADMIN_PASSWORD"], os.environ.get("ADMIN_EMAIL", ""))
        print("administrator created" if made else "That username is already created")
    elif role in ("controller", "drycc-controller", "drycc-mutate", "passport"):
        serve(role, address)
    else:
        sys.exit(f"no such role: {role}")


# the first process of a container gets no default for this signal
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
main(sys.argv[1:])
