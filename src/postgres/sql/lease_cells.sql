SELECT l.number, l.granted, l.retry_ns, l.replicas FROM {schema}.lease_cells($1, $2, $3, $4, $5) l
