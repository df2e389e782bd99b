"""The user table in PostgreSQL, with the columns and password hashes of Django."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import secrets
import time

import psycopg2
import psycopg2.errors

ITERATIONS = 30000
KEPT_SECONDS = 600
# one number for all: services that start at the same time must not lay the same table twice
LOCK = 7244113


class Taken(Exception):
    """A user of that name exists."""


def hashed(password, salt=None, iterations=ITERATIONS):
    """The password as Django keeps it: algorithm$iterations$salt$hash."""
    salt = salt or secrets.token_hex(8)
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), iterations)
    return f"pbkdf2_sha256${iterations}${salt}${base64.b64encode(digest).decode()}"


def matches(password, kept):
    """Whether the password is the one that is kept; a name without a usable password matches nothing."""
    try:
        _, iterations, salt, _ = kept.split("$")
    except ValueError:
        return False
    return hmac.compare_digest(hashed(password, salt, int(iterations)), kept)


class Accounts:
    """Users in one table. A connection is kept for ten minutes, as Django keeps it; psycopg2.Error goes through when the database is away."""

    def __init__(self, target, table, anonymous):
        """`target`: keywords for psycopg2.connect; `anonymous`: whether the table holds the row AnonymousUser, as django-guardian makes it."""
        self.target, self.table, self.anonymous = target, table, anonymous
        # connections that nobody uses just now, and until when each may be used; a list's own methods are safe between threads
        self.idle = []

    def _connected(self):
        """A connection that works, and until when it may be used."""
        while self.idle:
            connection, until = self.idle.pop()
            # a server that went away meanwhile is no fault of this question
            with contextlib.suppress(psycopg2.Error):
                if time.monotonic() < until:
                    with connection, connection.cursor() as cursor:
                        cursor.execute("SELECT 1")
                    return connection, until
            connection.close()
        return psycopg2.connect(connect_timeout=5, **self.target), time.monotonic() + KEPT_SECONDS

    def _run(self, statement, values=()):
        connection, until = self._connected()
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(statement, values)
                rows = cursor.fetchall() if cursor.description else []
        except psycopg2.Error:
            connection.close()
            raise
        self.idle.append((connection, until))
        return rows

    def ask(self):
        """The question of the readiness probe."""
        self._run("SELECT 0")

    def lay_tables(self):
        """Creates what is not there yet; waits for the database as long as it takes, since the service is of no use without it."""
        statement = f"""
            SELECT pg_advisory_xact_lock({LOCK});
            CREATE TABLE IF NOT EXISTS {self.table} (
                id bigserial PRIMARY KEY, password varchar(128) NOT NULL, last_login timestamptz, is_superuser boolean NOT NULL,
                username varchar(150) NOT NULL UNIQUE, first_name varchar(150) NOT NULL, last_name varchar(150) NOT NULL,
                email varchar(254) NOT NULL, is_staff boolean NOT NULL, is_active boolean NOT NULL, date_joined timestamptz NOT NULL);
            CREATE TABLE IF NOT EXISTS authtoken_token (
                key varchar(40) PRIMARY KEY, created timestamptz NOT NULL, user_id bigint NOT NULL UNIQUE REFERENCES {self.table} ON DELETE CASCADE);
            """
        if self.anonymous:
            statement += f"""
                INSERT INTO {self.table} (id, password, is_superuser, username, first_name, last_name, email, is_staff, is_active, date_joined)
                VALUES (-1, '', false, 'AnonymousUser', '', '', '', false, true, now()) ON CONFLICT DO NOTHING;"""
        while True:
            try:
                self._run(statement)
                return
            except psycopg2.OperationalError:
                time.sleep(0.3)

    def has_superuser(self):
        """Whether any superuser exists, active or not: the platform's own question."""
        return bool(self._run(f"SELECT 1 FROM {self.table} WHERE is_superuser LIMIT 1"))

    def exists(self, name):
        return bool(self._run(f"SELECT 1 FROM {self.table} WHERE username = %s", (name,)))

    def create(self, name, password, email, first_name="", last_name="", superuser=False, active=True):
        """Adds a user and gives its row. Raises Taken; an email of None breaks the NOT NULL of the column, as it does in the real service."""
        columns = "email, username, first_name, last_name, is_superuser, is_staff, last_login, date_joined, is_active"
        try:
            rows = self._run(
                f"INSERT INTO {self.table} (password, {columns}) VALUES (%s, %s, %s, %s, %s, %s, %s, now(), now(), %s) RETURNING {columns}",
                (hashed(password), email, name, first_name, last_name, superuser, superuser, active),
            )
        except psycopg2.errors.UniqueViolation as error:
            raise Taken(name) from error
        return dict(zip(columns.split(", "), rows[0], strict=True))

    def create_administrator(self, name, password, email):
        """Adds an active superuser; False, and nothing changed, when the name is there already."""
        if self.exists(name):
            return False
        self.create(name, password, email, superuser=True)
        return True

    def log_in(self, name, password):
        """The token of an active user with that password, else None."""
        rows = self._run(f"SELECT id, password FROM {self.table} WHERE username = %s AND is_active", (name,))
        if not rows or not matches(password, rows[0][1]):
            return None
        token = self._run(
            "INSERT INTO authtoken_token VALUES (%s, now(), %s) ON CONFLICT (user_id) DO UPDATE SET user_id = excluded.user_id RETURNING key",
            (secrets.token_hex(20), rows[0][0]),
        )
        self._run(f"UPDATE {self.table} SET last_login = now() WHERE id = %s", (rows[0][0],))
        return token[0][0]

    def owner(self, token):
        """{"superuser": bool} of the active user that the token belongs to, else None."""
        rows = self._run(f"SELECT is_superuser FROM {self.table} u JOIN authtoken_token t ON t.user_id = u.id WHERE t.key = %s AND u.is_active", (token,))
        return {"superuser": rows[0][0]} if rows else None
