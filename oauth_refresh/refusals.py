"""What a client hears of a refusal by the rules. The reason itself goes to the log."""

from __future__ import annotations

from .cases import Refuse
from .errors import (
    InvalidGrant,
    InvalidRequest,
    InvalidScope,
    InvalidTarget,
    OAuthError,
    TemporarilyUnavailable,
)
from .tokens import CODE, Presented


def error_of(refusal: Refuse, presented: Presented) -> OAuthError:
    """The error that answers this refusal. Its description tells nothing that only the owner may know."""
    error = _error_of(refusal, presented)
    error.told = True
    return error


def _error_of(refusal: Refuse, presented: Presented) -> OAuthError:
    what = "authorization code" if presented.kind == CODE else "refresh token"
    detail = f"grant {presented.grant_id.hex()}: {refusal.reason}"
    match refusal.reason:
        case "scope":
            return InvalidScope("scope: more than was granted", detail=detail)
        case "resource":
            return InvalidTarget("resource: not among those granted", detail=detail)
        case "verifier_missing":
            return InvalidRequest("code_verifier: missing", detail=detail)
        case "verifier_unexpected":
            return InvalidRequest("code_verifier: the code has no code_challenge", detail=detail)
        case "redirect_uri":
            return InvalidGrant("redirect_uri: not the one of the authorization request", detail=detail)
        case "verifier":
            return InvalidGrant("code_verifier: does not match the code_challenge", detail=detail)
        case "not_reproduced_yet":
            return TemporarilyUnavailable("try again in a moment", detail=detail)
    return InvalidGrant(f"the {what} is not valid: unknown, expired, revoked or used before", detail=detail)
