"""The settings reference of the documentation, written from the settings themselves.

`python -m oauth_refresh.settings_reference` prints it as Markdown; `docs/settings.md` is its output.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping

from .durations import format_duration
from .setting_values import LIFETIME_OR_NEVER
from .settings import Declaration, declarations

_WIDTH = 100

# Each group begins with the setting named here and ends before the next one.
_GROUPS: Mapping[str, str] = {
    "issuer": "Addresses",
    "config_file": "Registry and secrets",
    "access_token_ttl": "Lifetimes",
    "refresh_grace": "Renewal",
    "protect": "Protection and scopes",
    "login_url": "Users",
    "registration": "Clients",
    "event_log": "Observability",
    "refresh_app": "Legacy deployments",
}

_INTRODUCTION = """\
# Settings

All settings are read and checked once, at start. Mistakes are reported together, one line each, and
nothing starts until they are gone.

## Where settings come from

Later layers win over earlier ones, key by key:

1. the defaults below;
2. a settings file, if `OAUTH_CONFIG_FILE` names one;
3. environment variables; one that is empty counts as not set;
4. Flask's `app.config`, or the configuration mapping of a WSGI server;
5. keyword arguments.

Keys are upper-case and begin with `OAUTH_`. Keyword arguments are the same names in lower case
without the prefix: `OAuthMiddleware(app, access_token_ttl="15m")`. A file may use either form. An
unknown key is an error in a file and in keyword arguments. In the environment and in `app.config`,
where applications keep keys of their own such as `OAUTH_CLIENT_ID`, it is a warning in the log.

A TOML file has the keys at its top or in a table `[oauth]`:

```toml
issuer = "https://notes.example.org"
registry = "sqlite:///var/lib/notes/oauth.db"
access_token_ttl = "1h"

[protect]
"/api" = "notes:read"
"POST /api" = "notes:write"
"/api/health" = "public"

[scopes]
"notes:read" = "Read your notes"
"notes:write" = "Change your notes"

[clients.backup]
client_name = "Nightly backup"
redirect_uris = ["https://backup.example.org/callback"]
```

An INI file (`.ini`, `.cfg`, `.conf`) has them in a section `[oauth]`, with values written as in the
environment; other sections are left alone.

## How values are written

A duration is a number of seconds, a `timedelta` in Python, or text with the units d, h, m and s:
`"90s"`, `"15m"`, `"24h"`, `"30d"`, `"1h30m"`. Lists in text are split at commas and line ends. A
callable in text is `package.module:name`, imported at start. Where a setting may be nothing, `none`
takes back what an earlier layer says.
"""


def reference() -> str:
    """The whole page, ending with a line end."""
    return "\n".join([_INTRODUCTION, *_sections()]).rstrip("\n") + "\n"


def _sections() -> Iterator[str]:
    for about in declarations():
        if about.name in _GROUPS:
            yield f"## {_GROUPS[about.name]}\n"
        yield f"### `{about.key}`\n"
        yield _paragraph(f"Default: {_default(about)}. Allowed: {about.kind.allowed}.")
        yield _paragraph(about.meaning)


def _paragraph(text: str) -> str:
    """Lines of `_WIDTH` characters. No line ends inside of code, which is there to be copied."""
    whole = re.sub("`[^`]*`", lambda code: code[0].replace(" ", "\0"), text)
    lines = textwrap.fill(whole, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return lines.replace("\0", " ") + "\n"


def _default(about: Declaration) -> str:
    """The default as it is written in text."""
    value = about.default
    if value is None:
        return "never" if about.kind is LIFETIME_OR_NEVER else "not set"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{format_duration(value)}`"
    if isinstance(value, tuple):
        value = ", ".join(value)
    return f"`{value}`" if value else "nothing"


def main(write: Callable[[str], object] = sys.stdout.write) -> None:
    write(reference())


if __name__ == "__main__":
    main()
