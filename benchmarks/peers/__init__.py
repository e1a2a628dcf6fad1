"""The other libraries at the same work: oauthlib, Authlib and django-oauth-toolkit.

They live in an environment of their own (`environment`). Each has a program (`oauthlib_peer` …) that builds
an application as the library's documentation does, with /api/notes protected, /open not, and /oauth/token,
and that answers a parent (`answering`); the parent takes its calls as rounds among its own (`asking`).
"""
