"""What the rules are asked, and what they answer."""

from __future__ import annotations

from .records import Grant
from .tokens import Presented, Rights, Secrets
from .values import Value


class Policy(Value, frozen=True, gc=False):
    """The settings that the rules need. Lifetimes and periods in seconds."""

    access_ttl: float
    refresh_ttl: float
    grace: float = 60.0
    reuse: str = "revoke"
    catch_up_generations: int = 8
    catch_up_window: float = 86400.0
    roll_forward: bool = True
    issue_refresh: bool = True


class Ask(Value, frozen=True, gc=False):
    """What a token request asks for. None means "not said".

    `client_id` is the client that authenticated, or that a public client's request names. `allowed_scopes`
    caps what is handed out without being a mistake of the client's (the user's rights have shrunk).
    """

    client_id: str | None = None
    scopes: tuple[str, ...] | None = None
    resources: tuple[str, ...] | None = None
    proof_key: str = ""
    allowed_scopes: tuple[str, ...] | None = None
    verifier: str | None = None
    redirect_uri: str | None = None

    def __repr__(self) -> str:
        # A default repr would carry the verifier into tracebacks and logs.
        return f"<ask by {self.client_id or 'nobody named'}>"


class Event(Value, frozen=True, gc=False):
    """Something the operator may want to know. Emitted once the record that goes with it is stored."""

    name: str
    fields: tuple[tuple[str, object], ...] = ()


class Issue(Value, frozen=True, gc=False):
    """Tokens to hand out. `store` is the record to keep first, or None where nothing changes.

    Ask whether an answer is one, not whether it is a `Refuse`: `isinstance` takes five times as long to deny.
    """

    outcome: str
    store: Grant | None
    access_token: str
    refresh_token: str | None
    expires_in: int
    rights: Rights
    events: tuple[Event, ...] = ()

    def __repr__(self) -> str:
        return f"<issue {self.outcome}>"


class Refuse(Value, frozen=True, gc=False):
    """No tokens. `store` is only ever a revocation."""

    reason: str
    store: Grant | None = None
    events: tuple[Event, ...] = ()


class Case(Value, frozen=True, gc=False):
    """One presentation of a code or refresh token: all that the rules may look at."""

    grant: Grant
    presented: Presented
    ask: Ask
    now: float
    policy: Policy
    secrets: Secrets
