-- The migrations that were applied, in order.
SELECT number, name, checksum, compatible_from FROM {schema}.schema_version ORDER BY number
