"""Do the settings agree with each other? Here is what no setting can say about itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

from .errors import ConfigurationError
from .paths import Protection
from .setting_protection import named_scopes, rule_problems
from .setting_values import encode_secret, shown

if TYPE_CHECKING:
    from .settings import Settings

SECRET_BYTES_MIN = 16
_OF_THE_MANUAL = b"draw one with secrets.token_urlsafe"
_ANOTHER_SCOPE = re.compile(r"(?<=,) *([\w:./-]+)=")

Disagreement = tuple[str, str]


def disagreements(settings: Settings, unread: frozenset[str] = frozenset()) -> Iterator[Disagreement]:
    """Pairs of a setting that has to change and the reason. What depends on `unread` ones is not judged."""
    for needed, check in _CHECKS:
        if not unread.intersection(needed):
            yield from check(settings)


def _issuer_is_encrypted(settings: Settings) -> Iterator[Disagreement]:
    """Tokens and passwords cross the network in clear otherwise (RFC 8414 section 2)."""
    issuer = settings.issuer
    if issuer is None or issuer.startswith("https://") or settings.is_loopback:
        return
    if not settings.allow_http:
        yield "issuer", "is http outside loopback (OAUTH_ALLOW_HTTP permits that for closed test networks)"


def _secrets_are_long(settings: Settings) -> Iterator[Disagreement]:
    if settings.is_loopback:
        return
    if settings.secret_key is not None and len(encode_secret(settings.secret_key)) < SECRET_BYTES_MIN:
        yield "secret_key", f"has less than {SECRET_BYTES_MIN} bytes, and the issuer is not loopback"
    if any(len(encode_secret(text)) < SECRET_BYTES_MIN for text in settings.secret_key_fallbacks):
        yield (
            "secret_key_fallbacks",
            f"one has less than {SECRET_BYTES_MIN} bytes, and the issuer is not loopback",
        )


def _fallbacks_have_a_first(settings: Settings) -> Iterator[Disagreement]:
    if settings.secret_key_fallbacks and settings.secret_key is None:
        yield "secret_key_fallbacks", "there is no OAUTH_SECRET_KEY to fall back from"


def _catch_up_has_grace(settings: Settings) -> Iterator[Disagreement]:
    """Strict single use and an answer to older tokens contradict each other."""
    if settings.reuse_policy == "catch-up" and settings.refresh_grace == 0:
        yield "refresh_grace", 'is 0, which the reuse policy "catch-up" cannot work with'


def _default_scopes_are_known(settings: Settings) -> Iterator[Disagreement]:
    for scope in settings.default_scopes or ():
        if scope not in settings.known_scopes:
            yield "default_scopes", f"{shown(scope)} is neither in OAUTH_SCOPES nor in OAUTH_PROTECT"


def _named_scopes_are_known(settings: Settings) -> Iterator[Disagreement]:
    """A misspelt name would reserve nothing, or imply nothing."""
    implied = {name for names in settings.scope_implies.values() for name in names.split()}
    for key, names in (
        ("scope_implies", {*settings.scope_implies, *implied}),
        ("reserved_scopes", set(settings.reserved_scopes)),
    ):
        for scope in sorted(names - set(settings.known_scopes)):
            yield key, f"{shown(scope)} is neither in OAUTH_SCOPES nor in OAUTH_PROTECT"


def _rules_agree(settings: Settings) -> Iterator[Disagreement]:
    """Two rules can be the same one to an application that ignores case."""
    if settings.ignore_case and not callable(settings.protect):
        for problem in rule_problems(settings.protect, ignore_case=True):
            yield "protect", problem


def _endpoints_are_open(settings: Settings) -> Iterator[Disagreement]:
    """Whoever needs a token to reach the token endpoint gets none."""
    if callable(settings.protect):
        return
    fold: Callable[[str], str] = str.casefold if settings.ignore_case else str
    for rule in settings.protect:
        path = rule[rule.index("/") :]
        if f"{fold(path)}/".startswith(f"{fold(settings.prefix)}/"):
            yield "protect", f"{shown(rule)} lies inside the OAuth endpoints' prefix {shown(settings.prefix)}"


def _metrics_are_not_for_everybody(settings: Settings) -> Iterator[Disagreement]:
    if not settings.metrics:
        return
    if find_spec("prometheus_client") is None:
        yield "metrics", "needs prometheus-client: pip install 'oauth-refresh[metrics]'"
    if settings.metrics_token is None and not settings.is_loopback:
        yield "metrics", "needs OAUTH_METRICS_TOKEN, for the issuer is not loopback"


def _tokens_open_the_registration(settings: Settings) -> Iterator[Disagreement]:
    if settings.registration == "token" and not settings.registration_tokens:
        yield "registration", "is for those with a token, and OAUTH_REGISTRATION_TOKENS has none"


def _registry_is_known(settings: Settings) -> Iterator[Disagreement]:
    """Opening a registry connects to nothing, so a wrong scheme or option shows now."""
    from .backends import open_backend

    for name in ("registry", "registry_fallback"):
        given = getattr(settings, name)
        try:
            if given is not None:
                open_backend(given, announce=False)
        except ConfigurationError as error:
            for problem in error.problems:
                yield name, problem.removeprefix("OAUTH_REGISTRY: ")


def _fallback_is_another_registry(settings: Settings) -> Iterator[Disagreement]:
    from .backends import open_backend

    if settings.registry_fallback is None:
        return
    try:
        places = [
            open_backend(each, announce=False).beside or each
            for each in (settings.registry, settings.registry_fallback)
        ]
    except ConfigurationError:
        return
    if places[0] == places[1]:
        yield "registry_fallback", "is the registry itself: name the one that you move away from, or none"


def _users_can_be_read(settings: Settings) -> Iterator[Disagreement]:
    if settings.users_file is None:
        return
    from .users import users_in

    try:
        users_in(settings.users_file)
    except ConfigurationError as error:
        for problem in error.problems:
            yield "users_file", problem


def _brand_can_be_shown(settings: Settings) -> Iterator[Disagreement]:
    if settings.logo is None:
        return
    from .branding import brand

    try:
        brand(settings.logo, settings.brand_color)
    except ConfigurationError as error:
        for problem in error.problems:
            yield "logo", problem


def _languages_are_there(settings: Settings) -> Iterator[Disagreement]:
    if not settings.languages and settings.translation_folder is None:
        return
    from .wording import load

    try:
        load(settings.translation_folder, settings.languages)
    except ConfigurationError as error:
        for problem in error.problems:
            about_languages = problem.startswith("OAUTH_LANGUAGES: ")
            name = "languages" if about_languages else "translation_folder"
            yield name, problem.removeprefix("OAUTH_LANGUAGES: ")


def _documents_can_be_fetched(settings: Settings) -> Iterator[Disagreement]:
    if settings.client_id_metadata == "on" and not settings.reads_client_documents:
        yield "client_id_metadata", "needs urllib3, which the extra cimd brings"
    if settings.client_id_metadata_loopback and not settings.is_loopback:
        # Whoever may name a URL could ask this host's own services otherwise.
        yield "client_id_metadata_loopback", "is for development, and the issuer is not loopback"


def misgivings(settings: Settings) -> Iterator[str]:
    """What may be meant, and is more likely a mistake: told, and not refused."""
    yield from _scopes_run_together(settings)
    yield from _scopes_are_misspelt(settings)
    yield from _login_page_is_guarded(settings)
    yield from _secret_is_published(settings)


def _secret_is_published(settings: Settings) -> Iterator[str]:
    if settings.secret_key is not None and encode_secret(settings.secret_key) == _OF_THE_MANUAL:
        yield (
            "OAUTH_SECRET_KEY or SECRET_KEY is still the one of the manual, which everybody knows: set what "
            'python -c "import secrets; print(secrets.token_urlsafe(32))" prints'
        )


def _login_page_is_guarded(settings: Settings) -> Iterator[str]:
    login = settings.login_url
    if login is None or not login.startswith("/") or callable(settings.protect):
        return
    if Protection(settings.protect, ignore_case=settings.ignore_case).match("GET", login.partition("?")[0]):
        yield (
            f"OAUTH_LOGIN_URL: OAUTH_PROTECT covers {shown(login)}, so that browsers, which have no token, "
            'cannot sign in there; exempt it with "public"'
        )


def _scopes_run_together(settings: Settings) -> Iterator[str]:
    for scope, description in settings.scopes.items():
        hidden = _ANOTHER_SCOPE.search(description)
        if hidden:
            yield (
                f"OAUTH_SCOPES: the description of {shown(scope)} contains {shown(hidden[1])}; "
                'if that is a scope of its own, separate the two by ";"'
            )


def _scopes_are_misspelt(settings: Settings) -> Iterator[str]:
    if callable(settings.protect):
        return
    unknown = [scope for scope in named_scopes(settings.protect) if scope not in settings.scopes]
    if not unknown or not settings.scopes:
        return
    from difflib import get_close_matches  # takes long to import, and is seldom needed

    for scope in unknown:
        meant = get_close_matches(scope, settings.scopes, 1, 0.8)
        if meant:
            yield (
                f"OAUTH_PROTECT asks for the scope {shown(scope)}, which is not in OAUTH_SCOPES; "
                f"{shown(meant[0])} was meant, perhaps"
            )


_CHECKS: tuple[tuple[tuple[str, ...], Callable[[Settings], Iterator[Disagreement]]], ...] = (
    (("issuer", "allow_http"), _issuer_is_encrypted),
    (("issuer", "secret_key", "secret_key_fallbacks"), _secrets_are_long),
    (("secret_key", "secret_key_fallbacks"), _fallbacks_have_a_first),
    (("reuse_policy", "refresh_grace"), _catch_up_has_grace),
    (("default_scopes", "scopes", "protect"), _default_scopes_are_known),
    (("scope_implies", "reserved_scopes", "scopes", "protect"), _named_scopes_are_known),
    (("protect", "ignore_case"), _rules_agree),
    (("protect", "prefix", "ignore_case"), _endpoints_are_open),
    (("metrics", "metrics_token", "issuer"), _metrics_are_not_for_everybody),
    (("client_id_metadata", "client_id_metadata_loopback", "issuer"), _documents_can_be_fetched),
    (("registry", "registry_fallback"), _registry_is_known),
    (("registry", "registry_fallback"), _fallback_is_another_registry),
    (("registration", "registration_tokens"), _tokens_open_the_registration),
    (("users_file",), _users_can_be_read),
    (("logo", "brand_color"), _brand_can_be_shown),
    (("languages", "translation_folder"), _languages_are_there),
)
