"""One grant and whoever asks for its tokens: the stage on which the tests of the rules play."""

from __future__ import annotations

import copy
from hashlib import sha256

from msgspec.structs import replace

from oauth_refresh import grants
from oauth_refresh.cases import Ask, Case, Event, Issue, Policy, Refuse
from oauth_refresh.pkce import kept
from oauth_refresh.plain_renewals import Plain, issue_of, plain_renewals
from oauth_refresh.records import Access, Code, Grant, decode, encode, forget_at
from oauth_refresh.tokens import Presented, Secrets, read

from . import derivation

KEY, NEW_KEY, LOST_KEY = b"the server secret", b"the next server secret", b"a secret nobody has now"
SECRETS = Secrets((KEY,))
GRANT_ID, SEED, CODE_SECRET = bytes(range(16)), bytes(range(16, 48)), bytes(range(48, 80))
LINE = derivation.Line(KEY, SEED, GRANT_ID)
CODE = derivation.code(GRANT_ID, CODE_SECRET)
CLIENT, OTHER_CLIENT = "a-client", "another-client"
VERIFIER = "a-verifier-that-is-long-enough-for-rfc-7636"
CHALLENGE = derivation.spell("", sha256(VERIFIER.encode()).digest())
REDIRECT_URI = "https://client.example/callback"
SCOPES = ("notes:read", "notes:write")
RESOURCES = ("https://as.example/api", "https://as.example/mcp")

START = 1_700_000_000.0
ACCESS_TTL, REFRESH_TTL, CODE_TTL, GRACE = 3600.0, 86400.0, 60.0, 60.0
POLICY = Policy(ACCESS_TTL, REFRESH_TTL, GRACE)

WAITING_CODE = Code(sha256(CODE.encode()).digest(), kept(CHALLENGE), REDIRECT_URI, START + CODE_TTL)
PENDING = Grant(
    id=GRANT_ID,
    client_id=CLIENT,
    subject="ada",
    access=None,
    previous=None,
    used=False,
    last_used_at=None,
    revoked_at=None,
    ends_at=None,
    properties={},
    seed=SEED,
    scopes=SCOPES,
    resources=RESOURCES,
    created_at=START,
    code=WAITING_CODE,
)
"""A grant whose code waits to be redeemed."""


def presented(text: str) -> Presented:
    found = read(text)
    assert found is not None
    return found


def refresh_tokens(count: int, line: derivation.Line = LINE, start: str = CODE) -> list[str]:
    """The code and the refresh tokens of generations 1 to `count`, each at the index of its generation."""
    tokens = [start]
    for _ in range(count):
        tokens.append(derivation.next_refresh(line, tokens[-1]))
    return tokens


def access_token(generation: int, epoch: int = 0, scopes: tuple[str, ...] = SCOPES) -> str:
    """The access token of this generation for all resources, on the line under `KEY`."""
    before = refresh_tokens(generation - 1)[-1]
    return derivation.next_access(LINE, before, epoch, scopes, RESOURCES)


def access_record(text: str, expires_at: float, scopes: tuple[str, ...] = SCOPES) -> Access:
    """As it is kept: scopes that are the grant's own are left out, and so is the audience."""
    kept = None if scopes == SCOPES else scopes
    return Access(derivation.digest(text), kept, None, "", expires_at)


def repeated(age: float, behind: int = 1) -> Event:
    return Event("token_repeated", (("age", age), ("behind", behind)))


def judged(case: Case) -> Issue | Refuse:
    """What the rules answer to a refresh token. The plain way must say the same in all, or nothing."""
    answer = grants.refresh(case)
    plain = plainly(case)
    if plain is not None:
        assert answer.store is not None
        assert issue_of(plain) == answer
        assert plain[-1] == forget_at(answer.store)
    return answer


def plainly(case: Case) -> Plain | None:
    """The same asked of the plain way, which is never asked where more is said than it can hear."""
    ask = case.ask
    if ask.proof_key or ask.allowed_scopes is not None:
        return None
    asked = None if ask.scopes is None and ask.resources is None else (ask.scopes, ask.resources)
    presented = case.presented
    renew = plain_renewals(case.policy)
    return renew(case.grant, presented.hash, presented.secret, ask.client_id, asked, case.now, case.secrets)


class Played:
    """A grant and its clock. What a rule says is to be stored is stored, in its encoded form."""

    def __init__(
        self,
        grant: Grant = PENDING,
        *,
        policy: Policy = POLICY,
        secrets: Secrets = SECRETS,
        now: float = START,
    ) -> None:
        self.body = encode(grant)
        self.policy = policy
        self.secrets = secrets
        self.now = now

    @property
    def grant(self) -> Grant:
        return decode(self.body, PENDING.id)

    def _keep(self, stored: Grant | None) -> None:
        if stored is not None:
            self.body = encode(stored, self.body)
            assert decode(self.body, PENDING.id) == stored

    def copy(self) -> Played:
        return copy.copy(self)

    def case(self, text: str, ask: Ask) -> Case:
        return Case(self.grant, presented(text), ask, self.now, self.policy, self.secrets)

    def redeem(
        self,
        code: str = CODE,
        *,
        client_id: str | None = CLIENT,
        verifier: str | None = VERIFIER,
        redirect_uri: str | None = REDIRECT_URI,
        scopes: tuple[str, ...] | None = None,
        resources: tuple[str, ...] | None = None,
        proof_key: str = "",
        allowed_scopes: tuple[str, ...] | None = None,
    ) -> Issue | Refuse:
        ask = Ask(client_id, scopes, resources, proof_key, allowed_scopes, verifier, redirect_uri)
        answer = grants.redeem(self.case(code, ask))
        self._keep(answer.store)
        return answer

    def refresh(
        self,
        token: str,
        *,
        client_id: str | None = CLIENT,
        scopes: tuple[str, ...] | None = None,
        resources: tuple[str, ...] | None = None,
        proof_key: str = "",
        allowed_scopes: tuple[str, ...] | None = None,
    ) -> Issue | Refuse:
        ask = Ask(client_id, scopes, resources, proof_key, allowed_scopes)
        answer = judged(self.case(token, ask))
        self._keep(answer.store)
        return answer

    def use(self, access_token: str, interval: float = 300.0) -> Access | Refuse:
        """Present an access token at the guard."""
        token_hash = presented(access_token).hash
        answer = grants.check_access(self.grant, token_hash, self.now)
        if isinstance(answer, Access):
            self._keep(grants.mark_used(self.grant, token_hash, self.now, interval))
        return answer

    def revoke(self, text: str, client_id: str | None = CLIENT) -> Grant | Refuse:
        answer = grants.revoke_presented(self.case(text, Ask(client_id)))
        self._keep(answer if isinstance(answer, Grant) else None)
        return answer

    def change(self, **fields: object) -> None:
        """Write to the record past the rules: an import, an administrator, a failover."""
        self._keep(replace(self.grant, **fields))


def issued(answer: object) -> Issue:
    assert isinstance(answer, Issue), answer
    return answer


def refresh_token_of(answer: object) -> str:
    token = issued(answer).refresh_token
    assert token is not None
    return token


def redeemed(generation: int = 1, **stage: object) -> Played:
    """A grant whose code was redeemed at `START`, and that was rotated at once up to this generation."""
    played = Played(**stage)  # type: ignore[arg-type]
    answer = issued(played.redeem())
    for _ in range(generation - 1):
        answer = issued(played.refresh(refresh_token_of(answer)))
    return played


def goes_on(played: Played, token: str | None = None) -> None:
    """Show that this refresh token (else the one of the record's generation) still rotates."""
    later = played.copy()
    if token is None:
        token = refresh_tokens(played.grant.generation)[-1]
    answer = issued(later.refresh(token))
    assert answer.outcome == "rotated"
    assert isinstance(later.use(answer.access_token), Access)


def ended(played: Played) -> bool:
    """Whether nothing of this grant is accepted any more: no code, refresh token or access token."""
    later = played.copy()
    tried: list[object] = [later.redeem()]
    tried += [later.refresh(token) for token in refresh_tokens(played.grant.generation + 1)[1:]]
    record = played.grant
    hashes = [] if record.access is None else [record.access.hash]
    if record.previous is not None and record.previous.access is not None:
        hashes.append(record.previous.access.hash)
    tried += [grants.check_access(record, token_hash, later.now) for token_hash in hashes]
    return later.body == played.body and all(isinstance(answer, Refuse) for answer in tried)
