"""The plain way says what the rules say. Every test of the rules asks it too: see `line.judged`."""

from __future__ import annotations

from math import nextafter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from oauth_refresh.cases import Ask, Case, Issue, Policy
from oauth_refresh.plain_renewals import issue_of
from oauth_refresh.records import Access, Grant, Previous
from oauth_refresh.tokens import GENERATION_MAX, Secrets

from . import derivation
from .line import (
    CLIENT,
    CODE_SECRET,
    GRACE,
    GRANT_ID,
    KEY,
    LINE,
    NEW_KEY,
    OTHER_CLIENT,
    PENDING,
    POLICY,
    RESOURCES,
    SCOPES,
    SECRETS,
    START,
    WAITING_CODE,
    judged,
    plainly,
    presented,
)

TOKEN = derivation.refresh_text(LINE, 5, CODE_SECRET)
HELD = Access(bytes(32), None, None, "", START + 3600)
GRANT = replace(
    PENDING,
    code=None,
    generation=5,
    refresh_hash=derivation.digest(TOKEN),
    refresh_expires_at=START + 86400,
    access=HELD,
    previous=Previous(bytes(32), START - 100, None),
)
CASE = Case(GRANT, presented(TOKEN), Ask(CLIENT), START, POLICY, SECRETS)


def around(moment: float) -> st.SearchStrategy[float]:
    """Times on both sides of a boundary, and far away."""
    near = [nextafter(moment, 0), moment, nextafter(moment, 1e12), moment - 100, moment + 100, moment * 2]
    return st.sampled_from(near)


accesses = st.builds(
    Access,
    st.just(bytes(32)),
    st.sampled_from([None, SCOPES[:1]]),
    st.sampled_from([None, RESOURCES[:1], ()]),
    st.sampled_from(["", "a thumbprint"]),
    st.none() | around(START + 1) | around(START + GRACE / 2),
)
grants_of_all_kinds = st.builds(
    lambda **fields: replace(GRANT, **fields),
    client_id=st.sampled_from([CLIENT, CLIENT, ""]),
    access=st.none() | accesses,
    previous=st.none() | st.builds(Previous, st.just(bytes(32)), around(START), st.none() | accesses),
    used=st.booleans(),
    last_used_at=st.none() | around(START),
    revoked_at=st.sampled_from([None, None, None, START - 5]),
    ends_at=st.none() | around(START + 1) | around(START + 3600),
    scopes=st.sampled_from([SCOPES, (), SCOPES[:1]]),
    resources=st.sampled_from([RESOURCES, ()]),
    created_at=around(START),
    code=st.sampled_from([None, WAITING_CODE]) | st.just(replace(WAITING_CODE, expires_at=START * 3)),
    generation=st.sampled_from([0, 1, 5, GENERATION_MAX - 1, GENERATION_MAX]),
    refresh_expires_at=st.none() | around(START + 1) | around(START + 86400),
    epoch=st.integers(0, 3),
    proof_key=st.sampled_from(["", "", "a thumbprint"]),
    late_repeats=st.integers(0, 255),
    late_marked=st.booleans(),
    rotations=st.lists(around(START), max_size=9).map(tuple),
    label=st.sampled_from(["", "a label"]),
)
policies = st.builds(
    Policy,
    access_ttl=st.sampled_from([0.0, 0.999, 1.0, 3600.0]),
    refresh_ttl=st.sampled_from([0.0, 1.0, 3600.0, 86400.0]),
    grace=st.sampled_from([0.0, 1.0, 2.0, GRACE, 1e6]),
    reuse=st.sampled_from(["revoke", "refuse", "catch-up"]),
    catch_up_generations=st.integers(1, 64),
    issue_refresh=st.sampled_from([True, True, False]),
)
asks = st.builds(
    Ask,
    client_id=st.sampled_from([CLIENT, CLIENT, CLIENT, None, OTHER_CLIENT, ""]),
    scopes=st.sampled_from([None, None, (), SCOPES, SCOPES[:1], ("admin",)]),
    resources=st.sampled_from([None, None, (), RESOURCES, RESOURCES[:1], ("https://elsewhere.example",)]),
    proof_key=st.sampled_from(["", "", "a thumbprint"]),
    allowed_scopes=st.sampled_from([None, None, (), SCOPES[:1]]),
)
everything_secret = st.sampled_from([SECRETS, Secrets((NEW_KEY, KEY)), Secrets((KEY,), frozenset([KEY]))])


@given(grants_of_all_kinds, policies, asks, everything_secret, st.sampled_from([START, START + 0.5]))
@example(GRANT, POLICY, Ask(CLIENT), SECRETS, START)
def test_it_answers_what_the_rules_answer_or_nothing(
    grant: Grant, policy: Policy, ask: Ask, secrets: Secrets, now: float
) -> None:
    judged(Case(grant, presented(TOKEN), ask, now, policy, secrets))


@given(grants_of_all_kinds, policies, st.sampled_from([START, START + 0.5]), st.booleans(), st.booleans())
def test_every_rotation_that_asks_for_what_there_is_goes_the_plain_way(
    grant: Grant, policy: Policy, now: float, names_scopes: bool, names_resources: bool
) -> None:
    ask = Ask(CLIENT, grant.scopes if names_scopes else None, grant.resources if names_resources else None)
    case = Case(grant, presented(TOKEN), ask, now, policy, SECRETS)
    answer = judged(case)
    is_plain = isinstance(answer, Issue) and answer.refresh_token is not None and grant.client_id == CLIENT
    assert (plainly(case) is not None) == is_plain


@pytest.mark.parametrize(
    ("policy", "fields"),
    [
        pytest.param({}, {}, id="as it is by default"),
        pytest.param({}, {"used": True, "last_used_at": START - 1}, id="its access token was used"),
        pytest.param({}, {"ends_at": START + 10}, id="a grant that ends"),
        pytest.param({"reuse": "catch-up"}, {"rotations": (1.0,) * 8}, id="catch-up"),
        pytest.param({"grace": 0.0}, {}, id="single use"),
        pytest.param({}, {"late_repeats": 2, "late_marked": True}, id="after a late repeat"),
        pytest.param({}, {"code": WAITING_CODE}, id="from a code"),
    ],
)
def test_the_renewals_that_servers_have_every_day_go_the_plain_way(
    policy: dict[str, object], fields: dict[str, object]
) -> None:
    case = CASE.but(policy=POLICY.but(**policy), grant=replace(GRANT, **fields))
    plain = plainly(case)
    assert plain is not None
    assert issue_of(plain) == judged(case)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"ask": Ask()}, id="client: not named"),
        pytest.param({"ask": Ask(OTHER_CLIENT)}, id="client: another"),
        pytest.param({"ask": Ask(CLIENT, scopes=SCOPES[:1])}, id="scopes"),
        pytest.param({"ask": Ask(CLIENT, resources=RESOURCES[:1])}, id="resources"),
        pytest.param(
            {"ask": Ask(CLIENT, resources=RESOURCES), "grant": replace(GRANT, resources=())},
            id="less than the whole server",
        ),
        pytest.param({"policy": POLICY.but(issue_refresh=False)}, id="no refresh tokens any more"),
        pytest.param({"policy": POLICY.but(access_ttl=0.5)}, id="no lifetime left"),
        pytest.param({"policy": POLICY.but(refresh_ttl=0.5)}, id="no refresh lifetime left"),
        pytest.param({"now": START + 86399.5}, id="expired"),
        pytest.param({"grant": replace(GRANT, revoked_at=START)}, id="revoked"),
        pytest.param({"grant": replace(GRANT, ends_at=START + 0.5)}, id="ended"),
        pytest.param({"grant": replace(GRANT, proof_key="a thumbprint")}, id="bound to a key"),
        pytest.param({"grant": replace(GRANT, generation=GENERATION_MAX)}, id="the last generation"),
        pytest.param({"grant": replace(GRANT, refresh_hash=bytes(32))}, id="not the current token"),
        pytest.param({"grant": replace(GRANT, refresh_hash=b"")}, id="none that is current"),
    ],
)
def test_whatever_else_it_may_be_is_left_to_the_rules(change: dict[str, object]) -> None:
    assert plainly(CASE.but(**change)) is None


def test_the_token_of_no_generation_but_the_current_is_left_to_the_rules() -> None:
    for generation in (0, 4, 6, 7):
        other = presented(derivation.refresh_text(LINE, generation, CODE_SECRET))
        assert plainly(CASE.but(presented=other)) is None
    assert CASE.presented.grant_id == GRANT_ID
