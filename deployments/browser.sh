#!/usr/bin/env bash
# Installs the browser that the tests look at pages with, if there is none.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=deployments/packages.sh
. deployments/packages.sh
need chromium chromium
install_missing
