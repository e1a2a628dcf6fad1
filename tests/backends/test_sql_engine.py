"""The SQL registry over an engine that the application has already."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Engine, create_engine, event, text

from oauth_refresh.backends import base, open_backend
from oauth_refresh.backends.base import Entry
from oauth_refresh.backends.contract import BackendContract
from oauth_refresh.backends.sql import SQLBackend
from oauth_refresh.errors import ConfigurationError, RegistryError
from tests.backends import mariadb, postgres
from tests.backends.children import in_a_child
from tests.backends.slow_line import Line
from tests.backends.sql_store import FAMILIES, Store

ONE = Entry(b"1", b"1")


def engine_url(server: Any, **options: Any) -> str:
    url: str = server.url(**options)
    return url.replace("postgresql:", "postgresql+psycopg:").replace("mysql:", "mysql+pymysql:")


class TestPostgreSQLEngine(BackendContract):
    shared = True

    def open_store(self, place: Path) -> base.Backend:
        return SQLBackend(create_engine(engine_url(postgres.shared())), prefix=place.name)


class TestMariaDBEngine(BackendContract):
    shared = True

    def open_store(self, place: Path) -> base.Backend:
        plain = {"ssl_disabled": True}
        return SQLBackend(create_engine(engine_url(mariadb.shared()), connect_args=plain), prefix=place.name)


@pytest.fixture(params=FAMILIES)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    store = Store(request.param)
    yield store
    store.close()


@pytest.fixture
def engine(store: Store) -> Iterator[Engine]:
    engine = create_engine(engine_url(store.server))
    yield engine
    engine.dispose()


def test_an_engine_shares_its_pool_and_keeps_its_own_ways(store: Store, engine: Engine) -> None:
    opened = []
    event.listen(engine, "connect", lambda connection, record: opened.append(connection))
    backend = SQLBackend(engine, prefix=store.prefix)
    assert open_backend(backend) is backend
    with engine.begin() as connection:
        connection.execute(text("SELECT 1"))
    assert backend.swap(b"k", None, b"1", index=[b"term"]) is True
    assert (backend.get(b"k"), list(backend.find(b"term"))) == (Entry(b"1", b"1"), [b"k"])
    backend.close()
    with engine.connect() as connection:
        connection.execute(text(f"DELETE FROM {store.record}"))
        connection.rollback()
    assert backend.get(b"k") == Entry(b"1", b"1")
    assert len(opened) == 1


def test_a_transaction_of_the_application_neither_holds_nor_undoes_a_swap(
    store: Store, engine: Engine
) -> None:
    backend = SQLBackend(engine, prefix=store.prefix)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        assert backend.swap(b"k", None, b"1") is True
        connection.rollback()
    assert store.open().get(b"k") == Entry(b"1", b"1")


@pytest.mark.parametrize(
    ("family", "options", "trips"),
    [
        ("postgresql", {}, (1, 1)),
        ("mariadb", {}, (2, 3)),
        ("mariadb", {"pool_reset_on_return": None}, (2, 2)),
    ],
    ids=["postgresql", "mariadb", "mariadb without reset"],
)
def test_an_engine_costs_what_the_docs_say(
    family: str, options: dict[str, Any], trips: tuple[int, int]
) -> None:
    store = Store(family)
    line = Line(store.server.port)
    if family == "mariadb":
        options = {**options, "connect_args": {"ssl_disabled": True}}
    engine = create_engine(engine_url(store.server, port=line.port), **options)
    backend = SQLBackend(engine, prefix=store.prefix)
    for number in range(9):
        backend.swap(b"%d" % number, None, b"1")
        backend.get(b"%d" % number)
    counts = [line.exchanges]
    for _ in range(10):
        backend.get(b"0")
    counts.append(line.exchanges)
    for number in range(10):
        backend.swap(b"new %d" % number, None, b"1")
    counts.append(line.exchanges)
    assert (counts[1] - counts[0], counts[2] - counts[1]) == (10 * trips[0], 10 * trips[1])
    engine.dispose()
    line.close()


def test_an_engine_whose_server_restarts_costs_a_swap_at_most(store: Store, engine: Engine) -> None:
    backend = SQLBackend(engine, prefix=store.prefix)
    backend.swap(b"k", None, b"1")
    with engine.connect():
        assert backend.get(b"k") == ONE
    store.server.kill()
    store.server.start()
    assert backend.get(b"k") == ONE
    store.server.kill()
    store.server.start()
    try:
        assert backend.swap(b"k", ONE, b"2") is True
    except RegistryError as error:
        assert str(error).endswith("(whether the change was stored is unknown)")  # noqa: PT017
        assert backend.swap(b"k", ONE, b"2") is True


def test_a_server_that_is_down_is_told_without_the_account(store: Store) -> None:
    engine = create_engine(engine_url(store.server, port=postgres.free_port()))
    with pytest.raises(RegistryError) as raised:
        SQLBackend(engine).get(b"k")
    told = str(raised.value)
    assert "check that the server runs and can be reached" in told
    assert ("sesame" in told, "***" in told, "@" in told) == (False, False, False)


def test_a_forked_child_leaves_the_connections_of_the_engine_alone(store: Store, engine: Engine) -> None:
    backend = SQLBackend(engine, prefix=store.prefix)
    backend.swap(b"k", None, b"1")
    assert in_a_child(lambda: backend.swap(b"k", Entry(b"1", b"1"), b"2")) is True
    assert backend.get(b"k") == Entry(b"2", b"2")


def test_a_standby_behind_an_engine_is_refused() -> None:
    server = postgres.PostgreSQL()
    try:
        engine = create_engine(engine_url(server))
        SQLBackend(engine).swap(b"k", None, b"1")
        server.stop()
        (server.data / "standby.signal").touch()
        server.start()
        backend = SQLBackend(engine)
        for call in (lambda: backend.get(b"k"), lambda: list(backend.keys())):
            with pytest.raises(RegistryError, match="this server takes no writes, so what it knows may be"):
                call()
        with pytest.raises(RegistryError, match="name the primary in OAUTH_REGISTRY"):
            backend.swap(b"k", Entry(b"1", b"1"), b"2")
        engine.dispose()
    finally:
        server.remove()


def test_another_driver_of_postgresql_will_do() -> None:
    store = Store("postgresql")
    engine = create_engine(store.url().replace("postgresql:", "postgresql+psycopg2:").partition("?")[0])
    backend = SQLBackend(engine, prefix=store.prefix)
    assert backend.swap(b"k", None, b"\0\xff", 1000.0, [b"term"]) is True
    assert (backend.get(b"k"), list(backend.find(b"term"))) == (Entry(b"\0\xff", b"\0\xff"), [b"k"])
    assert backend.swap(b"k", None, b"2") is False
    assert list(backend.keys()) == [b"k"]
    assert backend.purge(1000.0) == 1
    engine.dispose()


# --- Flask-SQLAlchemy


def test_the_db_of_flask_sqlalchemy_is_taken(store: Store) -> None:
    app, db = Flask(__name__), SQLAlchemy()
    app.config["SQLALCHEMY_DATABASE_URI"] = engine_url(store.server)
    db.init_app(app)
    backend = SQLBackend(db, app=app, prefix=store.prefix)
    assert backend.swap(b"k", None, b"1") is True
    with app.app_context():
        assert SQLBackend(db, prefix=store.prefix).get(b"k") == Entry(b"1", b"1")
        db.engine.dispose()


def test_a_db_without_an_application_is_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigurationError, match=r"write SQLBackend\(db, app=app\)"):
        SQLBackend(SQLAlchemy())


@pytest.mark.parametrize(
    ("server", "problem"),
    [
        (create_engine("sqlite://"), "an engine for sqlite will not do; PostgreSQL, MySQL and MariaDB will"),
        ("postgresql://h/db", "str is no engine of SQLAlchemy; for a URL write its text"),
        (None, "NoneType is no engine of SQLAlchemy; for a URL write its text"),
    ],
)
def test_what_is_no_engine_for_us_is_refused(server: object, problem: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        SQLBackend(server)
    assert str(refused.value) == f"OAUTH_REGISTRY: {problem}"
