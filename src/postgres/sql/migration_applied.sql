-- Records that a migration was applied.
INSERT INTO {schema}.schema_version (number, name, checksum, compatible_from, applied_at)
VALUES ($1, $2, $3, $4, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)
