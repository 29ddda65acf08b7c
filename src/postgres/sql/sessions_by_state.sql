-- The number of sessions in each state.
SELECT state, count(*) FROM {schema}.session GROUP BY state ORDER BY state
