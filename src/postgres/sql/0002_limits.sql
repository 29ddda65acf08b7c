-- Rate limits and used proofs of possession, which all replicas share.
--
-- As in `0001_ledger.sql`, times are those of the database, keys are keyed hashes, and each function is called
-- as one statement. Both functions lock rows in the order of their keys.

-- The buckets of the rate limits of clients, devices and operators (generic cell rate algorithm). Replicas
-- lease cells of a bucket in blocks. The table is not logged: after a crash, and on a standby that was
-- promoted, all buckets are full.
CREATE UNLOGGED TABLE {schema}.limit_bucket (
    key bigint PRIMARY KEY,
    -- When the bucket is full again without further leases, in nanoseconds since the epoch: the "theoretical
    -- arrival time".
    arrival bigint NOT NULL,
    -- Cells that replicas may still use: those leased in the last lease window, and in the one before. The
    -- length of a window is the lifetime of a lease, so older leases have ended.
    lease_window bigint NOT NULL,
    held bigint NOT NULL,
    held_before bigint NOT NULL,
    -- From then on the row equals that of a full bucket, in nanoseconds.
    full_at bigint NOT NULL
) WITH (fillfactor = 50);

-- Leases cells of several buckets. Each bucket is given by its key, the number of cells wanted, the interval of
-- one cell, its size (interval times burst), and the lifetime of the lease.
--
-- number: the position of the bucket in the call, from 1. granted: the number of cells. retry_ns: when the next cell is there, if fewer were granted than wanted.
-- replicas: the number of replicas that are alive.
--
-- A cell may be used at any time until its lease ends, and the limit must hold whenever it is used. So cells
-- that may still be used take up room in the bucket: they count as in the bucket *and* as taken. Without that, the
-- bucket would fill up while the cells are unused, and then more than the burst could be used at once.
--
-- A call whose answer is lost, and its repetition, lease different cells. Those of the first are never used.
CREATE FUNCTION {schema}.lease_cells(
    p_keys bigint[], p_wanted integer[], p_interval_ns bigint[], p_size_ns bigint[], p_lease_ms bigint[]
) RETURNS TABLE (number bigint, granted integer, retry_ns bigint, replicas integer)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_replicas integer;
    v_request record;
    v_bucket {schema}.limit_bucket;
    v_now_ms bigint;
    v_now bigint;
    v_window bigint;
    v_lease_ns bigint;
    v_arrival bigint;
    v_granted integer;
    v_held bigint;
BEGIN
    v_now_ms := {schema}.ledger_now();
    SELECT count(*) INTO v_replicas FROM {schema}.replica r WHERE r.lease_until > v_now_ms;
    FOR v_request IN
        SELECT * FROM unnest(p_keys, p_wanted, p_interval_ns, p_size_ns, p_lease_ms)
            WITH ORDINALITY AS u (key, wanted, interval_ns, size_ns, lease_ms, number)
        ORDER BY u.key
    LOOP
        SELECT * INTO v_bucket FROM {schema}.limit_bucket b WHERE b.key = v_request.key FOR UPDATE;
        IF NOT FOUND THEN
            INSERT INTO {schema}.limit_bucket AS b (key, arrival, lease_window, held, held_before, full_at)
                VALUES (v_request.key, 0, 0, 0, 0, 0)
                ON CONFLICT (key) DO UPDATE SET arrival = b.arrival
                RETURNING b.* INTO v_bucket;
        END IF;
        -- Read again: the lock may have been waited for.
        v_now_ms := {schema}.ledger_now();
        v_now := v_now_ms * 1000000;
        v_window := v_now_ms / v_request.lease_ms;
        v_lease_ns := v_request.lease_ms * 1000000;
        -- The clock was set back: an arrival may not be further away than a full bucket, nor a window ahead.
        v_arrival := least(v_bucket.arrival, v_now + v_request.size_ns);
        v_bucket.lease_window := least(v_bucket.lease_window, v_window);
        -- The room that unused cells took up until their leases ended, or take up now.
        v_arrival := greatest(v_arrival, v_now,
            least(v_now, (v_bucket.lease_window + 1) * v_lease_ns)
                + (v_bucket.held + v_bucket.held_before) * v_request.interval_ns,
            least(v_now, (v_bucket.lease_window + 2) * v_lease_ns) + v_bucket.held * v_request.interval_ns);
        v_granted := least(v_request.wanted,
            greatest((v_now + v_request.size_ns - v_arrival) / v_request.interval_ns, 0));
        v_arrival := v_arrival + v_granted * v_request.interval_ns;
        IF v_granted > 0 THEN
            v_held := v_granted + CASE WHEN v_bucket.lease_window = v_window THEN v_bucket.held ELSE 0 END;
            UPDATE {schema}.limit_bucket b SET
                arrival = v_arrival,
                lease_window = v_window,
                held = v_held,
                held_before = CASE v_window - v_bucket.lease_window
                    WHEN 0 THEN v_bucket.held_before WHEN 1 THEN v_bucket.held ELSE 0 END,
                full_at = greatest(v_arrival, (v_window + 2) * v_lease_ns + v_held * v_request.interval_ns)
                WHERE b.key = v_request.key;
        END IF;
        RETURN QUERY SELECT v_request.number, v_granted,
            CASE WHEN v_granted < v_request.wanted
                THEN greatest(v_arrival + v_request.interval_ns - v_request.size_ns - v_now, 0) ELSE 0 END,
            v_replicas;
    END LOOP;
END
$$;

-- Removes the rows of full buckets among the next p_max rows after a key. Returns the last of these keys; null if
-- there are no further rows.
CREATE FUNCTION {schema}.prune_buckets(p_after bigint, p_max integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_now bigint := {schema}.ledger_now() * 1000000;
    v_last bigint;
BEGIN
    SELECT max(e.key) INTO v_last FROM (
        SELECT b.key FROM {schema}.limit_bucket b WHERE b.key > p_after ORDER BY b.key LIMIT p_max) e;
    DELETE FROM {schema}.limit_bucket b WHERE b.key IN (
        SELECT e.key FROM {schema}.limit_bucket e
        WHERE e.key > p_after AND e.key <= v_last AND e.full_at < v_now FOR UPDATE SKIP LOCKED);
    RETURN v_last;
END
$$;

-- The proofs of possession that were used. Each may be used once.
CREATE TABLE {schema}.used_proof (
    proof uuid PRIMARY KEY,
    -- The check that used it, so that a repeated statement is not a second use.
    used_by uuid NOT NULL,
    -- From then on the proof itself is not valid.
    expires_at bigint NOT NULL
);
CREATE INDEX used_proof_expires_at ON {schema}.used_proof (expires_at);

-- Records several uses of proofs. Returns the checks (`used_by`) whose proof was not used before. A proof is
-- remembered for p_kept_ms. Removes up to p_expired_max proofs that have expired.
CREATE FUNCTION {schema}.use_proofs(
    p_proofs uuid[], p_used_by uuid[], p_kept_ms bigint[], p_expired_max integer
) RETURNS TABLE (first_use uuid)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_now bigint := {schema}.ledger_now();
BEGIN
    -- A repeated use by the same check writes the row again, so that its commit waits for the standby, too.
    RETURN QUERY
        INSERT INTO {schema}.used_proof AS p (proof, used_by, expires_at)
            SELECT DISTINCT ON (u.proof) u.proof, u.used_by, v_now + u.kept_ms
            FROM unnest(p_proofs, p_used_by, p_kept_ms) AS u (proof, used_by, kept_ms) ORDER BY u.proof
            ON CONFLICT (proof) DO UPDATE SET used_by = excluded.used_by, expires_at = excluded.expires_at
            WHERE p.used_by = excluded.used_by OR p.expires_at < v_now
            RETURNING p.used_by;
    DELETE FROM {schema}.used_proof p WHERE p.proof IN (
        SELECT e.proof FROM {schema}.used_proof e WHERE e.expires_at < v_now
        ORDER BY e.expires_at LIMIT p_expired_max FOR UPDATE SKIP LOCKED);
END
$$;
