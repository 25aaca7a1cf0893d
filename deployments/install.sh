#!/usr/bin/env bash
# Installs what is missing, and nothing that is there: Debian packages as root or with sudo, then .venv from the lock file.
# Usage: install.sh PYTHON
set -euo pipefail
python=$1
cd "$(dirname "$0")/.."

# shellcheck source=deployments/packages.sh
. deployments/packages.sh
need git git
need haproxy haproxy
need prometheus prometheus
need setpriv util-linux
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null 2>&1 || missing+=(postgresql)
ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || missing+=(libfaketime)
[ -n "$python" ] || { missing+=(python3.11 python3-venv); python=/usr/bin/python3.11; }
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)

install_missing

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$python is older than 3.11" >&2; exit 1; }
[ -x .venv/bin/python ] || "$python" -m venv .venv
echo "installing Python packages from requirements.lock"
# The lock file is whole, so nothing is left to resolve; 'pip check' shows that it fits together.
.venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
.venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
.venv/bin/python -m pip check --disable-pip-version-check -q
