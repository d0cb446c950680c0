SELECT 'server', name FROM pg_settings
WHERE source IN ('configuration file', 'command line', 'environment variable') AND name !~ '^(rds|cloudsql|google|apg|aurora)'
