-- The server as this connection sees it: version, durability of commits, standbys, size of the schema.
SELECT
    -- Without the name of the distribution.
    split_part(current_setting('server_version'), ' ', 1),
    current_setting('server_version_num')::integer,
    current_setting('synchronous_commit'),
    current_setting('synchronous_standby_names') <> '',
    (SELECT count(*) FROM pg_stat_replication),
    -- Null if this user may not see it.
    CASE WHEN pg_has_role('pg_read_all_stats', 'USAGE') THEN
        (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum'))
    END,
    (SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = $1 AND c.relkind IN ('r', 'm'))
