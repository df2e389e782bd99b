"""What Drycc's passport answers: settings, the registration page, and health."""

from __future__ import annotations

import html
import re
import secrets

import accounts
import web
from controller import Service

FIELDS = (("username", "text"), ("email", "email"), ("password1", "password"), ("password2", "password"))
YEAR = 31449600


class Passport(Service):
    """Reads its environment at the start: REGISTRATION_ENABLED is on for the word true in any case, LDAP_ENDPOINT closes the page whatever the flag says."""

    headers = (("DRYCC_API_VERSION", "1.1"), ("DRYCC_PLATFORM_VERSION", "1.1.0"))

    def __init__(self, users, environment):
        super().__init__(users)
        self.flag = environment.get("REGISTRATION_ENABLED", "false").lower() == "true"
        self.legal = environment.get("LEGAL_ENABLED", "false").lower() == "true"
        self.secure = environment.get("CSRF_COOKIE_SECURE", "false").lower() == "true"
        self.open = self.flag and not environment.get("LDAP_ENDPOINT")
        self.support = environment.get("CONTACT_SUPPORT_URL", "")

    def answer(self, request):
        path = request.path.rstrip("/")
        if path == "/settings":
            # a mirror of the environment: it says true under LDAP although the page is closed
            return web.in_json(200, {"legal": self.legal, "dashboard_url": "/", "contact_support_url": self.support, "registration_enabled": self.flag})
        if path == "/user/registration":
            return self._submitted(request) if request.method == "POST" else self._page(request)
        if path == "/user/registration/done":
            return web.page(200, "Registration done")
        return super().answer(request)

    def _page(self, request, errors=None):
        if not self.open:
            return web.page(200, "Drycc | Message")
        token = request.cookies.get("csrftoken") or secrets.token_hex(16)
        rows = "".join(
            f'    <input id="{name}" name="{name}" type="{kind}" required><div class="error">{html.escape((errors or {}).get(name, ""))}</div>\n'
            for name, kind in FIELDS
        )
        text = (
            '<!doctype html>\n<html lang="en">\n<head>\n  <title>Registration</title>\n</head>\n<body>\n  <form method="post">\n'
            f'    <input type="hidden" name="csrfmiddlewaretoken" value="{html.escape(token, quote=True)}">\n{rows}'
            '    <button type="submit">Submit</button>\n  </form>\n</body>\n</html>\n'
        )
        cookie = f"csrftoken={token}; Max-Age={YEAR}; Path=/" + ("; Secure" if self.secure else "")
        return web.Answer(200, text, headers=[("Set-Cookie", cookie), ("Vary", "Cookie")])

    def _submitted(self, request):
        try:
            fields = request.fields()
        except ValueError:
            fields = {}
        # the token comes before the question whether the page is open: a 403 proves nothing
        cookie = request.cookies.get("csrftoken", "")
        sent = str(fields.get("csrfmiddlewaretoken") or request.headers.get("X-CSRFToken", ""))
        if len(cookie) not in (32, 64) or not secrets.compare_digest(cookie, sent):
            return web.page(403, "403 Forbidden")
        if not self.open:
            return self._page(request)
        errors = self._errors(fields)
        if not errors:
            try:
                # inactive until the mail is answered, as in the real service
                self.accounts.create(fields["username"], fields["password1"], fields["email"], active=False)
            except accounts.Taken:
                errors = {"username": "A user with that username already exists."}
        if errors:
            return self._page(request, errors)
        return web.Answer(302, "", headers=[("Location", "/user/registration/done")])

    @staticmethod
    def _errors(fields):
        errors = {name: "This field is required." for name, _ in FIELDS if not fields.get(name)}
        if errors:
            return errors
        if not re.fullmatch(r"[\w.@+-]{1,150}", fields["username"]):
            errors["username"] = "Enter a valid username."
        if fields["password1"] != fields["password2"]:
            errors["password2"] = "The two password fields didn’t match."
        return errors
