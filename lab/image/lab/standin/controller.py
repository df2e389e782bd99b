"""What the controllers answer: Deis and Hephy with registration, Drycc without, and Drycc's admission webhook."""

from __future__ import annotations

import json
import re

import web

NO_CREDENTIALS = {"detail": "Authentication credentials were not provided."}
NOT_ALLOWED = {"detail": "You do not have permission to perform this action."}
REQUIRED = "This field is required."
BLANK = "This field may not be blank."


class Service:
    """The health questions that all of them answer; readiness asks the database, health does not."""

    headers = ()

    def __init__(self, users):
        self.accounts = users

    def answer(self, request):
        if request.path in ("/healthz", "/healthz/"):
            return web.Answer(200, "OK")
        if request.path in ("/readiness", "/readiness/"):
            self.accounts.ask()
            return web.Answer(200, "OK")
        return web.page(404, "Not Found")

    def failed(self, path):
        return web.page(500, "Server Error (500)")


class Drycc(Service):
    """Drycc's controller: people register at passport, REGISTRATION_MODE is not read."""

    headers = (("DRYCC_API_VERSION", "2.3"), ("DRYCC_PLATFORM_VERSION", "2.3.0"))

    def answer(self, request):
        if request.path in ("/v2", "/v2/"):
            return web.in_json(401, NO_CREDENTIALS, [("WWW-Authenticate", "Token")])
        return super().answer(request)


class Deis(Service):
    """The controller of Deis and Hephy. REGISTRATION_MODE is read once, at the start, and is "enabled" where it is missing."""

    headers = (("DEIS_API_VERSION", "2.3"), ("DEIS_PLATFORM_VERSION", "2.3.0"))

    def __init__(self, users, environment):
        super().__init__(users)
        self.mode = environment.get("REGISTRATION_MODE", "enabled")

    def answer(self, request):
        path = request.path.rstrip("/")
        if path == "/v2":
            return web.in_json(401, NO_CREDENTIALS, [("WWW-Authenticate", "Token")])
        if path in ("/v2/auth/register", "/v2/auth/login"):
            if request.method != "POST":
                return web.in_json(405, {"detail": f'Method "{request.method}" not allowed.'}, [("Allow", "POST, OPTIONS")])
            return self._register(request) if path.endswith("register") else self._log_in(request)
        return super().answer(request)

    def failed(self, path):
        return web.in_json(500, {"detail": "Server Error"}) if path.startswith("/v2") else super().failed(path)

    def _register(self, request):
        # rights first, fields after: an empty object tells whether the door is open and creates nothing
        refusal = self._refusal(request.headers.get("Authorization", ""))
        if refusal:
            return web.in_json(403, refusal)
        try:
            fields = request.fields()
        except ValueError as error:
            return web.in_json(400, {"detail": f"JSON parse error - {error}"})
        errors = self._errors(fields)
        if errors:
            return web.in_json(400, errors)
        user = self.accounts.create(
            fields["username"],
            fields["password"],
            fields.get("email"),
            fields.get("first_name") or "",
            fields.get("last_name") or "",
            # whoever comes first owns the platform, in every mode that lets anyone in
            superuser=not self.accounts.has_superuser(),
        )
        moments = {name: user[name].strftime("%Y-%m-%dT%H:%M:%SZ") for name in ("last_login", "date_joined")}
        order = (
            "email",
            "username",
            "first_name",
            "last_name",
            "is_superuser",
            "is_staff",
            "groups",
            "user_permissions",
            "last_login",
            "date_joined",
            "is_active",
        )
        shown = {**user, "groups": [], "user_permissions": [], **moments}
        return web.in_json(201, {name: shown[name] for name in order})

    def _refusal(self, authorization):
        """The body of the 403, or None when the caller may register somebody. Raises ValueError for a mode that does not exist."""
        if self.mode == "disabled":
            return {"detail": "Registration is disabled"}
        if self.mode == "enabled":
            return None
        if self.mode != "admin_only":
            raise ValueError(f"{self.mode} is not a valid registration mode")
        if not self.accounts.has_superuser():
            return None
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "token":
            return NO_CREDENTIALS
        owner = self.accounts.owner(token.strip())
        return None if owner and owner["superuser"] else NOT_ALLOWED

    def _errors(self, fields):
        errors = {}
        for name in ("username", "password"):
            if name not in fields:
                errors[name] = [REQUIRED]
            elif not str(fields[name]).strip():
                errors[name] = [BLANK]
        if "username" not in errors:
            if not re.fullmatch(r"[\w.@+-]{1,150}", str(fields["username"])):
                errors["username"] = ["Enter a valid username. This value may contain only letters, numbers, and @/./+/-/_ characters."]
            elif self.accounts.exists(fields["username"]):
                errors["username"] = ["A user with that username already exists."]
        if fields.get("email") and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s.]+", str(fields["email"])):
            errors["email"] = ["Enter a valid email address."]
        return errors

    def _log_in(self, request):
        try:
            fields = request.fields()
        except ValueError as error:
            return web.in_json(400, {"detail": f"JSON parse error - {error}"})
        missing = {name: [REQUIRED] for name in ("username", "password") if name not in fields}
        if missing:
            return web.in_json(400, missing)
        token = self.accounts.log_in(str(fields["username"]), str(fields["password"]))
        if token is None:
            return web.in_json(400, {"non_field_errors": ["Unable to log in with provided credentials."]})
        return web.in_json(200, {"token": token})


class Mutate(Service):
    """Drycc's admission webhook. The API server refuses what it guards while it is away, so it must answer; it changes nothing."""

    headers = Drycc.headers

    def answer(self, request):
        if request.path.rstrip("/") == "/mutate" and request.method == "POST":
            review = json.loads(request.body)
            verdict = {"uid": review["request"]["uid"], "allowed": True}
            return web.in_json(200, {"apiVersion": review["apiVersion"], "kind": review["kind"], "response": verdict})
        return super().answer(request)
