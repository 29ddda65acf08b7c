-- The ledger: sessions, the keys by which their holds are found, quotas, idempotency records and the outbox.
--
-- Times are milliseconds since the Unix epoch by the clock of the database. `bigint` and `uuid` keys are
-- keyed hashes, `bytea` columns are sealed by the gateway: nothing in these tables is readable without its key.
--
-- Each function is called as one statement in autocommit mode, and may be called again with the same
-- parameters if its answer was lost. All functions acquire locks in this order, so that none of them can
-- wait for each other in a circle:
--   advisory locks (sorted) < rows of `session` (sorted) < `client_holds` (sorted) < `client_day` < `reply`
--   < `notification_queue` (sorted) < `notification`.
-- `reserve` acquires advisory locks and no row of `session` that exists; only `reserve` acquires advisory
-- locks. Periodic work skips locked rows.

-- The time of the ledger.
CREATE FUNCTION {schema}.ledger_now() RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN (extract(epoch FROM clock_timestamp()) * 1000)::bigint;

-- Values that describe the ledger: `hash_secret`, the secret that hashes names, sealed; `ledger`, a random id.
CREATE TABLE {schema}.setting (
    name text PRIMARY KEY,
    value bytea NOT NULL
);

-- The operators that have or had sessions.
CREATE TABLE {schema}.operator (
    operator bigint PRIMARY KEY,
    name bytea NOT NULL
);

CREATE TABLE {schema}.session (
    id uuid PRIMARY KEY,
    -- The number of changes, for compare-and-set.
    generation bigint NOT NULL,
    -- Identify the last changes, so that their repetition is recognized.
    changes bigint[] NOT NULL,
    state smallint NOT NULL,
    operator bigint NOT NULL,
    client bigint NOT NULL,
    -- The part of `client_holds` that counts the hold.
    part smallint NOT NULL,
    -- The end of the hold; null if the flow is not held.
    holds_until bigint,
    -- When the sweep examines the session.
    due bigint NOT NULL,
    -- The hash of the operator and its id of the session.
    operator_session uuid,
    -- The operator's id of the session, from an event that arrived before the answer to the create.
    early_event bytea,
    -- The rows of `hold_key` while the flow is held.
    keys bigint[] NOT NULL,
    -- The device and the flow, for the conflict rule.
    claim bytea NOT NULL,
    record bytea NOT NULL
);
CREATE INDEX session_due ON {schema}.session (due);
CREATE INDEX session_holds_until ON {schema}.session (holds_until) WHERE holds_until IS NOT NULL;
CREATE UNIQUE INDEX session_operator_session ON {schema}.session (operator_session)
    WHERE operator_session IS NOT NULL;

-- The keys of the devices whose flows are held.
CREATE TABLE {schema}.hold_key (
    key bigint NOT NULL,
    client bigint NOT NULL,
    session uuid NOT NULL,
    PRIMARY KEY (key, client, session)
);

-- The kinds of identifiers that devices of an operator have. Devices without a common kind cannot be
-- compared.
CREATE TABLE {schema}.operator_kinds (
    operator bigint NOT NULL,
    kinds smallint NOT NULL,
    -- The key of the holds of such devices.
    key bigint NOT NULL,
    PRIMARY KEY (operator, kinds)
);

-- The number of sessions of each client that hold a flow, in 16 parts, so that the creates of one client do not
-- wait for each other's commit. Each part has its share of the quota, so that the sum is exact.
CREATE TABLE {schema}.client_holds (
    client bigint NOT NULL,
    part smallint NOT NULL,
    live bigint NOT NULL,
    PRIMARY KEY (client, part)
) WITH (fillfactor = 20);

-- The number of creates of each client in its last UTC day.
CREATE TABLE {schema}.client_day (
    client bigint PRIMARY KEY,
    day integer NOT NULL,
    creates bigint NOT NULL
) WITH (fillfactor = 20);

-- The outcomes of creates with an `Idempotency-Key`.
CREATE TABLE {schema}.reply (
    key uuid PRIMARY KEY,
    digest bytea NOT NULL,
    session uuid NOT NULL,
    expires_at bigint NOT NULL,
    -- What the response says of the session; null until the outcome is known.
    response bytea
);
CREATE INDEX reply_expires_at ON {schema}.reply (expires_at);

-- The replicas. A replica owns its queues of notifications until its lease ends. The nil id is that of commands
-- for administration: it never has a lease.
CREATE TABLE {schema}.replica (
    id uuid PRIMARY KEY,
    host text NOT NULL,
    version text NOT NULL,
    policy_version text NOT NULL,
    started_at bigint NOT NULL,
    seen_at bigint NOT NULL,
    lease_until bigint NOT NULL
) WITH (fillfactor = 20);

CREATE SEQUENCE {schema}.notification_number;

-- Queued notifications to clients.
CREATE TABLE {schema}.notification (
    number bigint PRIMARY KEY,
    event uuid NOT NULL,
    session uuid NOT NULL,
    client bigint NOT NULL,
    body bytea NOT NULL
);
CREATE INDEX notification_session ON {schema}.notification (session, number);
CREATE INDEX notification_client ON {schema}.notification (client);

-- The sessions that have queued notifications, and the replica that delivers them.
CREATE TABLE {schema}.notification_queue (
    session uuid PRIMARY KEY,
    owner uuid NOT NULL,
    -- The number of the last notification.
    last bigint NOT NULL,
    -- The number of the last notification that the owner has read.
    given bigint NOT NULL,
    -- An administrator asked the owner to retry at once.
    retry boolean NOT NULL DEFAULT false
);
CREATE INDEX notification_queue_owner ON {schema}.notification_queue (owner);
CREATE INDEX notification_queue_new ON {schema}.notification_queue (owner)
    WHERE last > given OR retry;

-- Tables whose rows live for minutes are vacuumed often.
ALTER TABLE {schema}.session SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE {schema}.hold_key SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE {schema}.notification SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE {schema}.notification_queue SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

-- Counts a hold of a client in any part that has room. Returns the part; null if there is none.
-- With `p_wait`, it waits for parts that are locked. Else it skips them, and may lock parts that have just been
-- filled: then nothing may wait for another part in the same transaction.
CREATE FUNCTION {schema}.count_hold(p_client bigint, p_max bigint, p_wait boolean) RETURNS smallint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_part smallint;
BEGIN
    IF p_wait THEN
        FOR i IN 0 .. 15 LOOP
            UPDATE {schema}.client_holds c SET live = c.live + 1
                WHERE c.client = p_client AND c.part = i AND c.live < p_max / 16 + (c.part < p_max % 16)::integer;
            IF FOUND THEN
                RETURN i;
            END IF;
        END LOOP;
    ELSE
        UPDATE {schema}.client_holds c SET live = c.live + 1
            WHERE c.client = p_client AND c.part = (
                SELECT f.part FROM {schema}.client_holds f
                WHERE f.client = p_client AND f.live < p_max / 16 + (f.part < p_max % 16)::integer
                LIMIT 1 FOR UPDATE SKIP LOCKED)
            RETURNING c.part INTO v_part;
    END IF;
    RETURN v_part;
END
$$;

-- Inserts a session, unless a check rejects it. The gateway decides about conflicts: if sessions with a
-- common key exist that it has not compared yet (`p_compared`), they are returned and nothing is changed.
-- Both sessions of a conflict have a lock in common, and the statements after the locks have a snapshot that
-- is taken after them. So of two conflicting sessions one sees the other.
--
-- outcome: 0 inserted; 1 candidates to compare; 2 replayed; 3 idempotency key reused; 4 request in progress;
-- 5 daily quota; 6 quota of concurrent sessions; 7 the device is too broad; 8 `p_requested_at` is outdated;
-- 9 the rest of the quota is locked: the call must be repeated with `p_wait`.
-- The first row has the outcome; further rows have candidates. With outcome 0, they are sessions whose
-- device may be the same, and the first row has the record if an earlier call has inserted it.
--
-- The function executes as few statements as possible: each costs several microseconds. It never scans a table, and
-- never reads all rows of a key to return a few: a plan may be as old as its connection, and come from a time when
-- the tables were nearly empty. Disabled plans have a high cost, for which `jit` would compile them.
CREATE FUNCTION {schema}.reserve(
    p_id uuid, p_change bigint, p_state smallint, p_operator bigint, p_client bigint,
    p_requested_at bigint, p_holds_until bigint, p_due bigint,
    p_locks bigint[], p_locks_shared boolean[],
    p_keys bigint[],
    p_find bigint[], p_find_max integer,
    p_public bigint, p_kinds smallint, p_kinds_key bigint, p_ambiguous_max integer, p_refuse boolean,
    p_compared uuid[],
    p_too_broad boolean, p_sessions_max bigint, p_wait boolean, p_creates_per_day bigint,
    p_reply uuid, p_digest bytea, p_reply_expires_at bigint,
    p_claim bytea, p_record bytea
) RETURNS TABLE (outcome smallint, at bigint, session uuid, moment bigint, body bytea)
LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    v_day integer := p_requested_at / 86400000;
    v_count bigint;
    v_reply {schema}.reply;
    v_ambiguous bigint[];
    v_kinds_known boolean;
    v_part smallint := floor(random() * 16);
BEGIN
    FOR i IN 1 .. cardinality(p_locks) LOOP
        IF p_locks_shared[i] THEN
            PERFORM pg_advisory_xact_lock_shared(p_locks[i]);
        ELSE
            PERFORM pg_advisory_xact_lock(p_locks[i]);
        END IF;
    END LOOP;
    at := {schema}.ledger_now();
    session := p_id;
    outcome := 0;
    -- The answer to an earlier call was lost. That call has ended, because it had the lock of the session's
    -- id. The update makes this call wait until the earlier one is replicated, too.
    UPDATE {schema}.session s SET changes = s.changes WHERE s.id = p_id RETURNING s.record INTO body;
    IF FOUND THEN
        RETURN NEXT;
        RETURN;
    END IF;
    IF p_requested_at < at - 2000 THEN
        outcome := 8;
        RETURN NEXT;
        RETURN;
    END IF;

    IF p_reply IS NOT NULL THEN
        SELECT * INTO v_reply FROM {schema}.reply r WHERE r.key = p_reply AND r.expires_at > at;
        IF FOUND THEN
            outcome := CASE WHEN v_reply.digest <> p_digest THEN 3 WHEN v_reply.response IS NULL THEN 4 ELSE 2 END;
            session := v_reply.session;
            moment := v_reply.expires_at;
            body := v_reply.response;
            RETURN NEXT;
            RETURN;
        END IF;
    END IF;
    IF p_creates_per_day IS NOT NULL THEN
        SELECT d.creates INTO v_count FROM {schema}.client_day d WHERE d.client = p_client AND d.day >= v_day;
        IF coalesce(v_count, 0) >= p_creates_per_day THEN
            outcome := 5;
            RETURN NEXT;
            RETURN;
        END IF;
    END IF;
    SELECT sum(c.live) INTO v_count FROM {schema}.client_holds c WHERE c.client = p_client;
    IF coalesce(v_count, 0) >= p_sessions_max THEN
        outcome := 6;
        RETURN NEXT;
        RETURN;
    END IF;
    IF p_too_broad THEN
        outcome := 7;
        RETURN NEXT;
        RETURN;
    END IF;

    IF EXISTS (SELECT FROM {schema}.hold_key h WHERE h.key = ANY (p_find)) THEN
        FOR i IN 1 .. cardinality(p_find) LOOP
            RETURN QUERY
                SELECT 1::smallint, at, s.id, s.holds_until, s.claim
                FROM {schema}.hold_key h JOIN {schema}.session s ON s.id = h.session
                WHERE h.key = p_find[i] AND s.operator = p_operator AND NOT (h.session = ANY (p_compared))
                LIMIT p_find_max;
            outcome := CASE WHEN FOUND THEN 1 ELSE outcome END;
        END LOOP;
    END IF;
    -- The keys of sessions whose devices may be the same: those of devices without a common kind of identifier,
    -- and of the same public address without a common permanent kind (bits 0 to 3; bit 4 is the address).
    SELECT array_agg(CASE WHEN k.kinds & p_kinds = 0 THEN k.key ELSE p_public | (k.kinds & 15) END)
            FILTER (WHERE k.kinds & p_kinds = 0 OR k.kinds & p_kinds & 31 = 16),
        bool_or(k.kinds = p_kinds)
        INTO v_ambiguous, v_kinds_known
        FROM {schema}.operator_kinds k WHERE k.operator = p_operator;
    IF p_refuse AND outcome = 0 AND v_ambiguous IS NOT NULL THEN
        RETURN QUERY
            SELECT 1::smallint, at, s.id, s.holds_until, s.claim
            FROM (SELECT DISTINCT unnest(v_ambiguous)) AS k (key),
                LATERAL (SELECT h.session FROM {schema}.hold_key h
                    WHERE h.key = k.key AND NOT (h.session = ANY (p_compared)) LIMIT p_ambiguous_max) h
                JOIN {schema}.session s ON s.id = h.session
            LIMIT p_ambiguous_max;
        outcome := CASE WHEN FOUND THEN 1 ELSE 0 END;
    END IF;
    IF outcome = 1 THEN
        RETURN;
    END IF;

    IF v_count IS NULL THEN
        INSERT INTO {schema}.client_holds (client, part, live) SELECT p_client, i, 0 FROM generate_series(0, 15) i
            ON CONFLICT DO NOTHING;
    END IF;
    IF p_wait THEN
        v_part := {schema}.count_hold(p_client, p_sessions_max, true);
    ELSE
        -- Usually the part is not locked and has room.
        UPDATE {schema}.client_holds c SET live = c.live + 1
            WHERE c.client = p_client AND c.part = (
                SELECT f.part FROM {schema}.client_holds f
                WHERE f.client = p_client AND f.part = v_part
                    AND f.live < p_sessions_max / 16 + (f.part < p_sessions_max % 16)::integer
                FOR UPDATE SKIP LOCKED);
        IF NOT FOUND THEN
            v_part := {schema}.count_hold(p_client, p_sessions_max, false);
        END IF;
    END IF;
    IF v_part IS NULL THEN
        PERFORM FROM {schema}.client_holds c
            WHERE NOT p_wait AND c.client = p_client
                AND c.live < p_sessions_max / 16 + (c.part < p_sessions_max % 16)::integer;
        outcome := CASE WHEN FOUND THEN 9 ELSE 6 END;
        RETURN NEXT;
        RETURN;
    END IF;
    IF p_creates_per_day IS NOT NULL THEN
        INSERT INTO {schema}.client_day AS d (client, day, creates) VALUES (p_client, v_day, 1)
            ON CONFLICT (client) DO UPDATE
            -- A create of yesterday that is late counts today.
            SET day = greatest(d.day, v_day), creates = CASE WHEN d.day >= v_day THEN d.creates + 1 ELSE 1 END
            WHERE d.day < v_day OR d.creates < p_creates_per_day;
        IF NOT FOUND THEN
            -- Another create has used the last one since the check.
            UPDATE {schema}.client_holds c SET live = c.live - 1 WHERE c.client = p_client AND c.part = v_part;
            outcome := 5;
            RETURN NEXT;
            RETURN;
        END IF;
    END IF;
    IF p_reply IS NOT NULL THEN
        INSERT INTO {schema}.reply AS r (key, digest, session, expires_at)
            VALUES (p_reply, p_digest, p_id, p_reply_expires_at)
            ON CONFLICT (key) DO UPDATE
            SET digest = p_digest, session = p_id, expires_at = p_reply_expires_at, response = NULL;
    END IF;
    IF v_kinds_known IS NOT TRUE THEN
        INSERT INTO {schema}.operator_kinds (operator, kinds, key) VALUES (p_operator, p_kinds, p_kinds_key)
            ON CONFLICT DO NOTHING;
    END IF;
    INSERT INTO {schema}.session
        (id, generation, changes, state, operator, client, part, holds_until, due, keys, claim, record)
        VALUES (p_id, 0, ARRAY[p_change], p_state, p_operator, p_client, v_part, p_holds_until, p_due, p_keys, p_claim, p_record);
    INSERT INTO {schema}.hold_key (key, client, session) SELECT unnest(p_keys), p_client, p_id;
    RETURN NEXT;
    IF NOT p_refuse AND v_ambiguous IS NOT NULL THEN
        RETURN QUERY
            SELECT 0::smallint, at, s.id, s.holds_until, s.claim
            FROM (SELECT DISTINCT unnest(v_ambiguous)) AS k (key),
                LATERAL (SELECT h.session FROM {schema}.hold_key h
                    WHERE h.key = k.key AND h.session <> p_id LIMIT p_ambiguous_max) h
                JOIN {schema}.session s ON s.id = h.session
            LIMIT p_ambiguous_max;
    END IF;
END
$$;

-- Removes the keys of a hold that has ended, and one live session of its client.
CREATE FUNCTION {schema}.unlink(p_id uuid, p_client bigint, p_part smallint, p_keys bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    DELETE FROM {schema}.hold_key h WHERE h.key = ANY (p_keys) AND h.client = p_client AND h.session = p_id;
    UPDATE {schema}.client_holds c SET live = c.live - 1 WHERE c.client = p_client AND c.part = p_part;
END
$$;

-- Ends holds that have expired: those of these sessions, or else of any.
CREATE FUNCTION {schema}.expire_holds(p_ids uuid[], p_max integer) RETURNS integer
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_now bigint := {schema}.ledger_now();
    v_ids uuid[];
    v_row record;
    v_count integer := 0;
BEGIN
    IF p_ids IS NULL THEN
        SELECT array_agg(e.id) INTO v_ids FROM (
            SELECT s.id FROM {schema}.session s
            WHERE s.holds_until <= v_now ORDER BY s.holds_until LIMIT p_max FOR UPDATE SKIP LOCKED) e;
    ELSE
        SELECT array_agg(e.id) INTO v_ids FROM (
            SELECT s.id FROM {schema}.session s
            WHERE s.id = ANY (p_ids) AND s.holds_until <= v_now ORDER BY s.id FOR UPDATE) e;
    END IF;
    IF v_ids IS NULL THEN
        RETURN 0;
    END IF;
    FOR v_row IN
        SELECT s.id, s.client, s.part, s.keys FROM {schema}.session s
        WHERE s.id = ANY (v_ids) AND s.holds_until <= v_now ORDER BY s.client, s.part
    LOOP
        UPDATE {schema}.session s SET holds_until = NULL WHERE s.id = v_row.id;
        PERFORM {schema}.unlink(v_row.id, v_row.client, v_row.part, v_row.keys);
        v_count := v_count + 1;
    END LOOP;
    RETURN v_count;
END
$$;

-- Queues a notification. Returns false if it is dropped, because its client has too many.
CREATE FUNCTION {schema}.enqueue(
    p_session uuid, p_client bigint, p_event uuid, p_body bytea, p_owner uuid, p_queued_max integer
) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_number bigint;
BEGIN
    PERFORM FROM {schema}.notification n WHERE n.client = p_client OFFSET p_queued_max - 1 LIMIT 1;
    IF FOUND THEN
        RETURN false;
    END IF;
    v_number := nextval('{schema}.notification_number');
    INSERT INTO {schema}.notification (number, event, session, client, body)
        VALUES (v_number, p_event, p_session, p_client, p_body);
    INSERT INTO {schema}.notification_queue AS q (session, owner, last, given)
        VALUES (p_session, p_owner, v_number, 0)
        ON CONFLICT (session) DO UPDATE SET last = v_number;
    RETURN true;
END
$$;

-- Replaces a session by its next generation.
--
-- outcome: 0 replaced; 1 there is no such session; 2 another change was first, or the hold has expired.
-- notified: 0 nothing to notify; 1 queued; 2 dropped. An operator's session id that is in use violates the
-- index session_operator_session.
CREATE FUNCTION {schema}.replace(
    p_id uuid, p_generation bigint, p_change bigint, p_state smallint, p_holds_until bigint, p_due bigint,
    p_operator_session uuid, p_record bytea,
    p_reply uuid, p_reply_response bytea, p_reply_remove boolean,
    p_notify_after smallint[], p_event uuid, p_body bytea, p_owner uuid, p_queued_max integer
) RETURNS TABLE (outcome smallint, at bigint, notified smallint, early_event bytea)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_before record;
    v_found {schema}.session;
BEGIN
    at := {schema}.ledger_now();
    outcome := 0;
    notified := 0;
    LOOP
        -- `b` is the row as the statement found it. If another change of the state or of the hold comes in
        -- between, the rows differ, and nothing is updated.
        UPDATE {schema}.session s
            SET generation = p_generation, changes = (p_change || s.changes)[1:4], state = p_state,
                holds_until = p_holds_until, due = p_due,
                operator_session = coalesce(s.operator_session, p_operator_session), record = p_record
            FROM {schema}.session b
            WHERE s.id = p_id AND s.generation = p_generation - 1
                AND (s.holds_until IS NOT NULL OR p_holds_until IS NULL)
                AND b.id = p_id AND b.generation = s.generation AND b.holds_until IS NOT DISTINCT FROM s.holds_until
            RETURNING b.state, b.holds_until, s.client, s.part, s.keys, s.early_event INTO v_before;
        EXIT WHEN FOUND;
        SELECT * INTO v_found FROM {schema}.session s WHERE s.id = p_id FOR UPDATE;
        IF NOT FOUND THEN
            outcome := 1;
            RETURN NEXT;
            RETURN;
        END IF;
        IF p_change = ANY (v_found.changes) THEN
            -- The answer to an earlier call was lost; see `reserve`.
            UPDATE {schema}.session s SET changes = s.changes WHERE s.id = p_id;
            early_event := v_found.early_event;
            RETURN NEXT;
            RETURN;
        END IF;
        IF v_found.generation <> p_generation - 1 OR (v_found.holds_until IS NULL AND p_holds_until IS NOT NULL) THEN
            outcome := 2;
            RETURN NEXT;
            RETURN;
        END IF;
        -- Now the row is locked, so that the update succeeds.
    END LOOP;
    early_event := v_before.early_event;
    IF v_before.holds_until IS NOT NULL AND p_holds_until IS NULL THEN
        PERFORM {schema}.unlink(p_id, v_before.client, v_before.part, v_before.keys);
    END IF;
    IF p_reply_remove THEN
        DELETE FROM {schema}.reply r WHERE r.key = p_reply AND r.session = p_id AND r.response IS NULL;
    ELSIF p_reply_response IS NOT NULL THEN
        UPDATE {schema}.reply r SET response = p_reply_response
            WHERE r.key = p_reply AND r.session = p_id AND r.response IS NULL;
    END IF;
    IF p_body IS NOT NULL AND v_before.state = ANY (p_notify_after) THEN
        notified := CASE
            WHEN {schema}.enqueue(p_id, v_before.client, p_event, p_body, p_owner, p_queued_max) THEN 1 ELSE 2 END;
    END IF;
    RETURN NEXT;
END
$$;

-- Removes a session of this generation. The outcomes are those of `replace`. `p_day` is the day from whose
-- count the session is removed, if its operator certainly did not create it.
CREATE FUNCTION {schema}.remove(
    p_id uuid, p_generation bigint, p_day integer, p_reply uuid, p_event uuid, p_body bytea, p_owner uuid,
    p_queued_max integer
) RETURNS TABLE (outcome smallint, at bigint, notified smallint)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_now bigint := {schema}.ledger_now();
    v_before {schema}.session;
    v_notified smallint := 0;
BEGIN
    DELETE FROM {schema}.session s WHERE s.id = p_id AND s.generation = p_generation RETURNING s.* INTO v_before;
    IF NOT FOUND THEN
        RETURN QUERY SELECT
            CASE WHEN EXISTS (SELECT FROM {schema}.session s WHERE s.id = p_id) THEN 2 ELSE 1 END::smallint,
            v_now, 0::smallint;
        RETURN;
    END IF;
    IF v_before.holds_until IS NOT NULL THEN
        PERFORM {schema}.unlink(p_id, v_before.client, v_before.part, v_before.keys);
    END IF;
    IF p_day IS NOT NULL THEN
        UPDATE {schema}.client_day d SET creates = greatest(d.creates - 1, 0)
            WHERE d.client = v_before.client AND d.day = p_day;
    END IF;
    IF p_reply IS NOT NULL THEN
        DELETE FROM {schema}.reply r WHERE r.key = p_reply AND r.session = p_id AND r.response IS NULL;
    END IF;
    IF p_body IS NOT NULL THEN
        v_notified := CASE
            WHEN {schema}.enqueue(p_id, v_before.client, p_event, p_body, p_owner, p_queued_max) THEN 1 ELSE 2 END;
    END IF;
    RETURN QUERY SELECT 0::smallint, v_now, v_notified;
END
$$;

-- Leases sessions that are due: another replica takes them when the lease ends.
CREATE FUNCTION {schema}.lease_due(p_max integer, p_lease_ms bigint)
RETURNS TABLE (at bigint, id uuid, record bytea, early_event bytea)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_now bigint := {schema}.ledger_now();
BEGIN
    RETURN QUERY
        UPDATE {schema}.session s SET due = v_now + p_lease_ms
        FROM (SELECT e.id FROM {schema}.session e WHERE e.due <= v_now ORDER BY e.due LIMIT p_max
            FOR UPDATE SKIP LOCKED) d
        WHERE s.id = d.id
        RETURNING v_now, s.id, s.record, s.early_event;
END
$$;

-- Sets when a leased session is examined next, unless it was changed.
CREATE FUNCTION {schema}.postpone(p_ids uuid[], p_generations bigint[], p_due bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_row record;
BEGIN
    FOR v_row IN
        SELECT * FROM unnest(p_ids, p_generations, p_due) AS u (id, generation, due) ORDER BY u.id
    LOOP
        UPDATE {schema}.session s SET due = v_row.due WHERE s.id = v_row.id AND s.generation = v_row.generation;
    END LOOP;
END
$$;

-- Records an event that arrived before the answer to its create. Returns false if the create was answered.
CREATE FUNCTION {schema}.record_early_event(p_id uuid, p_pending smallint, p_event bytea) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    UPDATE {schema}.session s SET early_event = p_event WHERE s.id = p_id AND s.state = p_pending;
    RETURN FOUND;
END
$$;

-- The estimated number of rows of a table; 0 if it was never analyzed.
CREATE FUNCTION {schema}.estimated_rows(p_table text) RETURNS double precision
LANGUAGE sql STABLE
RETURN (SELECT greatest(c.reltuples, 0) FROM pg_class c
    WHERE c.relname = p_table AND c.relnamespace = '{schema}'::regnamespace);

-- The number of sessions of each operator and state: exact up to about `p_exact_max` sessions, and estimated
-- from a sample of so many above, so that the time does not grow with their number.
CREATE FUNCTION {schema}.count_sessions(p_exact_max integer)
RETURNS TABLE (operator bigint, name bytea, state smallint, sessions bigint)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_percent double precision := 100.0 * p_exact_max / greatest({schema}.estimated_rows('session'), 1);
BEGIN
    IF v_percent >= 100 THEN
        RETURN QUERY SELECT o.operator, o.name, c.state, c.sessions FROM {schema}.operator o LEFT JOIN (
            SELECT s.operator, s.state, count(*) AS sessions FROM {schema}.session s GROUP BY s.operator, s.state
        ) c USING (operator);
    ELSE
        RETURN QUERY SELECT o.operator, o.name, c.state, round(c.sessions * 100 / v_percent)::bigint
        FROM {schema}.operator o LEFT JOIN (
            SELECT s.operator, s.state, count(*) AS sessions FROM {schema}.session s TABLESAMPLE SYSTEM (v_percent)
            GROUP BY s.operator, s.state
        ) c USING (operator);
    END IF;
END
$$;

-- Removes idempotency records that have expired, and the oldest ones while there are too many.
CREATE FUNCTION {schema}.expire_replies(p_max integer, p_replies_max bigint) RETURNS integer
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_before bigint := CASE WHEN {schema}.estimated_rows('reply') > p_replies_max
        THEN 9223372036854775807 ELSE {schema}.ledger_now() END;
    v_count integer;
BEGIN
    DELETE FROM {schema}.reply r WHERE r.key IN (
        SELECT e.key FROM {schema}.reply e WHERE e.expires_at <= v_before
        ORDER BY e.expires_at LIMIT p_max FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END
$$;

-- Registers a replica, or extends its lease. Returns the time and the number of live replicas. The time is null if
-- its lease has ended: then other replicas may have taken over its work, and it must register again with another
-- id. It is -1 if the tables are those of
-- another ledger: then it must not use them.
CREATE FUNCTION {schema}.heartbeat(
    p_id uuid, p_ledger bytea, p_host text, p_version text, p_policy_version text, p_lease_ms bigint
) RETURNS TABLE (at bigint, live integer)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_now bigint := {schema}.ledger_now();
    v_id uuid;
BEGIN
    IF NOT EXISTS (SELECT FROM {schema}.setting s WHERE s.name = 'ledger' AND s.value = p_ledger) THEN
        RETURN QUERY SELECT -1::bigint, 0;
        RETURN;
    END IF;
    INSERT INTO {schema}.replica AS r (id, host, version, policy_version, started_at, seen_at, lease_until)
        VALUES (p_id, p_host, p_version, p_policy_version, v_now, v_now, v_now + p_lease_ms)
        ON CONFLICT (id) DO UPDATE
        SET policy_version = p_policy_version, seen_at = v_now, lease_until = v_now + p_lease_ms
        WHERE r.lease_until > v_now
        RETURNING r.id INTO v_id;
    RETURN QUERY SELECT CASE WHEN v_id IS NULL THEN NULL ELSE v_now END, count(*)::integer
        FROM {schema}.replica r WHERE r.lease_until > v_now;
END
$$;

-- Ends the lease of a replica that shuts down, and forgets replicas that ended long ago and own nothing.
CREATE FUNCTION {schema}.leave(p_id uuid) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_now bigint := {schema}.ledger_now();
BEGIN
    UPDATE {schema}.replica r SET lease_until = 0, seen_at = v_now WHERE r.id = p_id;
    DELETE FROM {schema}.replica r WHERE r.lease_until < v_now - 86400000 AND r.seen_at < v_now - 86400000
        AND NOT EXISTS (SELECT FROM {schema}.notification_queue q WHERE q.owner = r.id);
END
$$;

-- Takes the new notifications of the queues of a replica, and the queues of replicas whose lease has ended.
CREATE FUNCTION {schema}.take_notifications(p_owner uuid, p_max integer)
RETURNS TABLE (number bigint, event uuid, body bytea, retry boolean, session uuid)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_now bigint := {schema}.ledger_now();
    v_queue record;
BEGIN
    FOR v_queue IN
        SELECT q.session AS id, q.retry AS is_retried, CASE WHEN q.owner = p_owner THEN q.given ELSE 0 END AS read
        FROM {schema}.notification_queue q
        WHERE q.session IN (
            (SELECT o.session FROM {schema}.notification_queue o
                WHERE o.owner = p_owner AND (o.last > o.given OR o.retry) LIMIT p_max)
            UNION ALL
            (SELECT o.session FROM {schema}.replica r JOIN {schema}.notification_queue o ON o.owner = r.id
                WHERE r.lease_until < v_now AND r.id <> p_owner LIMIT p_max)
            UNION ALL
            (SELECT o.session FROM {schema}.notification_queue o
                WHERE o.owner = '00000000-0000-0000-0000-000000000000' LIMIT p_max))
        LIMIT p_max FOR UPDATE SKIP LOCKED
    LOOP
        RETURN QUERY
            SELECT n.number, n.event, n.body, v_queue.is_retried, v_queue.id FROM {schema}.notification n
            WHERE n.session = v_queue.id AND (n.number > v_queue.read OR v_queue.is_retried) ORDER BY n.number;
        UPDATE {schema}.notification_queue q SET owner = p_owner, given = q.last, retry = false
            WHERE q.session = v_queue.id;
    END LOOP;
END
$$;

-- Removes notifications that were delivered or dropped.
CREATE FUNCTION {schema}.acknowledge(p_numbers bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_row record;
BEGIN
    PERFORM FROM {schema}.notification_queue q
        WHERE q.session IN (SELECT n.session FROM {schema}.notification n WHERE n.number = ANY (p_numbers))
        ORDER BY q.session FOR UPDATE;
    FOR v_row IN
        SELECT n.session, n.number FROM {schema}.notification n WHERE n.number = ANY (p_numbers)
        ORDER BY n.number FOR UPDATE
    LOOP
        DELETE FROM {schema}.notification n WHERE n.number = v_row.number;
        -- The queue has a later `last` if another notification was queued meanwhile.
        DELETE FROM {schema}.notification_queue q WHERE q.session = v_row.session AND q.last = v_row.number
            AND NOT EXISTS (SELECT FROM {schema}.notification n WHERE n.session = v_row.session);
    END LOOP;
END
$$;

-- Asks the owners of queues to retry at once: those of a session, of a client, or all. Returns the number
-- of sessions.
CREATE FUNCTION {schema}.retry_notifications(p_session uuid, p_client bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_count bigint;
BEGIN
    UPDATE {schema}.notification_queue q SET retry = true
        WHERE q.session IN (
            SELECT w.session FROM {schema}.notification_queue w
            WHERE (p_session IS NULL OR w.session = p_session)
                AND (p_client IS NULL OR EXISTS (
                    SELECT FROM {schema}.notification n WHERE n.session = w.session AND n.client = p_client))
            ORDER BY w.session FOR UPDATE);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END
$$;

-- Drops at most 1,000 notifications: those of a session, of a client, or all. Returns their number.
CREATE FUNCTION {schema}.drop_notifications(p_session uuid, p_client bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_numbers bigint[];
BEGIN
    SELECT array_agg(d.number) INTO v_numbers FROM (
        SELECT n.number FROM {schema}.notification n
        WHERE (p_session IS NULL OR n.session = p_session) AND (p_client IS NULL OR n.client = p_client)
        ORDER BY n.number LIMIT 1000) d;
    IF v_numbers IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM {schema}.acknowledge(v_numbers);
    RETURN cardinality(v_numbers);
END
$$;

-- Adds a session that another ledger had. Does nothing if it exists.
CREATE FUNCTION {schema}.import_session(
    p_id uuid, p_generation bigint, p_state smallint, p_operator bigint, p_client bigint, p_holds_until bigint,
    p_due bigint, p_operator_session uuid, p_keys bigint[], p_kinds smallint, p_kinds_key bigint, p_claim bytea,
    p_record bytea
) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_part smallint := floor(random() * 16);
BEGIN
    INSERT INTO {schema}.session
        (id, generation, changes, state, operator, client, part, holds_until, due, operator_session, keys, claim, record)
        VALUES (p_id, p_generation, '{}', p_state, p_operator, p_client, v_part, p_holds_until, p_due, p_operator_session,
            p_keys, p_claim, p_record)
        ON CONFLICT (id) DO NOTHING;
    IF NOT FOUND OR p_holds_until IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO {schema}.operator_kinds (operator, kinds, key) VALUES (p_operator, p_kinds, p_kinds_key)
        ON CONFLICT DO NOTHING;
    INSERT INTO {schema}.hold_key (key, client, session) SELECT k, p_client, p_id FROM unnest(p_keys) AS k;
    INSERT INTO {schema}.client_holds (client, part, live) SELECT p_client, i, 0 FROM generate_series(0, 15) i
        ON CONFLICT DO NOTHING;
    UPDATE {schema}.client_holds c SET live = c.live + 1 WHERE c.client = p_client AND c.part = v_part;
END
$$;
