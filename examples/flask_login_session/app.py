"""A Flask application with a login of its own. OAuth clients act for whoever is logged in to it.

The application existed first. What was added for OAuth are the lines marked with "# OAuth".
"""

from __future__ import annotations

import hmac
import os
import secrets

from flask import Flask, abort, redirect, render_template, request, session, url_for
from werkzeug.security import check_password_hash, generate_password_hash
from werkzeug.wrappers import Response

from oauth_refresh.flask import OAuthRefresh, current_token, require_scope  # OAuth

app = Flask(__name__)
# A secret of your own keeps people logged in over a restart.
app.config["SECRET_KEY"] = os.environ.get("SECRET_KEY") or secrets.token_hex(32)
app.config["SESSION_COOKIE_SAMESITE"] = "Lax"

USERS = {"ada": generate_password_hash("engine"), "grace": generate_password_hash("compiler")}
TASKS = {"ada": ["Weave algebraic patterns"], "grace": ["Find the moth"]}

oauth = OAuthRefresh(  # OAuth
    app,
    user_loader=lambda: session.get("user"),
    login_url="/login",
    protect={"/api": "tasks:read"},
    scopes={"tasks:read": "Read your tasks", "tasks:write": "Add tasks to your list"},
    service_name="Tasks",
)


@app.get("/")
def index() -> str:
    user = session.get("user")
    return render_template("index.html", user=user, tasks=TASKS.get(user or "", []), form=form_secret())


@app.route("/login", methods=["GET", "POST"])
def login() -> str | Response:
    then = request.values.get("next", "")
    if request.method == "GET":
        return render_template("login.html", then=then, form=form_secret())
    check_form()
    user = request.form["username"]
    if not check_password_hash(USERS.get(user, USERS["ada"]), request.form["password"]) or user not in USERS:
        return render_template("login.html", then=then, form=form_secret(), wrong=True)
    session.clear()
    session["user"] = user
    return redirect(then if is_of_this_site(then) else url_for("index"))


@app.post("/logout")
def logout() -> Response:
    check_form()
    session.clear()
    return redirect(url_for("index"))


@app.get("/api/tasks")
def tasks() -> dict[str, object]:
    return {"user": current_token.subject, "tasks": TASKS[current_token.subject]}  # OAuth


@app.post("/api/tasks")
@require_scope("tasks:write")  # OAuth
def add_task() -> dict[str, object]:
    TASKS[current_token.subject].append(request.form["task"][:200])
    return tasks()


def is_of_this_site(path: str) -> bool:
    """A path and nothing else: `//elsewhere` and `/\\elsewhere` are other sites to a browser."""
    return path.startswith("/") and not path.startswith(("//", "/\\"))


def form_secret() -> str:
    """What a form of ours carries, and a form on another site cannot know."""
    return str(session.setdefault("form", secrets.token_urlsafe(16)))


def check_form() -> None:
    if not hmac.compare_digest(request.form.get("form", ""), form_secret()):
        abort(400, "This page was out of date. Go back, load it again, and send it once more.")
