#!/usr/bin/env bash
# A narrated tour of dbops on the sandbox. On a terminal it ends in the terminal UI; without one it ends by itself.
set -euo pipefail
cd "$(dirname "$0")/.."

dbops=$PWD/dbops
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
plain() { printf '\n%s\n' "$*"; }
[ -t 1 ] && [ -z "${NO_COLOR:-}" ] || say() { plain "== $*"; }
show() {
  printf '$ dbops %s\n' "$*"
  "$dbops" "$@"
}
proxy=
cleanup() {
  if [ -n "$proxy" ]; then
    kill -INT "$proxy" 2>/dev/null || true
    wait "$proxy" 2>/dev/null || true
  fi
  rm -rf "${scratch:-}"
}
trap cleanup EXIT
scratch=$(mktemp -d)

say "1. A local cloud: real PostgreSQL 14 to 18 behind played RDS and Cloud SQL APIs"
show sandbox up
eval "$("$dbops" sandbox env)"

say "2. Every instance, asked through the real AWS and Google SDKs"
show status

say "3. One local port for all databases of prod: one is on Cloud SQL, one on RDS"
printf '$ dbops proxy -e prod &\n'
"$dbops" -o json proxy -e prod >"$scratch/proxy.json" 2>"$scratch/proxy.err" &
proxy=$!
for _ in $(seq 200); do
  [ -s "$scratch/proxy.json" ] && break
  kill -0 "$proxy" 2>/dev/null || { cat "$scratch/proxy.err" >&2; exit 1; }
  sleep 0.05
done
psql=$(scripts/postgres.sh --where)/client/18/bin/psql
query="select current_database() as database, split_part(version(), ' ', 2) as server, current_user as logged_in_as,
  current_setting('default_transaction_read_only') as read_only"
for db in shop billing; do
  printf '$ psql "$(dbops conn-uri -e prod %s)" -c "select …"\n' "$db"
  "$psql" -X "$("$dbops" conn-uri -e prod "$db")" -c "$query"
done

say "4. Reading is the default: a write is refused, by the session and by the role"
for sql in "" "set default_transaction_read_only = off"; do
  printf '$ dbops psql -e prod shop -- -c "%s" -c "delete from shop.orders"\n' "$sql"
  if "$dbops" psql -e prod shop -- -X -q -v ON_ERROR_STOP=1 -c "$sql" -c "delete from shop.orders"; then
    echo "demo: the write was not refused" >&2
    exit 1
  fi
done

say "5. A change is a plan first. This one needs a colleague's approval, and the instance's name typed"
show availability set zonal -e prod main --plan

say "6. Staging needs only a yes; what was done is signed, and can be verified"
show protect -e staging main --yes
show unprotect -e staging main --yes
show audit list --target staging/main --limit 4
show audit verify

say "7. The credentials of containers are rotated while they work: no query fails"
show creds rotate -e staging shop-reporting billing-invoicing --yes --grace 1s --soak 1s
show creds list -e staging
"$dbops" sandbox containers

say "8. Errors say what to do next"
printf '$ dbops status -e prdo\n'
"$dbops" status -e prdo || true

cat <<'TXT'

What to try next (the sandbox stays up; "./dbops sandbox down" stops it):

  eval "$(./dbops sandbox env)"             point this shell at the sandbox
  ./dbops                                   the terminal UI
  ./dbops proxy -e prod                     URIs for psql, pgbench, DBeaver, Metabase ...
  ./dbops psql -e staging shop --access write
  ./dbops sandbox fault throttle --service rds --count 3 && ./dbops status
  ./dbops creds audit -e staging            who can log in, and what is wrong with that
  ./dbops certs check --within 30d
  ./dbops backup drill -e staging main      prove that a restore works, and measure it
  ./dbops availability set zonal -e prod main --plan --out plan.json
  (eval "$(./dbops sandbox env --as alice)"; ./dbops approvals approve plan.json); ./dbops apply plan.json
  docs/                                     a page for each task
TXT
cleanup
proxy=

if [ -t 0 ] && [ -t 1 ]; then
  printf '\nPress enter for the terminal UI (q leaves it). '
  read -r _ || exit 0
  exec "$dbops"
fi
