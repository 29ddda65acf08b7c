SELECT u.first_use FROM {schema}.use_proofs($1, $2, $3, $4) u
