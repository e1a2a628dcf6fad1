"""How long may an answer be used without asking again?"""

from __future__ import annotations

import pytest

from oauth_refresh.freshness import LONGEST, SHORTEST, fresh_for

DATE = "Thu, 26 Nov 2026 02:00:00 GMT"


@pytest.mark.requirement("CIMD-15")
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({}, SHORTEST, id="nothing said"),
        pytest.param({"cache-control": "max-age=3600"}, 3600, id="max-age"),
        pytest.param(
            {"cache-control": 'Public, Max-Age = "3600"'}, 3600, id="max-age in capitals and quotes"
        ),
        pytest.param({"cache-control": "max-age=3600", "age": "600"}, 3000, id="max-age less its age"),
        pytest.param({"cache-control": "max-age=3600", "age": "-600"}, 3600, id="an age that is none"),
        pytest.param({"cache-control": "max-age=7200, max-age=3600"}, 3600, id="the shorter of two"),
        pytest.param({"cache-control": "max-age=0"}, SHORTEST, id="not too short"),
        pytest.param({"cache-control": f"max-age={SHORTEST:.0f}"}, SHORTEST, id="as short as may be"),
        pytest.param({"cache-control": "max-age=86401"}, LONGEST, id="not too long"),
        pytest.param({"cache-control": "max-age=" + "9" * 4000}, SHORTEST, id="a number that nobody means"),
        pytest.param({"cache-control": "max-age=١٢٣"}, SHORTEST, id="digits of another script"),
        pytest.param({"cache-control": "no-store, max-age=3600"}, 0, id="no-store"),
        pytest.param({"cache-control": 'no-cache="set-cookie"'}, 0, id="no-cache"),
        pytest.param({"expires": "Thu, 26 Nov 2026 03:00:00 GMT", "date": DATE}, 3600, id="expires"),
        pytest.param(
            {"expires": "Thu, 26 Nov 2026 03:00:00 GMT", "date": DATE, "cache-control": "max-age=600"},
            600,
            id="max-age before expires",
        ),
        pytest.param({"expires": "0", "date": DATE}, SHORTEST, id="expires that is no date"),
        pytest.param({"expires": "Thu, 26 Nov 2026 03:00:00 -0000", "date": DATE}, SHORTEST, id="no zone"),
        pytest.param({"expires": "Thu, 26 Nov 2026 03:00:00 GMT"}, SHORTEST, id="expires without a date"),
    ],
)
def test_as_long_as_http_says_within_bounds(headers: dict[str, str], seconds: float) -> None:
    assert fresh_for(headers) == seconds
