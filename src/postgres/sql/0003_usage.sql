-- Usage records: one for each session that has ended.
--
-- A record is inserted by the function call that ends its session, so both are committed or neither is.
--
-- `position` orders the records for readers that continue where they stopped. It is the number of the
-- transaction that inserted the record: each call ends at most one session. Transactions commit out of order,
-- so that a record may become visible after one with a higher position. `read_usage` therefore returns only
-- records below the oldest transaction in progress: no record can be added below them any more. Records of
-- another ledger have negative positions, in their order.
CREATE TABLE {schema}.usage_record (
    position bigint PRIMARY KEY,
    session uuid NOT NULL UNIQUE,
    recorded_at bigint NOT NULL,
    body bytea NOT NULL
);
CREATE INDEX usage_record_recorded_at ON {schema}.usage_record (recorded_at);

-- The unique session makes the repetition of a call whose answer was lost harmless.
CREATE FUNCTION {schema}.record_usage(p_session uuid, p_at bigint, p_body bytea) RETURNS void
LANGUAGE sql VOLATILE AS $$
    INSERT INTO {schema}.usage_record (position, session, recorded_at, body)
        VALUES (pg_current_xact_id()::text::bigint, p_session, p_at, p_body)
        ON CONFLICT (session) DO NOTHING
$$;

-- `replace` by a generation that ends the session, with its usage record.
CREATE FUNCTION {schema}.replace_and_end(
    p_id uuid, p_generation bigint, p_change bigint, p_state smallint, p_holds_until bigint, p_due bigint,
    p_operator_session uuid, p_record bytea,
    p_reply uuid, p_reply_response bytea, p_reply_remove boolean,
    p_notify_after smallint[], p_event uuid, p_body bytea, p_owner uuid, p_queued_max integer,
    p_usage bytea
) RETURNS TABLE (outcome smallint, at bigint, notified smallint, early_event bytea)
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    SELECT r.outcome, r.at, r.notified, r.early_event INTO outcome, at, notified, early_event
        FROM {schema}.replace(p_id, p_generation, p_change, p_state, p_holds_until, p_due, p_operator_session,
            p_record, p_reply, p_reply_response, p_reply_remove, p_notify_after, p_event, p_body, p_owner,
            p_queued_max) r;
    IF outcome = 0 THEN
        PERFORM {schema}.record_usage(p_id, at, p_usage);
    END IF;
    RETURN NEXT;
END
$$;

-- `remove` of a session that ends by it, with its usage record.
CREATE FUNCTION {schema}.remove_and_end(
    p_id uuid, p_generation bigint, p_day integer, p_reply uuid, p_event uuid, p_body bytea, p_owner uuid,
    p_queued_max integer, p_usage bytea
) RETURNS TABLE (outcome smallint, at bigint, notified smallint)
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    SELECT r.outcome, r.at, r.notified INTO outcome, at, notified
        FROM {schema}.remove(p_id, p_generation, p_day, p_reply, p_event, p_body, p_owner, p_queued_max) r;
    IF outcome = 0 THEN
        PERFORM {schema}.record_usage(p_id, at, p_usage);
    END IF;
    RETURN NEXT;
END
$$;

-- The records after a position, which were made from `p_from` until before `p_to`, at most `p_max`.
--
-- The bounds of positions save the scan of records outside the period. A transaction gets its number when it
-- changes its first row, and ends within ten minutes: so a record that was made ten minutes before another has
-- a lower position.
CREATE FUNCTION {schema}.read_usage(p_after bigint, p_from bigint, p_to bigint, p_max integer)
RETURNS TABLE (number bigint, session uuid, at bigint, body bytea)
LANGUAGE sql VOLATILE
SET enable_seqscan = off SET jit = off
AS $$
    SELECT u.position, u.session, u.recorded_at, u.body FROM {schema}.usage_record u
    WHERE u.position > p_after
        AND u.position < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
        AND u.position >= coalesce((SELECT b.position FROM {schema}.usage_record b
            WHERE b.recorded_at < p_from - 600000 ORDER BY b.recorded_at DESC LIMIT 1), u.position)
        AND u.position <= coalesce((SELECT e.position FROM {schema}.usage_record e
            WHERE e.recorded_at >= p_to + 600000 AND e.position >= 0 ORDER BY e.recorded_at LIMIT 1), u.position)
        AND u.recorded_at >= p_from AND u.recorded_at < p_to
    ORDER BY u.position LIMIT p_max
$$;

-- Removes records that were made before a time, the oldest first. Returns their number.
CREATE FUNCTION {schema}.prune_usage(p_before bigint, p_max integer) RETURNS integer
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_count integer;
BEGIN
    DELETE FROM {schema}.usage_record u WHERE u.position IN (
        SELECT o.position FROM {schema}.usage_record o WHERE o.recorded_at < p_before
        ORDER BY o.recorded_at LIMIT p_max FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END
$$;
