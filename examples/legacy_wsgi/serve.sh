#!/bin/sh
# legacy.py behind gunicorn, with sign-in and tokens that it knows nothing of. These variables are all there is to it.
set -eu
cd "$(dirname "$0")"

export OAUTH_REFRESH_APP=legacy:application
export OAUTH_PROTECT="/reports=reports:read"
export OAUTH_SCOPES="reports:read=Read your reports"
export OAUTH_USERS_FILE=users.txt
export OAUTH_SERVICE_NAME="Reports office"

exec gunicorn --bind "${BIND:-127.0.0.1:8001}" --workers 3 oauth_refresh.wsgi:application
