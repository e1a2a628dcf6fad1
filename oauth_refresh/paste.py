"""PasteDeploy: the middleware as a filter of an `.ini` file, for deployments that are described by one.

[filter:oauth]
use = egg:oauth-refresh
protect = /reports=reports:read
users_file = %(here)s/users.txt
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from .doctor.inside import tell_at_start
from .middleware import OAuthMiddleware
from .starting import plainly_under_gunicorn

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def filter_factory(
    global_conf: Mapping[str, str], **local_conf: str
) -> Callable[[WSGIApplication], OAuthMiddleware]:
    """What `use = egg:oauth-refresh` calls.

    Settings are written in lower case without the prefix, or as OAUTH_…; the environment wins over them, as
    it does over a file. A relative registry lies beside the `.ini` file; `%(here)s` begins other paths there.
    Raises `ConfigurationError` with every mistake at once.
    """

    def put_in_front(app: WSGIApplication) -> OAuthMiddleware:
        with plainly_under_gunicorn():
            made = OAuthMiddleware(app, defaults=local_conf, base_dir=global_conf.get("here"))
        tell_at_start(made.server, guards=True)
        return made

    return put_in_front
