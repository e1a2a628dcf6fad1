"""django-oauth-toolkit, as its documentation sets it up, without any middleware of Django's."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from . import answering

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def _database(address: str) -> dict[str, Any]:
    # The connection is kept: opening one for each request would be most of what is timed.
    kept = {"CONN_MAX_AGE": None}
    if address == "memory":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:", **kept}
    if address.startswith("sqlite:"):
        quick = {"init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL"}
        path = address.removeprefix("sqlite:///")
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": path, "OPTIONS": quick, **kept}
    parts = urlsplit(address)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path[1:],
        "USER": parts.username,
        "PASSWORD": (parts.password or "").replace("%20", " "),
        "HOST": parts.hostname,
        "PORT": parts.port,
        **kept,
    }


def configure(address: str) -> None:
    """Django, set up with the toolkit in it."""
    import django
    from django.conf import settings

    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1"],
        DATABASES={"default": _database(address)},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider"],
        LOGGING_CONFIG=None,
        MIDDLEWARE=[],
        OAUTH2_PROVIDER={
            "SCOPES": {"notes:read": "Read", "notes:write": "Write"},
            "ACCESS_TOKEN_EXPIRE_SECONDS": 86400,
            "REFRESH_TOKEN_EXPIRE_SECONDS": 30 * 86400,
        },
        ROOT_URLCONF=__name__,
        SECRET_KEY="for measurements only",
        USE_TZ=True,
    )
    django.setup()


urlpatterns: list[Any] = []


def _patterns() -> list[Any]:
    from django.http import HttpRequest, HttpResponse
    from django.urls import path
    from oauth2_provider.decorators import protected_resource
    from oauth2_provider.views import TokenView

    def unguarded(request: HttpRequest) -> HttpResponse:
        return HttpResponse(b"ok", content_type="text/plain")

    guarded = protected_resource(scopes=["notes:read"])(unguarded)
    return [
        path("api/notes", guarded),
        path("open", unguarded),
        path("oauth/token", TokenView.as_view()),
    ]


def build(address: str) -> answering.Peer:
    configure(address)
    from django.core.management import call_command
    from django.core.wsgi import get_wsgi_application
    from django.utils import timezone
    from oauth2_provider.models import AccessToken, Application, RefreshToken

    call_command("migrate", verbosity=0)
    urlpatterns.extend(_patterns())
    handler = get_wsgi_application()
    application, user = _known(Application)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # As a server does it: only `close` tells Django that the request is over.
        answer = handler({**environ, "wsgi.input": environ["wsgi.input"] or BytesIO()}, start_response)
        try:
            return list(answer)
        finally:
            answer.close()

    def create() -> tuple[str, str]:
        from oauthlib.common import generate_token

        access, refresh = generate_token(), generate_token()
        scope, ends = " ".join(answering.SCOPES), timezone.now() + timedelta(days=1)
        kept = AccessToken.objects.create(
            user=user, application=application, token=access, expires=ends, scope=scope
        )
        RefreshToken.objects.create(user=user, application=application, token=refresh, access_token=kept)
        return access, refresh

    return answering.Peer(app, create)


def _known(application: Any) -> tuple[Any, Any]:
    """The client and the user: there already if the store is opened again."""
    from django.contrib.auth.models import User

    user, _ = User.objects.get_or_create(username="ada")
    client, _ = application.objects.get_or_create(
        client_id=answering.CLIENT_ID,
        defaults={
            "user": user,
            "client_type": "public",
            "authorization_grant_type": "authorization-code",
            "redirect_uris": answering.REDIRECT_URI,
        },
    )
    return client, user


if __name__ == "__main__":
    # By its name: Django imports this module again for its URLs.
    from benchmarks.peers import django_peer

    answering.main(django_peer.build)
