SELECT {schema}.prune_buckets($1, $2)
