#!/usr/bin/env bash
# Installs the peers that Debian has, and gives each the load that Greylag gets (benches/load), on loopback.
#   benches/peers.sh [--seconds N] [--rounds N] [--json]
set -euo pipefail
cd "$(dirname "$0")/.."
packages=(postgrey postfwd rspamd redis-server)
if ! dpkg -s "${packages[@]}" >/dev/null 2>&1; then
  apt-get install -y --no-install-recommends "${packages[@]}"
  # Only private instances are measured; what the packages started is not needed.
  for unit in postgrey postfwd rspamd redis-server; do
    service "$unit" stop >/dev/null 2>&1 || true
  done
fi
exec cargo bench --ignore-rust-version --locked --bench load -- --peers "$@"
