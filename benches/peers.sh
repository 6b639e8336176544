#!/usr/bin/env bash
# Installs the peers that Debian has, and gives each the load that Greylag gets (benches/load), on loopback.
#   benches/peers.sh [--seconds N] [--rounds N] [--json]
set -euo pipefail
cd "$(dirname "$0")/.."
packages=(postgrey postfwd rspamd redis-server)
# Debian 12 has no milter-greylist.
if apt-cache show milter-greylist >/dev/null 2>&1; then
  echo "there is a package of milter-greylist here, which benches/load/peers.rs does not start: it is not measured" >&2
fi
for package in "${packages[@]}"; do
  if ! dpkg -s "$package" >/dev/null 2>&1; then
    apt-get install -y --no-install-recommends "$package"
    # Only private instances are measured; what the package started is not needed.
    service "$package" stop >/dev/null 2>&1 || true
  fi
done
exec cargo bench --ignore-rust-version --locked --bench load -- --peers "$@"
