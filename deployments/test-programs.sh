#!/usr/bin/env bash
# Installs what only the tests need, and what is missing of it: a browser that looks at pages, and a Redis.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=deployments/packages.sh
. deployments/packages.sh
need chromium chromium
need redis-server redis-server
install_missing
