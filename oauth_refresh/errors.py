"""Every exception of the package. The OAuth ones carry what the client hears."""

from __future__ import annotations

from collections.abc import Iterable


class OAuthRefreshError(Exception):
    """The base of every exception that this package raises."""


class ConfigurationError(OAuthRefreshError):
    """The settings make no sense. `problems` lists every mistake that was found, one line each."""

    def __init__(self, problems: Iterable[str] | str) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class RegistryError(OAuthRefreshError):
    """The registry cannot answer now: it is down, locked, full, damaged, or holds a format from the future.

    The text is for the operator's log and says what to do. On the wire this is always 503 with
    `Retry-After`, never an OAuth error code that would make a client throw its credentials away.
    """

    def __init__(self, message: str, *, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotReplicatedError(RegistryError):
    """A write is done, and no replica has confirmed it in time: a failover now could undo it."""


class OAuthError(OAuthRefreshError):
    """A refusal that a client reads as JSON (RFC 6749 section 5.2) or in a redirect (section 4.1.2.1).

    `description` is sent to the client and names the parameter; `detail` goes to the log only. `told` is
    True where an event has told the operator already.
    """

    code = "server_error"
    status = 500
    told = False

    def __init__(
        self,
        description: str = "",
        *,
        detail: str = "",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(detail or description or self.code)
        self.description = description
        self.detail = detail
        self.headers = headers


class InvalidRequest(OAuthError):
    code = "invalid_request"
    status = 400


class RequestTooLarge(InvalidRequest):
    status = 413


class LengthRequired(InvalidRequest):
    status = 411


class InvalidClient(OAuthError):
    """For a client that is unknown or failed to authenticate, and for nothing else: clients register anew."""

    code = "invalid_client"
    status = 401


class DocumentRefused(InvalidClient):
    """The client id is the URL of a metadata document that says something wrong, or that is gone for good."""

    def __init__(self, description: str = "") -> None:
        super().__init__(description, headers=(("WWW-Authenticate", 'Basic realm="oauth"'),))


class InvalidGrant(OAuthError):
    code = "invalid_grant"
    status = 400


class UnauthorizedClient(OAuthError):
    code = "unauthorized_client"
    status = 400


class UnsupportedGrantType(OAuthError):
    code = "unsupported_grant_type"
    status = 400


class UnsupportedResponseType(OAuthError):
    code = "unsupported_response_type"
    status = 400


class InvalidScope(OAuthError):
    code = "invalid_scope"
    status = 400


class InvalidTarget(OAuthError):
    """RFC 8707 section 2: the resource is unknown, malformed or beyond the grant."""

    code = "invalid_target"
    status = 400


class AccessDenied(OAuthError):
    code = "access_denied"
    status = 403


class LoginRequired(OAuthError):
    code = "login_required"
    status = 400


class ConsentRequired(OAuthError):
    code = "consent_required"
    status = 400


class RequestNotSupported(OAuthError):
    code = "request_not_supported"
    status = 400


class RequestUriNotSupported(OAuthError):
    code = "request_uri_not_supported"
    status = 400


class InvalidRedirectUri(OAuthError):
    """RFC 7591 section 3.2.2."""

    code = "invalid_redirect_uri"
    status = 400


class InvalidClientMetadata(OAuthError):
    """RFC 7591 section 3.2.2."""

    code = "invalid_client_metadata"
    status = 400


class InvalidToken(OAuthError):
    """RFC 6750 section 3.1, at the protected resource and at endpoints that take a bearer token."""

    code = "invalid_token"
    status = 401


class InsufficientScope(OAuthError):
    """RFC 6750 section 3.1. `scope` is what the operation needs, separated by spaces."""

    code = "insufficient_scope"
    status = 403

    def __init__(self, scope: str, description: str = "") -> None:
        super().__init__(description)
        self.scope = scope


class TooManyRequests(OAuthError):
    """Throttled. Never reported as a failure of client or grant, which clients take as final."""

    code = "temporarily_unavailable"
    status = 429

    def __init__(self, description: str = "", *, retry_after: int) -> None:
        super().__init__(description, headers=(("Retry-After", str(retry_after)),))
        self.retry_after = retry_after


class TemporarilyUnavailable(OAuthError):
    code = "temporarily_unavailable"
    status = 503

    def __init__(self, description: str = "", *, detail: str = "", retry_after: int = 5) -> None:
        super().__init__(description, detail=detail, headers=(("Retry-After", str(retry_after)),))
        self.retry_after = retry_after


class DocumentUnavailable(TemporarilyUnavailable):
    """A client's metadata document could not be fetched just now: nothing is known against the client."""


class FetchError(OAuthRefreshError):
    """A URL could not be fetched; the text says why, and nothing of what lies inside this network.

    `lasting` is True where the next try would end the same: the document is gone, or may not be fetched.
    """

    def __init__(self, reason: str, *, lasting: bool = False) -> None:
        super().__init__(reason)
        self.lasting = lasting
