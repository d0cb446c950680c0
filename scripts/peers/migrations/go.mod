// Modules whose folders of migrations judge dbops migrate: see scripts/peers.sh. Nothing is built from them.
module peers/migrations

go 1.26.0

require (
	github.com/ory/hydra/v2 v2.3.0
	github.com/ory/kratos v1.3.1
	github.com/riverqueue/river/riverdriver/riverdatabasesql v0.51.2
)
