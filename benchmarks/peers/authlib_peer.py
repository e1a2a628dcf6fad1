"""Authlib in Flask, with its models for SQLAlchemy, as its documentation sets it up."""

from __future__ import annotations

import secrets
import time
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer, ResourceProtector
from authlib.integrations.sqla_oauth2 import (
    OAuth2ClientMixin,
    OAuth2TokenMixin,
    create_bearer_token_validator,
    create_query_client_func,
    create_save_token_func,
)
from authlib.oauth2.rfc6749 import grants
from flask import Flask, Response
from sqlalchemy import Column, Integer, create_engine, event
from sqlalchemy.orm import declarative_base, scoped_session, sessionmaker
from sqlalchemy.pool import StaticPool

from . import answering

Base: Any = declarative_base()


class User(Base):  # type: ignore[misc]
    __tablename__ = "user"

    id = Column(Integer, primary_key=True)

    def get_user_id(self) -> Any:
        return self.id


class Client(Base, OAuth2ClientMixin):  # type: ignore[misc]
    __tablename__ = "oauth2_client"

    id = Column(Integer, primary_key=True)


class Token(Base, OAuth2TokenMixin):  # type: ignore[misc]
    __tablename__ = "oauth2_token"

    id = Column(Integer, primary_key=True)
    user_id = Column(Integer)


def _engine(address: str) -> Any:
    if address == "memory":
        return create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    engine = create_engine(address.replace("postgresql://", "postgresql+psycopg://"))
    if address.startswith("sqlite:"):

        @event.listens_for(engine, "connect")
        def _(connection: Any, record: object) -> None:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")

    return engine


def build(address: str) -> answering.Peer:
    engine = _engine(address)
    Base.metadata.create_all(engine)
    session = scoped_session(sessionmaker(engine))
    user, client = _known(session)

    class RefreshTokenGrant(grants.RefreshTokenGrant):  # type: ignore[misc]
        TOKEN_ENDPOINT_AUTH_METHODS = ("none",)
        INCLUDE_NEW_REFRESH_TOKEN = True

        def authenticate_refresh_token(self, refresh_token: str) -> Any:
            found = session.query(Token).filter_by(refresh_token=refresh_token).first()
            return found if found and not found.refresh_token_revoked_at else None

        def authenticate_user(self, credential: Any) -> Any:
            return session.get(User, credential.user_id)

        def revoke_old_credential(self, credential: Any) -> None:
            credential.refresh_token_revoked_at = credential.access_token_revoked_at = int(time.time())
            session.commit()

    app = Flask("peer")
    app.config["OAUTH2_REFRESH_TOKEN_GENERATOR"] = True
    server = AuthorizationServer(
        app, create_query_client_func(session, Client), create_save_token_func(session, Token)
    )
    server.register_grant(RefreshTokenGrant)
    protector = ResourceProtector()
    protector.register_token_validator(create_bearer_token_validator(session, Token)())

    @app.post("/oauth/token")
    def token() -> Any:
        return server.create_token_response()

    @app.get("/api/notes")
    @protector("notes:read")  # type: ignore[untyped-decorator]
    def notes() -> Response:
        return Response("ok", content_type="text/plain")

    @app.get("/open")
    def unguarded() -> Response:
        return Response("ok", content_type="text/plain")

    @app.teardown_appcontext
    def end(error: object) -> None:
        session.remove()

    def create() -> tuple[str, str]:
        pair = secrets.token_urlsafe(32), secrets.token_urlsafe(36)
        session.add(
            Token(
                client_id=client,
                user_id=user,
                token_type="Bearer",
                access_token=pair[0],
                refresh_token=pair[1],
                scope=" ".join(answering.SCOPES),
                expires_in=86400,
            )
        )
        session.commit()
        session.remove()
        return pair

    return answering.Peer(app, create)


def _known(session: Any) -> tuple[int, str]:
    """The user and the client: there already if the store is opened again."""
    user = session.get(User, 1)
    if user is None:
        user = User(id=1)
        client = Client(client_id=answering.CLIENT_ID, client_secret="")
        client.set_client_metadata(
            {
                "redirect_uris": [answering.REDIRECT_URI],
                "token_endpoint_auth_method": "none",
                "grant_types": ["authorization_code", "refresh_token"],
                "scope": " ".join(answering.SCOPES),
            }
        )
        session.add_all([user, client])
        session.commit()
    session.remove()
    return 1, answering.CLIENT_ID


if __name__ == "__main__":
    answering.main(build)
