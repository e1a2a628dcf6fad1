"""What the endpoints share: settings, registry, clients, pages, and who the user is."""

from __future__ import annotations

import hmac
import math
import os
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from werkzeug.wrappers import Request

from . import signing_in
from .addresses import AddressBook, Addresses
from .ancestor import Circumstances, Record, records
from .ancestor_clients import client_records
from .attempts import Attempts
from .backends import open_backend
from .backends.base import Backend
from .backends.moving import MovingBackend
from .branding import brand
from .cases import Policy
from .census import CensusTaker
from .challenges import Challenges
from .client_metadata import read_document
from .clients import CLIENT_ID_PREFIX, Client, Clients, configured_client
from .document_clients import DocumentClients, Fetch
from .event_log import EventLog
from .events import Events, log
from .fetch_quotas import FetchQuotas
from .housekeeping import Housekeeping
from .identity import CLIENT_SUBJECT
from .kinds import describe
from .login import Browser, LoginCookies
from .pages import Pages
from .paths import PUBLIC, Protection
from .proxies import Proxies
from .records import Grant, index_terms
from .registration import Registration, canonical
from .registry import TokenRegistry
from .resources import covers, known_resources
from .scopes import OFFLINE_ACCESS, TOLERATED, implications
from .server_secret import server_secrets
from .settings import Settings
from .statistics import Statistics
from .tokens import Secrets
from .users import UsersFile
from .wording import load as load_wordings

if TYPE_CHECKING:
    from .metrics import Metrics

CLIENT_FAILURES_MAX = 100
SOURCE_FAILURES_MAX = 100
REGISTRATIONS_MAX = 1000
SOURCE_REGISTRATIONS_MAX = 100
"""In a quarter of an hour each. Wide: hosted clients and whole offices share one address."""


def environ_key(header: str) -> str:
    """Where a request header stands in a WSGI environ."""
    return "HTTP_" + header.upper().replace("-", "_")


class User(NamedTuple):
    """Who sits at the browser, and since when they are logged in (None where only the application knows)."""

    subject: str
    authenticated_at: float | None = None


class Server:
    """One authorization server. Built once at start; connects to nothing until the first request."""

    def __init__(
        self,
        settings: Settings,
        *,
        base_dir: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.events = Events(sender=self)
        if settings.event_log is not None:
            self.events.listen(EventLog(settings.event_log, clock))
        self.metrics = _metrics() if settings.metrics else None
        if self.metrics is not None:
            self.events.listen(self.metrics)
        self.backend = self._open(settings.registry, base_dir)
        if settings.registry_fallback is not None:
            self.backend = MovingBackend(
                self.backend, self._open(settings.registry_fallback, base_dir), self.describe, clock=clock
            )
        self.addresses = AddressBook(settings.issuer)
        self.ignored_scopes = TOLERATED - set(settings.known_scopes)
        """Asked for by habit, and no scopes here."""
        self.protection = (
            None
            if callable(settings.protect)
            else Protection(settings.protect, ignore_case=settings.ignore_case)
        )
        self.policy = Policy(
            access_ttl=settings.access_token_ttl,
            refresh_ttl=settings.refresh_token_ttl,
            grace=settings.refresh_grace,
            reuse=settings.reuse_policy,
            catch_up_generations=settings.catch_up_generations,
            catch_up_window=settings.catch_up_window,
            roll_forward=settings.roll_forward,
        )
        self.registry = TokenRegistry(
            self.backend,
            lambda: self.secrets,
            self.policy,
            code_ttl=settings.code_ttl,
            grant_max_age=settings.grant_max_age,
            last_used_interval=settings.last_used_interval,
            subject_check=settings.subject_check,
            implied=implications(settings.scope_implies),
            terms=self._terms if _has_terms(settings) else None,
            events=self.events,
            clock=clock,
        )
        self.documents = DocumentClients(
            self.backend,
            partial(
                read_document,
                known_scopes=settings.open_scopes,
                private_schemes=settings.redirect_schemes,
            ),
            _fetcher(settings),
            FetchQuotas(self.backend, clock),
            loopback=settings.client_id_metadata_loopback,
            events=self.events,
            clock=clock,
        )
        self.client_failures = Attempts(self.backend, clock, limit=CLIENT_FAILURES_MAX)
        self.clients = Clients(
            self.backend,
            {name: configured_client(name, members) for name, members in settings.clients.items()},
            self.client_failures,
            documents=self.documents,
            unused_ttl=settings.unused_client_ttl,
            used_ttl=settings.used_client_ttl,
            idle_ttl=math.inf if settings.idle_client_ttl is None else settings.idle_client_ttl,
            clock=clock,
        )
        self.challenges = Challenges(self.backend, clock)
        self.attempts = Attempts(self.backend, clock)
        self.housekeeping = Housekeeping(self.backend, settings.housekeeping_interval, clock)
        self.source_attempts = Attempts(self.backend, clock, limit=SOURCE_FAILURES_MAX)
        self.registrations = Attempts(self.backend, clock, limit=REGISTRATIONS_MAX)
        self.source_registrations = Attempts(self.backend, clock, limit=SOURCE_REGISTRATIONS_MAX)
        self.statistics = Statistics(self.backend, clock)
        self.census = CensusTaker(self.registry, clock)
        if self.has_dashboard:
            self.events.listen(self.statistics)
        self.pages = Pages(
            settings.service_name,
            settings.template_folder,
            https=(settings.issuer or "").startswith("https:"),
            brand=brand(settings.logo, settings.brand_color),
            wordings=load_wordings(settings.translation_folder, settings.languages),
        )
        self._secrets: Secrets | None = None
        self.proxies = Proxies(settings.trusted_proxies)
        self._identity_keys = tuple(environ_key(header) for header in settings.identity_headers)
        self._cookies: dict[str, LoginCookies] = {}
        reason = signing_in.nobody_can(settings)
        if reason is not None and not _clients_come_alone(settings):
            log.warning("%s %s", reason, signing_in.REMEDY)

    def _open(self, registry: str | Backend, base_dir: str | None) -> Backend:
        backend = open_backend(registry, base_dir=base_dir)
        if hasattr(backend, "import_old"):
            backend.import_old = self.import_old
        return backend

    @cached_property
    def users(self) -> UsersFile | None:
        """Those in the users file. Raises `ConfigurationError`: whoever serves asks before the first request.

        Commands that sign nobody in have no need of them.
        """
        return UsersFile(self.settings.users_file) if self.settings.users_file else None

    @property
    def both_registries(self) -> tuple[Backend, Backend]:
        """The registry that is being left and the one that takes its place. ValueError without a fallback."""
        if not isinstance(self.backend, MovingBackend):
            raise ValueError("OAUTH_REGISTRY_FALLBACK is not set")
        return self.backend.old, self.backend.new

    def describe(self, key: bytes, body: bytes) -> tuple[float | None, tuple[bytes, ...]]:
        """As `kinds.describe`, now."""
        return describe(key, body, self.clock())

    def import_old(self, document: Mapping[str, object]) -> Iterator[Record]:
        """What becomes of a token or client file of the ancestor that the registry's file turns out to be."""
        if "clients" in document:
            return client_records(document, self.clock(), self.settings.private_schemes, log.warning)
        return records(
            document,
            Circumstances(
                now=self.clock(),
                refresh_ttl=self.settings.refresh_token_ttl,
                known_scopes=self.settings.known_scopes,
                draw=os.urandom,
                warn=log.warning,
                index_terms=index_terms,
            ),
        )

    # --- secrets and policies ---------------------------------------------------------------------

    @property
    def secrets(self) -> Secrets:
        """The server secrets. Read or drawn at first use, for that may need the registry."""
        # Not a `cached_property`: that writes through `__dict__`, and from then on Python 3.11 reads every
        # other attribute of this object the slow way.
        if self._secrets is None:
            self._secrets = server_secrets(self.settings.server_secrets, self.backend)
        return self._secrets

    def client_id_for(self, registration: Registration) -> str:
        """The id of a public client that registers with just this: the same for all who do.

        A program that registers each time it connects then stays one client, and the registry small. What
        stands behind one such id is all copies of that program; nothing that only one may know is kept there.
        """
        message = b"oauth_refresh/1 client\0" + canonical(registration)
        digest = hmac.digest(self.secrets.keys[0], message, "sha256")
        return CLIENT_ID_PREFIX + urlsafe_b64encode(digest[:18]).decode()

    def policy_for(self, client: Client | None) -> Policy:
        """The policy with this client's own lifetimes, and whether it gets refresh tokens."""
        if client is None:
            return self.policy
        may_refresh = "refresh_token" in client.grant_types
        if may_refresh and client.access_ttl is None and client.refresh_ttl is None:
            return self.policy
        return self.policy.but(
            access_ttl=client.access_ttl if client.access_ttl is not None else self.policy.access_ttl,
            refresh_ttl=client.refresh_ttl if client.refresh_ttl is not None else self.policy.refresh_ttl,
            issue_refresh=may_refresh,
        )

    def _terms(self, grant: Grant, policy: Policy) -> Policy:
        """The policy with what the operator says of this very grant. Lives only ever get shorter.

        Raises TypeError if the hook answers something that is no pair of seconds.
        """
        if self.settings.refresh_needs_offline_access:
            allowed = policy.issue_refresh and OFFLINE_ACCESS in grant.scopes
            policy = policy.but(issue_refresh=allowed)
        if self.settings.grant_lifetimes is None:
            return policy
        answer = self.settings.grant_lifetimes(grant.subject, grant.client_id, grant.scopes)
        try:
            access, refresh = (None, None) if answer is None else answer
            return policy.but(
                access_ttl=policy.access_ttl if access is None else min(policy.access_ttl, access),
                refresh_ttl=policy.refresh_ttl if refresh is None else min(policy.refresh_ttl, refresh),
            )
        except (TypeError, ValueError):
            kind = type(answer).__name__
            raise TypeError(
                f"OAUTH_GRANT_LIFETIMES: the answer is {kind}, not None or a pair, each seconds or None"
            ) from None

    # --- scopes and resources ---------------------------------------------------------------------

    @property
    def prefixes(self) -> tuple[str, ...]:
        """The protected prefixes; none where a callable decides."""
        return () if self.protection is None else self.protection.prefixes

    def resources(self, addresses: Addresses) -> tuple[str, ...]:
        return known_resources(addresses.base, self.prefixes)

    @property
    def default_scopes(self) -> tuple[str, ...]:
        configured = self.settings.default_scopes
        return tuple(self.settings.scopes) if configured is None else configured

    def scopes_for(self, client: Client) -> tuple[str, ...]:
        """The scopes that this client may ask for, as far as its own registration goes."""
        if not client.configured or not self.settings.reserved_scopes:
            return self.settings.open_scopes
        named = client.scopes or ()
        open_to_all = self.settings.open_scopes
        return tuple(s for s in self.settings.known_scopes if s in open_to_all or s in named)

    def default_scopes_for(self, addresses: Addresses, wanted: tuple[str, ...]) -> tuple[str, ...]:
        """The scopes of a client that names resources and no scopes: those that mean something there.

        A scope that rules ask for, but none at or around these resources, is left out (RFC 8707 section 2.2).
        One that no rule names may be asked for by the application anywhere.
        """
        if addresses.base in wanted or not self.prefixes:
            return self.default_scopes
        mine = [p for p in self.prefixes if any(covers(addresses.resource(p), each) for each in wanted)]
        useful = frozenset().union(*(self.scopes_below(prefix) for prefix in mine))
        elsewhere = self.scopes_below("/") - useful
        return tuple(scope for scope in self.default_scopes if scope not in elsewhere)

    def scopes_below(self, prefix: str) -> frozenset[str]:
        """The scopes that some rule for this prefix, or for a path below it, asks for."""
        rules = {} if callable(self.settings.protect) else self.settings.protect
        needed: set[str] = set()
        for rule, scopes in rules.items():
            path = rule[rule.index("/") :].rstrip("/")
            if scopes != PUBLIC and (path + "/").startswith(prefix.rstrip("/") + "/"):
                needed.update(scopes.split())
        return frozenset(needed)

    # --- the user ---------------------------------------------------------------------------------

    def pages_for(self, request: Request) -> Pages:
        """The pages in the language of this browser, or in the one that the client asks for."""
        return self.pages.spoken_to(request.accept_languages, request.args.get("ui_locales", ""))

    @property
    def has_dashboard(self) -> bool:
        """Whether there are operators who may see how things go."""
        return bool(self.settings.admins) or self.settings.admin_check is not None

    def is_operator(self, environ: Mapping[str, Any], user: User | None) -> bool:
        """Whether the dashboard is for this request. Raises TypeError if the check answers no yes or no."""
        if user is not None and user.subject in self.settings.admins:
            return True
        if self.settings.admin_check is None:
            return False
        answer = self.settings.admin_check(self._vouched(environ))
        if not isinstance(answer, bool):
            raise TypeError(f"OAUTH_ADMIN_CHECK: the answer is {type(answer).__name__}, not True or False")
        return answer

    @property
    def has_login_page(self) -> bool:
        """Whether the built-in login page can check a password."""
        return signing_in.checks_passwords(self.settings)

    def cookies(self, addresses: Addresses) -> LoginCookies:
        """The login cookies of this address. Each issuer has its own: a cookie does not know its port."""
        cookies = self._cookies.get(addresses.issuer)
        if cookies is None:
            cookies = LoginCookies(
                self.secrets.keys, addresses.https, self.backend, self.clock, realm=addresses.issuer
            )
            if len(self._cookies) < 64:
                self._cookies[addresses.issuer] = cookies
        return cookies

    def user(self, environ: Mapping[str, Any], browser: Browser) -> User | None:
        """Who sits at the browser: as the application says, else the server in front, else our own login.

        Raises TypeError if the user loader answers something that is no name.
        """
        user = self._user(environ, browser)
        if user is not None and user.subject.startswith(CLIENT_SUBJECT):
            # Resource servers that ask about a token are told a client by such a name (RFC 9700 4.15).
            log.warning(
                "a user whose name begins with %r is not believed: so begin those of clients", CLIENT_SUBJECT
            )
            return None
        return user

    def _user(self, environ: Mapping[str, Any], browser: Browser) -> User | None:
        if self.settings.user_loader is not None:
            subject = _subject(self.settings.user_loader(self._vouched(environ)), "OAUTH_USER_LOADER")
            if subject is not None:
                return User(subject)
        if self.settings.trust_remote_user:
            subject = self._remote_user(environ)
            if subject is not None:
                return User(subject)
        if self.has_login_page and browser.subject is not None and self._still_there(browser):
            return User(browser.subject, browser.authenticated_at)
        return None

    def _vouched(self, environ: Mapping[str, Any]) -> Mapping[str, Any]:
        """The environ as a hook may see it: without the identity headers that anybody could have sent.

        And without the body. It is a form of ours, and whoever reads a body to its end where that has been
        done before may wait for more of it for ever.
        """
        hidden = {"HTTP_TRANSFER_ENCODING", *(() if self.proxies.sent(environ) else self._identity_keys)}
        seen = {key: value for key, value in environ.items() if key not in hidden}
        return {**seen, "wsgi.input": BytesIO(), "CONTENT_LENGTH": "0"}

    def _remote_user(self, environ: Mapping[str, Any]) -> str | None:
        """`REMOTE_USER` of the server, else the first of the identity headers, if a trusted proxy sent it.

        Not another one of them: a proxy sets the header that it was told to, and lets the others through.
        """
        text = environ.get("REMOTE_USER")
        if not text and self._identity_keys:
            text = environ.get(self._identity_keys[0])
            if text and not self.proxies.sent(environ):
                self._tell_of_stranger(environ.get("REMOTE_ADDR"))
                return None
        if not text:
            return None
        try:
            return str(text).encode("latin-1").decode("utf-8")
        except UnicodeError:
            # Bytes that stand for no letters would make one user of many.
            log.warning("REMOTE_USER is not UTF-8: its user is not believed")
            return None

    def _tell_of_stranger(self, address: object) -> None:
        """Somebody names a user, and is no trusted proxy: an attempt, or a proxy that nobody has named."""
        reason = "OAUTH_TRUSTED_PROXIES does not name this address"
        if not address:
            reason = "a Unix socket has no address: OAUTH_TRUSTED_PROXIES=unix trusts whoever connects by it"
        fields = {"header": self.settings.identity_headers[0], "address": address or None, "reason": reason}
        self.events.emit_sparingly("user_not_believed", fields, "", 60)

    def _still_there(self, browser: Browser) -> bool:
        if self.settings.password_check is not None:
            return True
        return browser.subject is not None and browser.proof == self.proof_of(browser.subject)

    def proof_of(self, subject: str) -> bytes | None:
        """What a login of this user brings along, so that it ends with the password; None for a stranger.

        Empty where the settings' own callable checks passwords: nobody here knows when one is changed.
        """
        if self.settings.password_check is not None:
            return b""
        return None if self.users is None else self.users.proof(subject)

    def check_password(self, username: str, password: str) -> str | None:
        """The subject, or None. The settings' own callable goes before the users file."""
        if self.settings.password_check is not None:
            answer = self.settings.password_check(username, password)
            if isinstance(answer, int) and not isinstance(answer, bool):
                # It may be a row's id, or how many rows there are: then everybody would be user 1.
                raise TypeError("OAUTH_PASSWORD_CHECK: the answer is a number; True, or str(id) is needed")
            return username if answer is True else _subject(answer, "OAUTH_PASSWORD_CHECK")
        return self.users.check(username, password) if self.users is not None else None

    def counted_source(self, environ: Mapping[str, Any]) -> str | None:
        """As `Proxies.counted_source`."""
        return self.proxies.counted_source(environ)


def _metrics() -> Metrics:
    # The library is an extra, and reads its environment when it is imported.
    from .metrics import of_this_process

    return of_this_process()


def _fetcher(settings: Settings) -> Fetch | None:
    """What fetches client metadata documents, imported only where they are read."""
    if not settings.reads_client_documents:
        return None
    from .fetching import Fetcher

    return Fetcher()


def _has_terms(settings: Settings) -> bool:
    return settings.refresh_needs_offline_access or settings.grant_lifetimes is not None


def _clients_come_alone(settings: Settings) -> bool:
    """Whether there are clients that need no user, so that a server without users may be meant."""
    return any(
        configured_client(name, members).may("client_credentials")
        for name, members in settings.clients.items()
    )


def _subject(answer: object, setting: str) -> str | None:
    """The subject that a callable of the application answered, None for nobody. Keys of users are names."""
    if answer is None or answer is False or answer == "":
        return None
    if isinstance(answer, (str, int, UUID)) and answer is not True:
        return str(answer)
    # The text of an object may well be the same for two users.
    raise TypeError(f"{setting}: the answer is {type(answer).__name__}, the subject as text is needed")
