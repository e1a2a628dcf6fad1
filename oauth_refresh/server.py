"""What the endpoints share: settings, registry, clients, pages, and who the user is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cached_property
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

from .addresses import AddressBook, Addresses
from .attempts import Attempts
from .backends import open_backend
from .cases import Policy
from .clients import Client, Clients, configured_client
from .events import Events, log
from .login import Browser, LoginCookies
from .pages import Pages
from .paths import PUBLIC, Protection
from .registry import TokenRegistry
from .resources import known_resources
from .server_secret import server_secrets
from .settings import Settings
from .tokens import Secrets
from .users import UsersFile

CLIENT_FAILURES_MAX = 100
SOURCE_FAILURES_MAX = 100
"""Wide: hosted clients and whole offices share one address."""


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
        self.events = Events()
        self.backend = open_backend(settings.registry, base_dir=base_dir)
        self.addresses = AddressBook(settings.issuer)
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
            events=self.events,
            clock=clock,
        )
        self.clients = Clients(
            self.backend,
            {name: configured_client(name, members) for name, members in settings.clients.items()},
            Attempts(self.backend, clock, limit=CLIENT_FAILURES_MAX),
            clock=clock,
        )
        self.attempts = Attempts(self.backend, clock)
        self.source_attempts = Attempts(self.backend, clock, limit=SOURCE_FAILURES_MAX)
        self.pages = Pages(settings.service_name, https=(settings.issuer or "").startswith("https:"))
        self._users = UsersFile(settings.users_file) if settings.users_file else None
        self._proxies = tuple(ip_network(proxy, strict=False) for proxy in settings.trusted_proxies)
        self._cookies: dict[str, LoginCookies] = {}
        if not self._knows_users and self.protection is not None and self.protection.prefixes:
            log.warning(
                "nobody can sign in yet: set one of OAUTH_USER_LOADER, OAUTH_TRUST_REMOTE_USER, "
                "OAUTH_USERS_FILE and OAUTH_PASSWORD_CHECK"
            )

    # --- secrets and policies ---------------------------------------------------------------------

    @cached_property
    def secrets(self) -> Secrets:
        """The server secrets. Read or drawn at first use, for that may need the registry."""
        return server_secrets(self.settings.server_secrets, self.backend)

    def policy_for(self, client: Client | None) -> Policy:
        """The policy with this client's own lifetimes, and whether it gets refresh tokens."""
        if client is None:
            return self.policy
        return self.policy._replace(
            access_ttl=client.access_ttl if client.access_ttl is not None else self.policy.access_ttl,
            refresh_ttl=client.refresh_ttl if client.refresh_ttl is not None else self.policy.refresh_ttl,
            issue_refresh=client.may("refresh_token"),
        )

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

    def scopes_below(self, prefix: str) -> frozenset[str]:
        """The scopes that some rule for this prefix, or for a path below it, asks for."""
        rules = {} if callable(self.settings.protect) else self.settings.protect
        needed: set[str] = set()
        for rule, scopes in rules.items():
            path = rule.split()[-1].rstrip("/")
            if scopes != PUBLIC and (path + "/").startswith(prefix.rstrip("/") + "/"):
                needed.update(scopes.split())
        return frozenset(needed)

    # --- the user ---------------------------------------------------------------------------------

    @property
    def has_login_page(self) -> bool:
        """Whether the built-in login page can check a password."""
        return self.settings.password_check is not None or self._users is not None

    @property
    def _knows_users(self) -> bool:
        settings = self.settings
        return settings.user_loader is not None or settings.trust_remote_user or self.has_login_page

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
        """Who sits at the browser: as the application says, else the server in front, else our own login."""
        if self.settings.user_loader is not None:
            subject = self.settings.user_loader(environ)
            if subject:
                return User(str(subject))
        if self.settings.trust_remote_user:
            subject = self._remote_user(environ)
            if subject:
                return User(subject)
        if self.has_login_page and browser.subject is not None and self._still_there(browser.subject):
            return User(browser.subject, browser.authenticated_at)
        return None

    def _remote_user(self, environ: Mapping[str, Any]) -> str | None:
        """`REMOTE_USER` of the server, else the first identity header, if a trusted proxy sent it."""
        subject = environ.get("REMOTE_USER")
        if not subject and self._from_proxy(environ):
            for header in self.settings.identity_headers:
                subject = subject or environ.get("HTTP_" + header.upper().replace("-", "_"))
        if not subject:
            return None
        return str(subject).encode("latin-1").decode("utf-8", "replace")

    def _still_there(self, subject: str) -> bool:
        return self.settings.password_check is not None or (
            self._users is not None and self._users.knows(subject)
        )

    def check_password(self, username: str, password: str) -> str | None:
        """The subject, or None. The settings' own callable goes before the users file."""
        if self.settings.password_check is not None:
            subject = self.settings.password_check(username, password)
            if subject is True:
                return username
            return str(subject) if subject else None
        return self._users.check(username, password) if self._users is not None else None

    def source_address(self, environ: Mapping[str, Any]) -> str | None:
        """The address that the request came from, if trusted proxies say so; None where nobody can know."""
        if not self._from_proxy(environ):
            return None
        for hop in reversed(environ.get("HTTP_X_FORWARDED_FOR", "").split(",")):
            if not self._is_proxy(hop.strip()):
                return hop.strip() or None
        return None

    def _from_proxy(self, environ: Mapping[str, Any]) -> bool:
        return self._is_proxy(environ.get("REMOTE_ADDR", ""))

    def _is_proxy(self, text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:
            return False
        return any(address in network for network in self._proxies)
