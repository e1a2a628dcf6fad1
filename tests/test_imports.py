"""What an import loads, and which way imports point."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "oauth_refresh"

RULES = {
    "cases",
    "grants",
    "records",
    "tokens",
    "redirects",
    "pkce",
    "plain_renewals",
    "scopes",
    "resources",
    "paths",
    "metadata",
    "client_metadata",
    "freshness",
    "public_addresses",
    "stories",
    "story_gone",
    "story_log",
    "story_words",
}
WEB = ("flask", "werkzeug", "jinja2")


def imports_of(path: Path) -> set[str]:
    """The modules that this file imports, at its top or inside; those of the package begin with a dot."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * bool(node.level) + (node.module or "")
            found.update({module} if node.module else {"." + alias.name for alias in node.names})
    return found


@pytest.mark.parametrize("name", sorted(RULES))
def test_rules_know_no_store_no_clock_no_randomness_and_no_http(name: str) -> None:
    imported = imports_of(PACKAGE / f"{name}.py")
    foreign = {"time", "random", "secrets", "os", "datetime", "sqlite3", *WEB}
    assert not {module for module in imported if module.partition(".")[0] in foreign}
    services = {
        "registry",
        "clients",
        "guard",
        "server",
        "middleware",
        "backends",
        "endpoints",
        "pages",
        "login",
    }
    assert not {module for module in imported if module.lstrip(".").partition(".")[0] in services}


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("backends/*.py")), ids=lambda path: path.stem)
def test_backends_know_no_oauth(path: Path) -> None:
    ours = {module for module in imports_of(path) if module.startswith((".", "oauth_refresh"))}
    known = {"errors", "backends"}
    assert {module.replace("oauth_refresh", "").lstrip(".").partition(".")[0] for module in ours} <= {
        *known,
        *(other.stem for other in PACKAGE.glob("backends/*.py")),
        "",
    }


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("endpoints/*.py")), ids=lambda path: path.stem)
def test_endpoints_know_no_store(path: Path) -> None:
    assert not {module for module in imports_of(path) if "backends" in module or module == "sqlite3"}


@pytest.mark.parametrize(
    "statement",
    ["import oauth_refresh", "from oauth_refresh import OAuthMiddleware", "import oauth_refresh.guard"],
)
def test_an_import_for_plain_wsgi_stays_small(statement: str) -> None:
    heavy = ("flask", "jinja2", "werkzeug", "itsdangerous", "click", "sqlalchemy", "redis", "sqlite3")
    code = f"{statement}\nimport sys\nprint(sorted(set({heavy!r}) & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


def test_a_request_imports_nothing() -> None:
    code = """
import sys
from oauth_refresh import OAuthMiddleware
app = OAuthMiddleware(lambda environ, start: [], protect={"/api": ""}, registry="memory:", environ={},
                      password_check=lambda name, password: name)
issued = app.registry.create("alice", [])
before = set(sys.modules)
def ask(path, **more):
    host = {"HTTP_HOST": "localhost", "wsgi.url_scheme": "http"}
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, **host, **more}
    app(environ, lambda status, headers: None)
ask("/open")
ask("/api", HTTP_AUTHORIZATION="Bearer " + issued.access_token)
ask("/api")
print(sorted(set(sys.modules) - before))
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"
