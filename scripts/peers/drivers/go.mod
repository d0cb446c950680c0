// Modules of PostgreSQL drivers whose own tests judge the proxy: see internal/proxy/drivers_test.go. Nothing of dbops imports them.
module peers/drivers

go 1.26.0

require (
	github.com/jackc/pgx/v5 v5.12.0
	github.com/lib/pq v1.12.3
)
