"""The words of stories: what each standing, outcome, refusal, end and event means, and what can be done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Words(NamedTuple):
    """What happened or would happen, and what can be done about it."""

    text: str
    advice: str


NOTHING_TO_DO = "Nothing has to be done."


def _say(text: str, advice: str = NOTHING_TO_DO) -> Words:
    return Words(" ".join(text.split()), " ".join(advice.split()))


BROWSER, BY_HAND, OF_CLIENT = "browser", "by hand", "of the client"
"""How a grant was made: a user allowed it on the consent page; a command, the application or an import made
it; or a client asked for it that speaks for itself."""

AGAIN: Mapping[str, Words] = {
    BROWSER: _say(
        "The user connects the program again; nothing else brings the grant back.",
        "OAUTH_REFRESH_NEEDS_OFFLINE_ACCESS and the client's grant_types say why it had no refresh token.",
    ),
    BY_HAND: _say(
        """Make a new one: oauth-refresh token create, or as the application did. If a user had connected the
        program, that is done again.""",
        "It lasts longer with a longer --ttl or with --refresh.",
    ),
    OF_CLIENT: _say(
        "The program asks for a new one by itself, with its own credentials: no user is needed.",
        "OAUTH_ACCESS_TOKEN_TTL sets how long it lasts.",
    ),
}
"""How such a grant is made anew, for `{again}` in an advice; and how one with an access token alone is made
to last, for `{longer}`."""


STANDINGS: Mapping[str, str] = {
    "current": "It is the newest one.",
    "previous": "It was exchanged by the last rotation.",
    "older": "It was exchanged two or more rotations ago.",
    "ahead": "It is newer than the registry's record: the registry has lost writes.",
    "stray": _say(
        """It is genuine, and of a line that the registry no longer follows: after a rollback of the
        registry together with a change of the server secret two such lines exist, and this one fell
        behind."""
    ).text,
    "noise": _say(
        """It is no refresh token of this grant: a typing error, a token of another server, a guess, or
        signed with a server secret that is not known here any more."""
    ).text,
}

EVENTS: Mapping[str, str] = {
    "code_issued": "The user allowed it, and the client was sent an authorization code.",
    "code_redeemed": "The client redeemed its code for the first tokens.",
    "code_reused": "The code was redeemed a second time. The grant ended.",
    "client_token_issued": "The client got an access token for itself, without a user.",
    "grant_created": "The grant was made without a browser.",
    "token_rotated": "The refresh token was exchanged for its successor.",
    "token_repeated": "A refresh was answered again with the same tokens.",
    "token_reused": "A refresh token that had been replaced came back.",
    "token_shared_suspected": _say(
        "Late repeats in three generations running: a credential is shared, or stolen."
    ).text,
    "token_stray": "A token came of a line that a rollback and a change of secret left behind.",
    "client_mismatch": "Another client presented a token of this grant.",
    "registry_rolled_back": "The registry was behind the client's token, and was brought up to it.",
    "registry_behind": "The registry was behind the client's token, and could not be brought up to it.",
    "repeat_not_reproduced": "A repeat needed a server secret that this host does not know.",
    "grant_revoked": "The grant was ended.",
    "access_token_revoked": "The client revoked one access token.",
}

OUTCOMES: Mapping[str, Words] = {
    "good": _say(
        "It is good.",
    ),
    "code": _say(
        "The code can still be redeemed.",
    ),
    "alive": _say(
        "The grant is alive: its newest refresh token is good.",
    ),
    "access alone": _say(
        "The grant is alive. It has an access token alone, which cannot be renewed.",
    ),
    "rotated": _say(
        "It is good: it would be exchanged for the next pair.",
    ),
    "repeated": _say(
        """It would be answered with the same new tokens again: either the grace period is not over, or
        nobody has used the new tokens yet, as after an answer that was lost.""",
    ),
    "caught_up": _say(
        """It would be answered with the current tokens: the policy catch-up lets a process that fell
        behind catch up.""",
        """If no fleet of processes shares this credential, set OAUTH_REUSE_POLICY=revoke to notice theft.""",
    ),
    "rolled_forward": _say(
        """It is good: the registry lost its last writes (a failover, a restored backup), and the record
        would be brought forward to this token.""",
        "Look for the reason: registry_rolled_back in the log, one line per grant.",
    ),
}

REASONS: Mapping[str, Words] = {
    "noise": _say(
        "It is none of this grant's: a typing error, a token of another server, or a guess.",
        """Check that the whole token was copied, and that OAUTH_SECRET_KEY and OAUTH_REGISTRY are those
        that the server uses.""",
    ),
    "unknown": _say(
        """It was replaced by a newer access token, revoked by its client, forgotten by a registry that was
        set back, or never issued.""",
        "The program renews with its refresh token; if it does not, explain that one.",
    ),
    "unknown_grant": _say(
        """The registry holds no such grant. It was forgotten (an hour after its last token expired), it is
        of another server or registry, or it never was.""",
        "Check OAUTH_REGISTRY; if that is right, the user connects the program again.",
    ),
    "client_gone": _say(
        "Its client is not registered here, or not any more; no token of it is looked at.",
        """Most programs register again by themselves, and ask their user. If nobody deleted the client, look
        whether this is the registry that it registered in.""",
    ),
    "other_client": _say(
        "It was issued to another client than the one that presented it.",
        """If one program registered twice it mixes up its own registrations; if not, the token was stolen:
        revoke the grant.""",
    ),
    "revoked": _say(
        "The grant has been revoked.",
        "{again}",
    ),
    "ended": _say(
        "The grant has reached its absolute end.",
        "{again} OAUTH_GRANT_MAX_AGE sets how long grants last.",
    ),
    "expired": _say(
        "It has expired: the program did not renew in time.",
        "{again} OAUTH_REFRESH_TOKEN_TTL sets how long a program may stay away.",
    ),
    "access_expired": _say(
        "The access token has expired, and this grant has no refresh token.",
        "{again} {longer}",
    ),
    "access_expired_alone": _say(
        "The access token has expired. The grant goes on: its refresh token is judged by itself.",
        "The program renews with its refresh token; if it does not, explain that one.",
    ),
    "malformed": _say(
        "It is no code or token of this server's kind, or not the whole of it.",
        "Check that the program stores and sends all of it, and that it is not one of another server.",
    ),
    "code_expired": _say(
        "The authorization code expired before the client redeemed it.",
        """{again} OAUTH_CODE_TTL sets how long a code is good for; a minute is enough for programs that
        work.""",
    ),
    "code_reused": _say(
        """The code was redeemed before. Redeeming it again with everything right ends the grant (RFC 6749
        4.1.2).""",
        "A program that sends its code twice has a bug; if it does not, somebody else has the code.",
    ),
    "reused": _say(
        """It was exchanged long ago, and its successor has been used. That is theft, or a program that
        lost what it was given, or several processes that share one credential.""",
        """If processes share it, let one of them renew for all, or see OAUTH_REUSE_POLICY=catch-up. If
        not, find out who has the token.""",
    ),
    "no_successor": _say(
        """It was exchanged for an access token alone, because refresh tokens were no longer issued to this
        client or for this grant.""",
        "See OAUTH_REFRESH_NEEDS_OFFLINE_ACCESS and the client's grant_types. {again}",
    ),
    "stray": _say(
        """It belongs to a line that a rollback together with a change of the server secret left behind.""",
        "Keep the old secret in OAUTH_SECRET_KEY_FALLBACKS when you change it. {again}",
    ),
    "ahead": _say(
        """It is newer than the registry's record, and rolling forward is off, or not safe because the
        server secret is kept with the data.""",
        """Set OAUTH_SECRET_KEY and leave OAUTH_ROLL_FORWARD on, so that the next rollback logs nobody out.
        {again}""",
    ),
    "scope": _say(
        "More scopes were asked for than the user had granted.",
        """Nothing was lost: the token is as good as before. The program asks for less, or the user allows
        more.""",
    ),
    "resource": _say(
        "A resource was asked for that is not among those granted.",
        """Nothing was lost: the token is as good as before. The program asks for the resource when it
        connects.""",
    ),
    "audience": _say(
        "The access token was issued for another resource.",
        "The program asks for a token for this resource, by the parameter resource.",
    ),
    "proof": _say(
        "The key that the token is bound to was not proven.",
        "The program signs with the key it began with.",
    ),
    "subject": _say(
        "OAUTH_SUBJECT_CHECK says that this user may not go on.",
        "Look at the account in the application; nothing was lost here.",
    ),
    "lifetime": _say(
        "The lifetime that is set for this grant's tokens is under one second.",
        "Look at the lifetimes in the settings and at the client's own.",
    ),
    "generations": _say(
        "The grant has used up all its generations.",
        "{again}",
    ),
    "not_reproduced_yet": _say(
        """It is a repeat that this host cannot answer: the new tokens were derived with a server secret
        that it does not know yet. Clients hear 503 and try again.""",
        """Give all hosts the same OAUTH_SECRET_KEY and fallbacks, and restart those that run with older
        ones.""",
    ),
    "not_reproduced": _say(
        """It is a repeat that cannot be answered: the new tokens were derived with a server secret that is
        not known here, or nobody has it any more.""",
        """Give all hosts the same OAUTH_SECRET_KEY and fallbacks. The newest token is as good as before.""",
    ),
    "verifier": _say(
        "The PKCE verifier did not match.",
        "The program sends the verifier it began with.",
    ),
    "verifier_missing": _say(
        "The PKCE verifier was missing.",
        "The program sends the verifier it began with.",
    ),
    "verifier_unexpected": _say(
        "A PKCE verifier came for a code without a challenge.",
        "The program sends both or none.",
    ),
    "redirect_uri": _say(
        "The redirect URI was another one than at the beginning.",
        "The program sends the same twice.",
    ),
    "two_credentials": _say(
        "A request came with two credentials.",
        "The program sends one Authorization header.",
    ),
}

ACCESS_EXPIRED = "It had expired: the program renews with its refresh token, if it has one."
"""Why a path refused an access token that it called expired: nothing to do with when its program renews."""

REFUSED_AT: Mapping[str, Words] = {
    "scope": _say(
        "it lacks {lacking}",
        "{ask} If nothing there should need it, correct OAUTH_PROTECT.",
    ),
    "audience": _say(
        "it was issued for {audience}",
        "{ask} If it should be good there, correct OAUTH_PROTECT or OAUTH_ISSUER.",
    ),
}
"""Why a path refuses an access token that is good elsewhere. What is in braces stands in the event, or in
`REFUSED_WITHOUT` for events of releases that did not say it; `{ask}` is one of `ASK`."""

REFUSED_WITHOUT: Mapping[str, str] = {
    "lacking": "a scope that is needed there",
    "audience": "another resource",
    "resource": "a protected path",
}

GRANTED = "granted"
ASK: Mapping[str, Mapping[str, str]] = {
    "scope": {
        GRANTED: "The user has granted it: the program asks for it when it renews.",
        BROWSER: "The program asks for that scope, and its user connects it again.",
        BY_HAND: "Make one with that scope: oauth-refresh token create --scope, or as it was made.",
        OF_CLIENT: "The program asks for that scope with its next token, if it may have it.",
    },
    "audience": {
        GRANTED: "The user has granted that resource, too: the program names it when it renews.",
        BROWSER: "The program names that resource (parameter resource), and its user connects it again.",
        BY_HAND: "Make one for that resource: oauth-refresh token create --resource, or as it was made.",
        OF_CLIENT: "The program names that resource (parameter resource) when it asks for its next token.",
    },
}
"""How a program gets one that is not refused: within what was granted, else as such a grant is made."""


OLDER_THAN_LOG = _say(
    """The registry is older than the event log: the record is at generation {generation}, the log tells of
    generation {newest}. A backup was restored, a failover lost writes, or this is another registry than the
    server's.""",
    """The program renews with its refresh token, and the record is brought up to it unless OAUTH_ROLL_FORWARD
    is off; if that is refused, explain that token. If nobody restored a backup, check OAUTH_REGISTRY.""",
)
BROUGHT_BACK = _say(
    """The event log tells that it was ended, and the registry is older: a restored backup or a failover
    brought it back. {end}""",
    """If it is to stay ended, end it again: oauth-refresh grant revoke. So with all others that had ended
    since the backup was made.""",
)
"""Of a grant that is alive by its record and had been ended."""

ISSUED_SINCE = (
    "This access token may have been issued after that backup, so that the record does not know it."
)
STANDING_SINCE = _say(
    """The grant's record does not know it, and is older than the event log: it may have been issued after the
    backup that was restored."""
).text


GONE: Mapping[str, Words] = {
    "ended": _say(
        """The registry holds this grant no more. {began} and ended {at} (UTC), says the event log; its record
        has been removed since.""",
    ),
    "refused": _say(
        """The registry holds this grant no more. {began} and had ended by {at} (UTC), when it was refused,
        says the event log; its record has been removed since.""",
    ),
    "unknown": _say(
        """The registry holds this grant no more. {began} and was last heard of {at} (UTC), says the event
        log; its end is not told. Either its record was removed, an hour after its last token expired, or the
        registry is older than the log, or another one than the server's.""",
        "{again} If it should not have expired yet, check OAUTH_REGISTRY, and whether a backup was restored.",
    ),
}
"""What is told of a grant whose record is gone, by what the event log tells of its end."""


def reason_of(fields: Mapping[str, object]) -> str:
    """The key in `REASONS` of this refusal of a code or refresh token."""
    reason = str(fields.get("reason"))
    return "code_expired" if reason == "expired" and fields.get("presented") == "code" else reason


def refused_at(reason: str, fields: Mapping[str, object]) -> str:
    """Where a path refused an access token that is good elsewhere, and why, for this `access_refused`."""
    said = {name: fields.get(name) or otherwise for name, otherwise in REFUSED_WITHOUT.items()}
    return f"{said['resource']}: {REFUSED_AT[reason].text.format_map(said)}."


ENDS: Mapping[str, Words] = {
    "token_reused": _say(
        """The grant was ended because a refresh token came back that had been replaced, and whose
        successor had been used: theft, or a program that lost what it was given.""",
        """{again} If it happens again, find out who else has the token: several processes that share one
        credential look like a thief.""",
    ),
    "code_reused": _say(
        "The grant was ended because its authorization code was redeemed a second time.",
        "{again} A program that sends its code twice has a bug.",
    ),
    "revoked_by_client": _say(
        "The program gave the grant back: it signed the user out.",
        "{again}",
    ),
    "revoked_by_operator": _say(
        "The operator ended the grant: oauth-refresh grant revoke.",
        "{again}",
    ),
    "revoked": _say(
        "The application ended the grant, or the user withdrew it.",
        "{again}",
    ),
    "user": _say(
        "The user withdrew it on the page of connected applications.",
        "{again}",
    ),
    "subject_revoked": _say(
        "All grants of this user were ended.",
        "{again}",
    ),
    "client_revoked": _say(
        "All grants of this client were ended.",
        "{again}",
    ),
    "client_deleted": _say(
        "The client was deleted, and its grants were ended.",
        "The program registers again first, or is registered: oauth-refresh client create. {again}",
    ),
    "user_removed": _say(
        "The user was removed, and their grants were ended.",
        "Add the user again first. {again}",
    ),
    "client": _say(
        "The program gave the grant back: it signed the user out.",
        "{again}",
    ),
}
