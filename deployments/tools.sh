# Sourced by what installs programs from PyPI, each apart from everything else: .tools/<name>, linked in .tools/bin.

from_pypi() { # from_pypi PYTHON NAME LOCK OPTION...: nothing is done if its lock file is the one that it was installed from
  local python=$1 place=.tools/$2 lock=$3
  if ! cmp -s "$lock" "$place/installed.lock"; then
    echo "installing $2 into $place"
    rm -rf "$place"
    "$python" -m venv "$place"
    # The lock file is whole, so nothing is left to resolve.
    "$place/bin/python" -m pip install -q --disable-pip-version-check --require-hashes --no-deps "${@:4}" -r "$lock"
    cp "$lock" "$place/installed.lock"
  fi
}

link_tool() { # link_tool NAME PROGRAM
  mkdir -p .tools/bin
  ln -sfn "../$1/bin/$2" ".tools/bin/$2"
}
