-- A row if the schema exists.
SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1
