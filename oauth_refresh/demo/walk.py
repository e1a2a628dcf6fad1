"""What the demo prints: the protocol as lines to paste into a shell, step by step."""

from __future__ import annotations

import base64
import hashlib
import secrets
from importlib.resources import files
from typing import TYPE_CHECKING

import jinja2

if TYPE_CHECKING:
    from ..settings import Settings


def lines_to_try(settings: Settings, base: str) -> str:
    """The whole walk for a demo that answers at `base`, a URL without a slash at its end.

    The PKCE pair in it is drawn at each call.
    """
    verifier = secrets.token_urlsafe(32)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    text = files("oauth_refresh.demo").joinpath("templates").joinpath("walk.txt").read_text("utf-8")
    walk = jinja2.Template(text, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    printed: str = walk.render(
        base=base,
        prefix=settings.prefix,
        registry=_place(settings.registry),
        verifier=verifier,
        challenge=challenge,
    )
    return printed


def _place(registry: object) -> str:
    # A registry URL may hold a password.
    text = registry if isinstance(registry, str) else type(registry).__name__
    return text if "@" not in text else f"{text.partition(':')[0]}: ..."
