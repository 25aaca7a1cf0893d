#!/usr/bin/env bash
# Installs what only the tests and the lab's two sites need, and what is missing of it: a browser, a Redis, programs of
# backup engines, a network of namespaces, PowerDNS, etcd and Patroni.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=deployments/packages.sh
. deployments/packages.sh
need chromium chromium
need redis-server redis-server
need pgbackrest pgbackrest
need restic restic
need ip iproute2
need nft nftables
need sysctl procps
need etcd etcd-server
need pdns_server pdns-server pdns-backend-sqlite3
install_missing

# barman-cloud is GPL-3: it is called as a program, and lies apart from .venv. Debian has one that is too old. With
# bytecode, as a server starts it for each segment of WAL.
# Its lock file is of 'barman[cloud]', boto3>=1.35, python-dateutil<3, and psycopg2-binary in place of psycopg2.
# shellcheck source=deployments/tools.sh
. deployments/tools.sh
python=.venv/bin/python
[ -x "$python" ] || python=python3
from_pypi "$python" barman deployments/engines/barman.lock --compile
for program in backup backup-delete backup-list backup-show restore wal-archive wal-restore; do
  link_tool barman "barman-cloud-$program"
done

# Debian's Patroni is too old: clusters are promoted and demoted since 4.1. Apart from .venv, as its Python libraries are
# not the product's. Its lock file is of 'patroni[etcd3,psycopg3]>=4.1,<4.2'.
from_pypi "$python" patroni deployments/engines/patroni.lock --compile
for program in patroni patronictl; do
  link_tool patroni "$program"
done
