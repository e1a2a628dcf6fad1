"""What does the user see? The login, consent, error and message pages, and the headers that guard them.

Every page is one HTML document without scripts and without anything from elsewhere, but for a logo where the
operator says so. An own folder may replace any template, one by one; it reaches the shipped one of the same
name as `oauth_refresh/NAME`. Templates put their sentences into words with `_` (see `wording.py`).
"""

from __future__ import annotations

import copy
import os
import re
import secrets
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PackageLoader,
    PrefixLoader,
    StrictUndefined,
    TemplateError,
    nodes,
)
from werkzeug.datastructures import LanguageAccept
from werkzeug.wrappers import Response

from .branding import Brand
from .dashboard import Dashboard
from .errors import ConfigurationError
from .moments import ago, exactly
from .wording import Wording, Words, choose, load, say

TEMPLATES = (
    "account.html",
    "consent.html",
    "dashboard.html",
    "error.html",
    "grants.html",
    "layout.html",
    "login.html",
    "message.html",
    "parts.html",
    "return.html",
    "style.css",
)

_HEADERS = (
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
)
_TARGET = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?://([^/?#]*))?")
_HOST_SOURCE = re.compile(r"[A-Za-z0-9._-]+(:[0-9]+)?")
_SCRIPT_SCHEMES = frozenset({"javascript", "data", "vbscript"})

# Letters and marks that show as nothing, beside the control and format characters.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {
    chr(point) for span in (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0)) for point in span
}


_NO_BRAND = Brand()


@dataclass(frozen=True)
class ConsentView:
    """What the user must see before allowing a client in.

    `client_name` is what the client calls itself; it is shown as unproven unless `verified`. `client_host` is
    the host of a client id that is a URL. `redirect_display` says where the browser goes with the answer: a
    host with its port (in ASCII, so that no letter passes for another), or a private scheme such as
    "cursor:"; `redirect_kind` is what that proves. `scopes` are pairs of name and description.
    """

    client_name: str
    account: str
    redirect_display: str
    redirect_kind: Literal["web", "loopback", "private"] = "web"
    client_host: str = ""
    verified: bool = False
    scopes: Sequence[tuple[str, str]] = ()
    resources: Sequence[str] = ()
    service_name: str = ""
    """Overrides the name that `Pages` was given, if not empty."""


@dataclass(frozen=True)
class Connection:
    """One application, or one of several grants of it, on the page of connected applications.

    `button` and `value` are the form field that ends it. Times are seconds since 1970; `last_used` is None
    for never. `count` is how many grants there are, and `parts` are the newest of them if there are several.
    """

    button: Literal["client", "grant"]
    value: str
    name: str
    since: float
    last_used: float | None
    scopes: Sequence[tuple[str, str]]
    verified: bool = False
    count: int = 1
    parts: Sequence[Connection] = ()


@dataclass(frozen=True)
class GrantsView:
    """One page of the applications that are connected to the user's account. `done` says what has just
    been done; `are_all` is False if there are more grants than were looked at."""

    account: str
    action: str
    hidden: Mapping[str, str]
    connections: Sequence[Connection]
    now: float
    page: int = 1
    pages: int = 1
    are_all: bool = True
    done: Words = ""
    sign_out_action: str | None = None
    sign_out_hidden: Mapping[str, str] = field(default_factory=dict)


class Pages:
    """Renders the pages. Templates are read and checked once, here: `ConfigurationError` if one is broken.

    Every method returns a response with its security headers; `https` adds Strict-Transport-Security.
    `action` is the URL a form is posted to, on this server; `hidden` are its hidden fields. `form_target` is
    where the answer to the form may redirect to, beside this server: an origin ("http://127.0.0.1:4000"), a
    scheme ("cursor:"), or a URI that begins with one. Browsers follow it nowhere else, but from the consent
    form, where the client may send them on to any https page. ValueError if there is no scheme in it.
    What is of type `Words` is put into the language of the page.
    """

    def __init__(
        self,
        service_name: str = "",
        template_folder: str | None = None,
        *,
        https: bool = False,
        brand: Brand = _NO_BRAND,
        wordings: Mapping[str, Wording] | None = None,
    ) -> None:
        self._service_name = service_name
        self._https = https
        self._brand = brand
        self._wordings = load() if wordings is None else wordings
        self._environment = _environment(template_folder)
        self._say = next(iter(self._wordings.values()))

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that the pages speak, the first of them where nobody asks for another."""
        return tuple(self._wordings)

    def spoken_to(self, accepted: LanguageAccept, asked: str = "") -> Pages:
        """These pages in the language of a browser, or of a client that asks for one (`ui_locales`)."""
        pages = copy.copy(self)
        pages._say = self._wordings[choose(self.languages, accepted, asked)]
        return pages

    def login(
        self,
        action: str,
        hidden: Mapping[str, str],
        *,
        error: Words = "",
        username: str = "",
        client_name: str = "",
        form_target: str | None = None,
        status: int = 200,
    ) -> Response:
        """The login form, with the fields `username` and `password`. `client_name` is who asks, if anyone.

        `error` must be the same for an unknown account and a wrong password.
        """
        return self._page(
            "login.html",
            status,
            _sources(form_target),
            action=action,
            hidden=hidden,
            error=self._say(error),
            username=username,
            client_name=client_name,
        )

    def consent(
        self,
        view: ConsentView,
        action: str,
        hidden: Mapping[str, str],
        *,
        switch_action: str | None = None,
        switch_hidden: Mapping[str, str] | None = None,
        form_target: str | None = None,
        status: int = 200,
    ) -> Response:
        """The consent form, with the field `decision` ("allow" or "deny").

        `switch_action` is where "use another account" is posted to; without it there is no such button.
        """
        return self._page(
            "consent.html",
            status,
            _sources(form_target, with_what_follows=True),
            view=view,
            action=action,
            hidden=hidden,
            switch_action=switch_action,
            switch_hidden=switch_hidden or {},
            service_name=view.service_name or self._service_name,
        )

    def error(
        self,
        title: Words,
        message: Words,
        *,
        advice: Words = "",
        link: tuple[str, Words] | None = None,
        detail: str = "",
        status: int = 400,
        correlation_id: str = "",
    ) -> Response:
        """Something went wrong and the browser stays here. `advice` is what the user can do about it,
        `link` an address of this server's own, and the words on it, that help with that; `detail` is what
        the client's developer would want to know, in English; `correlation_id` finds the reason in the
        operator's log."""
        return self._page(
            "error.html",
            status,
            title=self._say(title),
            message=self._say(message),
            advice=self._say(advice),
            link=None if link is None else (link[0], self._say(link[1])),
            detail=detail,
            correlation_id=correlation_id,
        )

    def return_to_client(
        self,
        url: str,
        destination: str,
        *,
        title: Words,
        message: Words,
        client_name: str = "",
        status: int = 400,
        correlation_id: str = "",
    ) -> Response:
        """Something went wrong, and the user may go back to the client by a link, instead of being sent.

        `url` is the client's verified redirect URI with the answer in it, `destination` its host as in
        `ConsentView.redirect_display`. ValueError for a `url` that a browser would run as a script.
        """
        # Browsers skip spaces and control characters before and within a scheme.
        if re.sub(r"[\x00-\x20]", "", url).partition(":")[0].lower() in _SCRIPT_SCHEMES:
            raise ValueError("a link may not run a script")
        return self._page(
            "return.html",
            status,
            url=url,
            destination=destination,
            title=self._say(title),
            message=self._say(message),
            client_name=client_name,
            correlation_id=correlation_id,
        )

    def message(self, title: Words, message: Words, *, status: int = 200) -> Response:
        """Something went well, and there is nothing more to do here."""
        return self._page("message.html", status, title=self._say(title), message=self._say(message))

    def signed_out(self) -> Response:
        """The user has signed out."""
        return self.message(say("You are signed out"), say("You can close this window."))

    def account(
        self, subject: str, action: str, hidden: Mapping[str, str], *, grants_url: str = ""
    ) -> Response:
        """Who is signed in, with a button that signs out by a POST to `action`."""
        return self._page(
            "account.html", subject=subject, action=action, hidden=hidden, grants_url=grants_url
        )

    def grants(self, view: GrantsView) -> Response:
        """What has access to the user's account, with a button at each that ends it."""
        return self._page("grants.html", view=view)

    def dashboard(self, view: Dashboard) -> Response:
        """How things go, for the operator."""
        return self._page("dashboard.html", view=view)

    def _page(
        self, template: str, status: int = 200, form_sources: str = "'self'", **values: Any
    ) -> Response:
        nonce = secrets.token_urlsafe(16)
        values = {
            "service_name": self._service_name,
            "nonce": nonce,
            "brand": self._brand,
            "_": self._say,
            **values,
        }
        html = self._environment.get_template(template).render(values)
        response = Response(html, status, mimetype="text/html")
        response.headers.extend(_HEADERS)
        response.headers["Content-Security-Policy"] = _policy(nonce, form_sources, self._brand.image_source)
        if self._https:
            response.headers["Strict-Transport-Security"] = "max-age=31536000"
        return response


def wait_text(seconds: int) -> Words:
    """What the login page says after too many attempts."""
    span = say("{n} s", n=seconds) if seconds < 60 else say("{n} min", n=-(-seconds // 60))
    return say("There were too many attempts to sign in. Try again in {span}.", span=span)


def display(text: str, limit: int = 80) -> str:
    """`text` of unknown origin, fit to be shown: one line, nothing invisible, no change of writing direction.

    At most `limit` characters, the last of them an ellipsis if some were left out.
    """
    shown = _visible(text)
    return shown if len(shown) <= limit else shown[: limit - 1].rstrip() + "…"


def display_host(text: str, limit: int = 300) -> str:
    """As `display`, but what is left out is the beginning: the end of a host says whose it is."""
    shown = _visible(text)
    return shown if len(shown) <= limit else "…" + shown[1 - limit :]


def _visible(text: str) -> str:
    kept = (
        " " if character.isspace() else character
        for character in unicodedata.normalize("NFC", text)
        if character.isspace() or not (unicodedata.category(character)[0] == "C" or character in _INVISIBLE)
    )
    return " ".join("".join(kept).split())


def _policy(nonce: str, form_sources: str, image_source: str) -> str:
    images = f"img-src {image_source}; " if image_source else ""
    return (
        f"default-src 'none'; {images}style-src 'nonce-{nonce}'; base-uri 'none'; "
        f"form-action {form_sources}; frame-ancestors 'none'"
    )


def _sources(form_target: str | None, *, with_what_follows: bool = False) -> str:
    """Where forms may lead. Chromium and Safari hold every redirect that follows the POST against this."""
    if form_target is None:
        return "'self'"
    match = _TARGET.match(form_target)
    if match is None:
        raise ValueError("form_target begins with a scheme and a colon")
    scheme, host = match[1].lower(), match[2] or ""
    if scheme not in ("http", "https"):
        return f"'self' {scheme}:"
    # A host that the policy's grammar does not have, such as an IPv6 address, would be ignored by browsers.
    target = f"{scheme}://{host}" if _HOST_SOURCE.fullmatch(host) else f"{scheme}:"
    # Many clients send the browser on from their callback, to another host of theirs or a page that says
    # "you can close this window". The consent form holds no password that a wider policy could let out.
    return f"'self' {target} https:" if with_what_follows else f"'self' {target}"


def _environment(template_folder: str | None) -> Environment:
    shipped = PackageLoader("oauth_refresh")
    loaders: list[BaseLoader] = [shipped, PrefixLoader({"oauth_refresh": shipped})]
    if template_folder is not None:
        if not os.path.isdir(template_folder):
            raise ConfigurationError(f"OAUTH_TEMPLATE_FOLDER = {template_folder!r}: there is no such folder")
        loaders.insert(0, FileSystemLoader(template_folder))
    environment = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(display=display, display_host=display_host, ago=ago, exactly=exactly)
    problems = [problem for name in TEMPLATES if (problem := _problem_of(environment, name))]
    if template_folder is not None and not problems:
        problems = list(_problems_of_references(environment))
    if problems:
        raise ConfigurationError(problems)
    return environment


def _problems_of_references(environment: Environment) -> Iterator[str]:
    """What is wrong with templates that others extend, include or import: Jinja tells at the first page."""
    loader, found = environment.loader or BaseLoader(), list(TEMPLATES)
    for name in found:
        tree = environment.parse(loader.get_source(environment, name)[0])
        for node in _naming_others(tree):
            named = getattr(node, "template", None)
            if not isinstance(named, nodes.Const) or getattr(node, "ignore_missing", False):
                continue
            problem = None if named.value in found else _problem_of(environment, named.value)
            if problem is not None:
                yield f"{problem} (template {name} names it)"
            elif named.value not in found:
                found.append(named.value)


def _naming_others(tree: nodes.Template) -> Iterator[nodes.Node]:
    yield from tree.find_all((nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport))


def _problem_of(environment: Environment, name: str) -> str | None:
    try:
        environment.get_template(name)
    except TemplateError as error:
        return f"template {name}: {error}"
    return None
