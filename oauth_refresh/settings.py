"""Every setting: its meaning, its default and its check. `setting_loading` reads them from all layers."""

# `setting` makes dataclass fields, whose defaults are theirs alone.
# ruff: noqa: RUF009

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache, cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from . import setting_addresses as addresses
from . import setting_protection as protection
from . import setting_values as values
from .redirects import PRIVATE_SCHEMES
from .scopes import OFFLINE_ACCESS
from .setting_clients import CLIENTS, TOKEN_HASHES
from .setting_values import Hook, Kind, T, optional

if TYPE_CHECKING:
    from .backends.base import Backend

ReusePolicy = Literal["revoke", "refuse", "catch-up"]
Registration = Literal["open", "token", "off"]

ClientIdMetadata = Literal["auto", "on", "off"]

_CLIENT_ID_METADATA: Kind[ClientIdMetadata] = values.choice("auto", "on", "off")
_REUSE_POLICY: Kind[ReusePolicy] = values.choice("revoke", "refuse", "catch-up")


_REGISTRATION: Kind[Registration] = values.choice("open", "token", "off")

logger = logging.getLogger(__name__)


class Declaration(NamedTuple):
    """What is known about a setting before anybody gives it a value. `meaning` is a paragraph of Markdown."""

    name: str
    default: object
    kind: Kind[Any]
    meaning: str
    secret: bool

    @property
    def key(self) -> str:
        return f"OAUTH_{self.name.upper()}"


def setting(default: T, kind: Kind[T], meaning: str, *, secret: bool = False) -> T:
    """Declare a field of `Settings`. What is `secret` is in no error line and in no `repr`."""
    paragraph = " ".join(meaning.split())
    about = {"default": default, "kind": kind, "meaning": paragraph, "secret": secret}
    # Not `default=`: a mapping proxy has no hash before Python 3.12, which dataclasses take for mutable.
    return field(default_factory=lambda: default, metadata=about)


@dataclass(frozen=True, kw_only=True, repr=False)
class Settings:
    """Every setting with its value. Made by `load_settings`, which checks; this constructor does not.

    Durations are seconds. `origins` says for each setting which layer gave its value: "default", "program
    default", "file PATH", "environment", "config" or "keyword". `warnings` are those that were logged.
    """

    issuer: str | None = setting(
        None,
        optional(addresses.ISSUER),
        """The public base URL of this server, exactly as clients see it: every document and every token names
        it, byte for byte. The `Host` header of a request is never believed instead. Without an issuer only
        loopback hosts are served (`http://localhost:5000` and `http://127.0.0.1:5000` are then two issuers),
        which is enough to try things out.""",
    )
    prefix: str = setting(
        "/oauth",
        addresses.PREFIX,
        """The path below which the endpoints are found, such as `/oauth/authorize` and `/oauth/token`. The
        well-known documents keep the places that the standards give them.""",
    )
    allow_http: bool = setting(
        False,
        values.BOOLEAN,
        """Accept an issuer with `http://` that is not loopback. Tokens and passwords then cross the network
        readable: for closed test networks only.""",
    )
    root_aliases: bool = setting(
        False,
        values.BOOLEAN,
        """Answer `/authorize`, `/token` and `/register` at the root of the host too, for clients that drop
        the path of the endpoints. Pages of the application at these three places are no longer reached.""",
    )
    service_name: str = setting(
        "",
        values.NAME,
        """What people call the service. It is shown on the login and consent pages and published in the
        protected-resource document.""",
    )
    template_folder: str | None = setting(
        None,
        optional(values.PATH),
        """A folder with Jinja2 templates that replace the shipped pages, one by one and by name, such as
        `login.html` or `style.css`. The shipped ones can be extended as `oauth_refresh/login.html`.""",
    )
    translation_folder: str | None = setting(
        None,
        optional(values.PATH),
        """A folder with translations of the pages, a file such as `fr.toml` for each language. They add
        languages to English and German, and replace single sentences of those.""",
    )
    languages: tuple[str, ...] = setting(
        (),
        values.LANGUAGES,
        """The languages of the pages. The first is for browsers that ask for none of them. If this is not
        set: English, German, and those of `OAUTH_TRANSLATION_FOLDER`.""",
    )
    logo: str | None = setting(
        None,
        optional(addresses.LOGO),
        """The logo on the pages: a file (SVG, PNG, JPEG, GIF or WebP, at most 64 KiB), which becomes part of
        every page, or an `https` URL, which every visitor's browser then loads.""",
    )
    brand_color: str | None = setting(
        None,
        optional(values.COLOR),
        """The colour of buttons and links on the pages. Buttons have it as it is, with black or white on it,
        whichever is easier to read; as a colour of text it is darkened, or lightened on dark pages, as far as
        that needs.""",
    )
    cors_origins: tuple[str, ...] = setting(
        ("*",),
        addresses.ORIGINS,
        """The web pages whose scripts may call the token, registration and revocation endpoints, and read the
        metadata and why a protected path refused them. (That they may call the application is for the
        application to say: preflights are passed on to it.) Every origin is fitting where tokens are sent in
        a header and cookies mean nothing. The login and consent pages are never open to other origins.""",
    )
    trusted_proxies: tuple[str, ...] = setting(
        (),
        addresses.NETWORKS,
        """The proxies in front of this server. Their `X-Forwarded-For` is believed when failed logins are
        counted per address (without any proxy they are counted per account only), and their identity headers
        where `OAUTH_TRUST_REMOTE_USER` is on. `unix` stands for whoever connects by a Unix socket, which has
        no address.""",
    )

    config_file: str | None = setting(
        None,
        optional(values.PATH),
        """A file with settings. Where its name ends in `.ini`, `.cfg` or `.conf`, the section `[oauth]` or
        `[oauth_refresh]` of an INI file; otherwise TOML. It cannot be named in a file.""",
    )
    registry: str | Backend = setting(
        "sqlite:oauth.db",
        values.REGISTRY,
        """Where grants, clients and consents are kept. `sqlite:oauth.db` is a file in Flask's instance
        folder, else in the working directory (three slashes, as in `sqlite:///var/lib/app/oauth.db`, begin an
        absolute path), and serves any number of processes on one host. `memory:` forgets everything at the
        end of the process: for tests. In Python a backend object will do as well.""",
        secret=True,
    )
    registry_fallback: str | Backend | None = setting(
        None,
        optional(values.REGISTRY),
        """The registry that this deployment is moving away from, while it moves: what `OAUTH_REGISTRY` does
        not have is read there, and taken over when it is first written. No session is lost, also while
        workers with the former settings still run. `oauth-refresh migrate --live` takes over the rest; then
        remove this setting. See "Moving to another registry".""",
        secret=True,
    )
    secret_key: str | None = setting(
        None,
        values.SECRET,
        """The server secret. It signs refresh tokens and login cookies, and the next tokens of a grant are
        derived with it, so all hosts need the same. Without it Flask's `SECRET_KEY` serves, and without that
        one a secret is drawn at the first start and kept beside the registry. Draw one with
        `python -c "import secrets; print(secrets.token_urlsafe(32))"`.""",
        secret=True,
    )
    secret_key_fallbacks: tuple[str, ...] = setting(
        (),
        values.SECRETS,
        """Server secrets that are still recognised, or will be the first one soon. To change the secret
        without logging anybody out, add the new one here on all hosts, then exchange the two, and remove the
        old one when the refresh tokens that it signed have expired. Where `OAUTH_SECRET_KEY` is not set,
        Flask's `SECRET_KEY_FALLBACKS` serve with its `SECRET_KEY`. As text they are separated by commas, so a
        secret with a comma in it must be given as a list.""",
        secret=True,
    )

    access_token_ttl: float = setting(
        86400.0,
        values.LIFETIME,
        """How long an access token is good for. The client renews it by itself, with its refresh token; a
        shorter life limits what a stolen access token is worth. A static client may have a life of its
        own.""",
    )
    refresh_token_ttl: float = setting(
        2592000.0,
        values.LIFETIME,
        """How long a refresh token is good for. Each renewal gives the next one this life in full, so only a
        client that stays away for so long has to ask its user again. A static client may have a life of its
        own.""",
    )
    code_ttl: float = setting(
        60.0,
        values.LIFETIME,
        """How long an authorization code can be redeemed: the time from the user's consent to the client's
        first request. RFC 6749 advises ten minutes at most.""",
    )
    grant_max_age: float | None = setting(
        None,
        values.LIFETIME_OR_NEVER,
        """The absolute end of a grant, counted from the user's consent: after it the user is asked again,
        however often tokens were renewed. No token lives past it.""",
    )

    grant_lifetimes: Hook | None = setting(
        None,
        optional(values.ASKED_OF_GRANT),
        """A callable `(subject, client_id, scopes)` that is asked when a code or refresh token is exchanged,
        and may shorten the lives of what is handed out: it answers None, or the seconds of the access token
        and of the refresh token as a pair, None in it for the usual. Less than one second refuses the
        exchange, and changes nothing.""",
    )
    refresh_needs_offline_access: bool = setting(
        False,
        values.BOOLEAN,
        """Issue refresh tokens only where the user has allowed the scope `offline_access`, as OpenID Connect
        has it. Many clients never ask for it, and lose their connection when the access token expires.""",
    )

    refresh_grace: float = setting(
        60.0,
        values.PERIOD,
        """The grace period: how long after a renewal the refresh token that was exchanged is answered with
        the same new tokens again, so that a lost answer or two processes at once log nobody out. (Until the
        new tokens have been used it is answered at any time.) The replaced access token is accepted for half
        as long. It must be longer than a request can wait in front of the application: mind the time-outs of
        proxies. 0 is strict single use, where one lost answer ends the grant.""",
    )
    reuse_policy: ReusePolicy = setting(
        "revoke",
        _REUSE_POLICY,
        """What happens when a refresh token comes back that was exchanged long ago, which may be theft.
        `revoke` ends the grant with all its tokens, as RFC 9700 advises. `refuse` refuses this request only:
        whoever renewed last keeps the grant, be it the thief. `catch-up` answers a token of the last
        generations with the current tokens, for fleets of processes that share one stored credential: theft
        is then not noticed within its window. It needs a grace period above 0.""",
    )
    catch_up_generations: int = setting(
        8,
        values.integer(1, 64),
        """How many generations of refresh tokens the policy `catch-up` looks back.""",
    )
    catch_up_window: float = setting(
        86400.0,
        values.LIFETIME,
        """How long ago a refresh token may have been exchanged for the policy `catch-up` to answer it.""",
    )
    roll_forward: bool = setting(
        True,
        values.BOOLEAN,
        """Accept a refresh token that is newer than the registry's record, and move the record forward to it.
        That happens when the registry went back in time: a failover lost the last writes, or a backup was
        restored. Off, these clients have to ask their users again.""",
    )
    last_used_interval: float = setting(
        300.0,
        values.PERIOD,
        """How often at most the registry is told that a grant is in use. Longer means fewer writes, and a
        less exact time in lists of grants.""",
    )

    housekeeping_interval: float = setting(
        3600.0,
        values.PERIOD,
        """How often records that have expired are removed from the registry: once per interval by one worker
        of all, in a thread beside the requests. 0 leaves it to `oauth-refresh purge`.""",
    )

    protect: Mapping[str, str] | Hook = setting(
        MappingProxyType({}),
        protection.PROTECT,
        """Which paths need a token, and which scopes it must have. A path covers what is below it, by whole
        segments (`/api` is not `/apix`), and the longest one wins. Several scopes are separated by spaces,
        all of them needed; no scopes means that any valid token will do; `public` exempts a path below a
        protected one. A rule with a method in front is for that method (HEAD follows GET); a method without a
        rule of its own needs what the path's rule without a method says or, if there is none, the scopes of
        all rules for that path. A callable `(environ)` answers the same for one request: scopes as text, or
        None for a path that is open.""",
    )
    ignore_case: bool = setting(
        False,
        values.BOOLEAN,
        """Say that the application reads `/API` as `/api`. Protection then does so too.""",
    )
    scopes: Mapping[str, str] = setting(
        MappingProxyType({}),
        protection.SCOPES,
        """The scopes that clients can ask for, and what the consent page says about them. Those that only
        `OAUTH_PROTECT` names are known too, and shown by their names. `public` is no scope: it marks public
        paths.""",
    )
    default_scopes: tuple[str, ...] | None = setting(
        None,
        protection.DEFAULT_SCOPES,
        """The scopes of a client that asks for none. If this is not set, every scope in `OAUTH_SCOPES`. In
        text `none` means no scope.""",
    )
    scope_implies: Mapping[str, str] = setting(
        MappingProxyType({}),
        protection.SCOPE_IMPLIES,
        """Scopes that contain others: a token with the one passes wherever one of the others is asked for,
        and those implied may imply more. A user who allows the broad one is shown that one.""",
    )
    reserved_scopes: tuple[str, ...] = setting(
        (),
        protection.RESERVED_SCOPES,
        """Scopes that are not for everybody: only clients in `OAUTH_CLIENTS` whose `scope` names them can ask
        for them. For clients that register themselves they do not exist.""",
    )
    ask_for_held_scopes: bool = setting(
        True,
        values.BOOLEAN,
        """Whether the 403 of a token with too few scopes lists, beside those that are needed, those that the
        token has: clients from before 2026 ask for what is listed and nothing else, and would lose the
        rest. Without it the list is what this operation needs (MCP 2026-07-28).""",
    )
    set_remote_user: bool = setting(
        True,
        values.BOOLEAN,
        """Put the user of a valid token into `REMOTE_USER` (with `AUTH_TYPE` `Bearer`), where applications
        look for a user that the server has authenticated.""",
    )
    identity_headers: tuple[str, ...] = setting(
        ("X-Remote-User", "Remote-User"),
        addresses.HEADERS,
        """Request headers that the application might take for a proof of identity. They are removed from
        every request that reaches it, also in the spelling with underscores.""",
    )

    login_url: str | None = setting(
        None,
        optional(addresses.LOGIN_URL),
        """The application's own login page. A browser without a known user is sent there with a return
        address, and back from it after login.""",
    )
    user_loader: Hook | None = setting(
        None,
        optional(values.ASKED_OF_ENVIRON),
        """A callable `(environ)` that says who is logged in to the application: the subject as text, or
        None.""",
    )
    users_file: str | None = setting(
        None,
        optional(values.PATH),
        """A file with the users of the built-in login page, one `name:hash` on each line, the hash made by
        `werkzeug.security`.""",
    )
    password_check: Hook | None = setting(
        None,
        optional(values.PASSWORD_CHECK),
        """A callable `(user name, password)` for the built-in login page. If the password is right it answers
        the subject as text, or True for the user name itself; else None or False. It goes before
        `OAUTH_USERS_FILE`.""",
    )
    trust_remote_user: bool = setting(
        False,
        values.BOOLEAN,
        """Take `REMOTE_USER`, as the server or the proxy in front sets it, as the user who is logged in;
        where a trusted proxy sends the request, also the first of the identity headers. Only where nothing
        from outside can set them.""",
    )
    remember_consent: float | None = setting(
        None,
        values.LIFETIME_OR_NEVER,
        """For how long after a user has let a client in it is let in again without a question: to the same
        redirect URI, for no other resources and no more scopes, and as long as that grant is neither revoked
        nor expired. Only for clients that prove who they are, by a secret or by an `https` redirect URI;
        whoever asks from a loopback address may be any program. Never means that the consent page is shown
        each time.""",
    )
    unique_challenges: bool = setting(
        False,
        values.BOOLEAN,
        """Refuse a PKCE challenge that the same client has used for another authorization within the last
        day (RFC 9700 section 2.1.1). It finds clients whose challenge is constant, and costs a record per
        authorization; a user who goes back in the browser and allows once more is refused too.""",
    )
    subject_check: Hook | None = setting(
        None,
        optional(values.ASKED_OF_GRANT),
        """A callable `(subject, client_id, scopes)` that is asked before every renewal: None refuses it and
        changes nothing (a user who is disabled, a password that was changed), fewer scopes narrow the
        tokens.""",
    )

    admins: tuple[str, ...] = setting(
        (),
        values.SUBJECTS,
        """The users who see the operator's dashboard at `/oauth/admin`, by their subjects. They sign in as
        all users do. Without these and without `OAUTH_ADMIN_CHECK` there is no such page.""",
    )
    admin_check: Hook | None = setting(
        None,
        optional(values.ASKED_OF_ENVIRON),
        """A callable `(environ)` that says whether this request may see the dashboard: True or False. For
        deployments where the application or the server in front knows its operators.""",
    )

    registration: Registration = setting(
        "open",
        _REGISTRATION,
        """Whether clients may register themselves (RFC 7591), as MCP clients do: `open` to all, only to those
        with a `token` of the operator's (an initial access token), or `off`.""",
    )
    registration_tokens: tuple[str, ...] = setting(
        (),
        TOKEN_HASHES,
        """The initial access tokens that open the registration if it is for those with a token: of each its
        SHA-256 in hex. A client sends the token itself as `Authorization: Bearer`, as often as it likes; to
        take it back, take its hash out. Draw one with `python -c "import secrets, hashlib; t =
        secrets.token_urlsafe(32); print(t, hashlib.sha256(t.encode()).hexdigest())"`.""",
        secret=True,
    )
    unused_client_ttl: float = setting(
        86400.0,
        values.LIFETIME,
        """How long a registration is kept that no user has completed an authorization with. To register with
        the same members again renews it, and gives a public client the same client id.""",
    )
    idle_client_ttl: float | None = setting(
        7776000.0,
        values.LIFETIME_OR_NEVER,
        """How long a registered client is kept after its last grant may have ended. Each renewal of a token
        puts that off. A client that the operator made is never forgotten.""",
    )
    clients: Mapping[str, Mapping[str, object]] = setting(
        MappingProxyType({}),
        CLIENTS,
        """Clients that you know, by client id. In a file each is a table `[clients.NAME]`. A secret is given
        as `client_secret`, or its SHA-256 in hex as `client_secret_hash` (for a random secret only), or as a
        list of several that are valid side by side while one replaces the other; without
        one the client is public. `grant_types` are `authorization_code` and `refresh_token` if not given;
        `client_credentials` gives a client with a secret access tokens of its own, with the scopes of its
        `scope`, else the default scopes, and without a user.
        A client that is `trusted` skips the consent page, if it has a secret or an `https` redirect URI: any
        program can claim to be another one. A client with a secret can ask about its own access tokens at the
        introspection endpoint; `introspect` lets a resource server ask about those for some protected paths
        (`["/api"]`), or about everybody's (`true`). `dead_refresh_token_status` 401 is for a client that
        tries again for ever on the standard's 400.""",
        secret=True,
    )
    client_id_metadata: ClientIdMetadata = setting(
        "auto",
        _CLIENT_ID_METADATA,
        """Whether a client id may be the `https` URL of a client metadata document, which this server then
        fetches instead of keeping a registration: `on`, `off`, or `auto` for on where the extra `cimd` is
        installed (`pip install 'oauth-refresh[cimd]'`), or its one package, `urllib3`, for another reason:
        `requests` brings it along. Clients that were connected stay so when it is turned off.""",
    )
    client_id_metadata_loopback: bool = setting(
        False,
        values.BOOLEAN,
        """Fetch client metadata documents from `localhost`, `127.0.0.1` and `[::1]` too, with `http` as well:
        to try out a client under development. Only where this server is loopback itself.""",
    )
    revoke_silently: bool = setting(
        False,
        values.BOOLEAN,
        """What a client hears that asks to revoke the token of another client: 200, as for a token that is
        unknown, or (the default) `invalid_grant`. The token lives on either way.""",
    )
    private_schemes: tuple[str, ...] = setting(
        PRIVATE_SCHEMES,
        addresses.PRIVATE_SCHEMES,
        """Schemes without a dot that may stand in redirect URIs of programs on a user's machine. Those with a
        dot (`com.example.app:/callback`) are accepted anyway.""",
    )

    allow_private_schemes: bool = setting(
        True,
        values.BOOLEAN,
        """Whether redirect URIs with a private scheme can be registered at all. RFC 8252 allows them to
        native programs; MCP knows only `https` and loopback. Registrations made before keep theirs.""",
    )

    event_log: str | None = setting(
        None,
        optional(values.PATH),
        """A file to which every event is appended as one line of JSON, by all workers of a host. It is made
        with mode 0600 and may be renamed at any time: the next event makes a new one. `/dev/stdout` is a
        file, too. `oauth-refresh explain` reads it.""",
    )

    metrics: bool = setting(
        False,
        values.BOOLEAN,
        """Serve numbers for Prometheus at `/oauth/metrics` (`pip install 'oauth-refresh[metrics]'`). With
        several worker processes set `PROMETHEUS_MULTIPROC_DIR` too, so that they are added up.""",
    )
    metrics_token: str | None = setting(
        None,
        values.SECRET,
        """The bearer token that reads the metrics. It is needed unless the issuer is loopback; then requests
        from this machine may read them without one.""",
        secret=True,
    )

    refresh_app: str | None = setting(
        None,
        optional(values.APPLICATION),
        """The WSGI application to wrap, for deployments that do so without a line of code.""",
    )

    origins: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), compare=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)

    @cached_property
    def is_loopback(self) -> bool:
        """Whether only this machine is served: there is no issuer, or its host is loopback."""
        return self.issuer is None or addresses.is_loopback_host(urlsplit(self.issuer).hostname or "")

    @cached_property
    def used_client_ttl(self) -> float | None:
        """Seconds that a client is kept after it was used: no grant of its may outlive it."""
        if self.idle_client_ttl is None:
            return None
        return max(self.access_token_ttl, self.refresh_token_ttl) + self.idle_client_ttl

    @cached_property
    def reads_client_documents(self) -> bool:
        """Whether client metadata documents are fetched: if it is wanted, and what fetches is installed."""
        from importlib.util import find_spec

        return self.client_id_metadata != "off" and find_spec("urllib3") is not None

    @cached_property
    def redirect_schemes(self) -> tuple[str, ...] | None:
        """The schemes without a dot that clients may register; None where no private scheme is allowed."""
        return self.private_schemes if self.allow_private_schemes else None

    @cached_property
    def known_scopes(self) -> tuple[str, ...]:
        """Every scope in `scopes`, then those that only `protect` names, in the order of declaration; at
        last `offline_access`, where it is not merely tolerated."""
        named = () if callable(self.protect) else protection.named_scopes(self.protect)
        offline = (OFFLINE_ACCESS,) if self.refresh_needs_offline_access else ()
        return tuple(dict.fromkeys((*self.scopes, *named, *offline)))

    @cached_property
    def open_scopes(self) -> tuple[str, ...]:
        """The known scopes that every client may ask for."""
        return tuple(scope for scope in self.known_scopes if scope not in self.reserved_scopes)

    @cached_property
    def server_secrets(self) -> tuple[bytes, ...]:
        """The bytes of `secret_key`, which signs, and of the fallbacks; nothing if one is to be drawn."""
        if self.secret_key is None:
            return ()
        return tuple(values.encode_secret(text) for text in (self.secret_key, *self.secret_key_fallbacks))

    def __repr__(self) -> str:
        shown_values = (
            f"{about.name}={'***' if about.secret else repr(getattr(self, about.name))}"
            for about in declarations()
            if getattr(self, about.name) != about.default
        )
        return f"Settings({', '.join(shown_values)})"


@cache
def declarations() -> tuple[Declaration, ...]:
    """Every setting, in the order in which the reference explains them."""
    declared = (item for item in fields(Settings) if "kind" in item.metadata)
    return tuple(Declaration(name=item.name, **item.metadata) for item in declared)
