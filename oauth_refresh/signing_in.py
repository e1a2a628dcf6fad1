"""How do the users of this server sign in, as its settings have it? Said alike in log, doctor and pages."""

from __future__ import annotations

from .settings import Settings

REMEDY = (
    "Set OAUTH_USERS_FILE, OAUTH_PASSWORD_CHECK, OAUTH_TRUST_REMOTE_USER, or OAUTH_USER_LOADER together with "
    "OAUTH_LOGIN_URL; under Flask, OAuthRefresh(app, login=…, login_url=…) does the last."
)


def checks_passwords(settings: Settings) -> bool:
    """Whether the login page of this package can tell a right password from a wrong one."""
    return settings.password_check is not None or settings.users_file is not None


def nobody_can(settings: Settings) -> str | None:
    """Why no user can ever sign in here; None where there is a way."""
    if settings.user_loader is not None or settings.trust_remote_user or checks_passwords(settings):
        return None
    if settings.login_url is not None:
        return "Nobody can sign in: nothing tells this server who comes back from OAUTH_LOGIN_URL."
    return "Nobody can sign in: this server does not know how its users do so."
