# Sourced by what installs Debian packages: as root or with sudo, and nothing that is there already.

missing=()
need() { # need PROGRAM PACKAGE...: the packages are wanted if the program is not on the PATH
  command -v "$1" >/dev/null 2>&1 || PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null 2>&1 || missing+=("${@:2}")
}

install_missing() { # the packages that were found to be missing are installed
  if [ ${#missing[@]} -gt 0 ]; then
    echo "installing: ${missing[*]}"
    as_root=(); [ "$(id -u)" = 0 ] || as_root=(sudo)
    if ! command -v apt-get >/dev/null 2>&1; then
      echo "missing, and there is no apt-get here: install ${missing[*]} yourself, then run this again" >&2
      exit 1
    fi
    # The packages' own services must not start: the lab runs its own, on its own ports.
    policy=/usr/sbin/policy-rc.d
    made_policy=
    if [ ! -e $policy ]; then
      printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy >/dev/null
      "${as_root[@]}" chmod 755 $policy
      made_policy=yes
    fi
    trap '[ -z "$made_policy" ] || "${as_root[@]}" rm -f $policy' EXIT
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  fi
}
