-- The migrations that were applied to the schema. The runner creates this table before the first one.
CREATE TABLE IF NOT EXISTS {schema}.schema_version (
    number integer PRIMARY KEY,
    name text NOT NULL,
    -- SHA-256 of the file of the migration.
    checksum bytea NOT NULL,
    -- The lowest version of the schema whose release can use this one.
    compatible_from integer NOT NULL,
    -- Milliseconds since the Unix epoch.
    applied_at bigint NOT NULL
);
