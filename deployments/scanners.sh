#!/usr/bin/env bash
# Installs the scanners that the tests run for real, each apart from everything else: .tools/<name>, linked in .tools/bin.
# Usage: scanners.sh PYTHON
set -euo pipefail
python=$1
cd "$(dirname "$0")/.."
mkdir -p .tools/bin
# shellcheck source=deployments/tools.sh
. deployments/tools.sh

# Debian has gitleaks from trixie on; its package needs nothing but a C library that is older. It is fetched, checked
# against Debian's signature by apt with lists of its own, and unpacked here: the machine's packages stay as they are.
gitleaks_from_debian() {
  local place=$PWD/.tools/gitleaks uri options
  uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | head -n 1)
  [ -n "$uri" ] || { echo "gitleaks is left out: no Debian here; install it yourself" >&2; return; }
  echo "installing gitleaks into .tools/gitleaks"
  rm -rf "$place"
  mkdir -p "$place"/apt/{lists/partial,cache/archives/partial,parts}
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri trixie main" > "$place/apt/sources.list"
  options=(-qq -o "Dir::Etc::SourceList=$place/apt/sources.list" -o "Dir::Etc::SourceParts=$place/apt/parts"
    -o "Dir::State::Lists=$place/apt/lists" -o "Dir::Cache=$place/apt/cache" -o Acquire::Languages=none
    -o APT::Sandbox::User=)
  apt-get "${options[@]}" update
  (cd "$place" && apt-get "${options[@]}" download gitleaks && dpkg-deb -x gitleaks_*.deb .)
  rm -rf "$place/apt" "$place"/gitleaks_*.deb
  ln -sfn ../gitleaks/usr/bin/gitleaks .tools/bin/gitleaks
}

# Side by side: each is many small downloads.
begun=()
for name in pip-audit hadolint semgrep checkov; do
  from_pypi "$python" "$name" "deployments/scanners/$name.lock" --no-compile &
  begun+=($!)
  link_tool "$name" "$name"
done
if ! command -v gitleaks >/dev/null 2>&1 && [ ! -x .tools/bin/gitleaks ]; then
  if command -v apt-get >/dev/null 2>&1; then
    gitleaks_from_debian
  else
    echo "gitleaks is left out: no apt-get here; install it yourself" >&2
  fi
fi
for each in "${begun[@]}"; do
  wait "$each"
done
