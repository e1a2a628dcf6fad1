"""`python -m oauth_refresh` is the command `oauth-refresh`."""

from __future__ import annotations

from .cli import main

main(prog_name="oauth-refresh")
