-- Calls `reserve` and `replace` one after the other, each in a transaction of its own, and prints the time of the
-- calls in the server and their WAL. `:calls` is the number of calls; `:device` is `phone` (a phone number, and a
-- port of one public address), `ports` (ports of one public address) or `flows` (flows of one device).
SET plan_cache_mode = force_generic_plan;
SET synchronous_commit = off;
SET client_min_messages = notice;
SELECT set_config('bench.calls', :'calls', false), set_config('bench.device', :'device', false) \g /dev/null
DO $$
DECLARE
    v_calls integer := current_setting('bench.calls');
    v_device text := current_setting('bench.device');
    v_kinds smallint := CASE v_device WHEN 'phone' THEN 17 WHEN 'ports' THEN 16 ELSE 1 END;
    v_claim bytea := decode(repeat('ab', 150), 'hex');
    v_record bytea := decode(repeat('cd', 600), 'hex');
    v_reserve float8[];
    v_replace float8[];
    v_wal float8[] := '{0, 0}';
    v_started timestamptz;
    v_lsn pg_lsn;
    v_now bigint;
    v_change bigint;
    v_id uuid;
    v_find bigint[];
    v_compared uuid[];
    v_outcome smallint;
    v_new uuid[];
BEGIN
    -- The connection knows all pages of the index, as that of a gateway does after some time.
    PERFORM count(*) FROM qod.hold_key WHERE key > -9e18;
    FOR i IN 1 .. v_calls LOOP
        v_now := qod.ledger_now();
        v_change := hashint8extended(v_now, i);
        -- Ids are ordered by time.
        v_id := overlay(overlay(gen_random_uuid()::text PLACING substr(lpad(to_hex(v_now), 12, '0'), 9) FROM 10 FOR 4)
            PLACING substr(lpad(to_hex(v_now), 12, '0'), 1, 8) FROM 1 FOR 8);
        v_find := CASE v_device
            WHEN 'phone' THEN ARRAY[hashint8extended(v_change, 1), hashint8extended(v_change, 2)]
            WHEN 'ports' THEN ARRAY[hashint8extended(v_change, 1)]
            ELSE ARRAY[9] END;
        v_compared := '{}';
        v_lsn := pg_current_wal_insert_lsn();
        v_started := clock_timestamp();
        LOOP
            SELECT max(r.outcome), array_agg(r.session) INTO v_outcome, v_new FROM qod.reserve(
                v_id, v_change, 0::smallint, 77, 4711, v_now, v_now + 3600000, v_now + 5000,
                v_find || v_change, array_fill(false, ARRAY[cardinality(v_find) + 1]),
                v_find || CASE WHEN v_kinds & 16 <> 0 THEN ARRAY[32 | (v_kinds & 15), 5] ELSE ARRAY[5::bigint] END,
                v_find, 1025, CASE WHEN v_kinds & 16 <> 0 THEN 32 END, v_kinds, 5, 8, false, v_compared, false,
                100000000, false, NULL, NULL, NULL, NULL, v_claim, v_record) r;
            EXIT WHEN v_outcome <> 1;
            -- As the gateway does when it has compared them.
            v_compared := v_compared || v_new;
        END LOOP;
        v_reserve[i] := extract(epoch FROM clock_timestamp() - v_started) * 1000000;
        v_wal[1] := v_wal[1] + (pg_current_wal_insert_lsn() - v_lsn);
        ASSERT v_outcome = 0;
        COMMIT;
        v_lsn := pg_current_wal_insert_lsn();
        v_started := clock_timestamp();
        SELECT r.outcome INTO v_outcome FROM qod.replace(
            v_id, 1, v_change + 1, 2::smallint, v_now + 3600000, v_now + 3600000, gen_random_uuid(), v_record,
            NULL, NULL, false, '{}', NULL, NULL, NULL, 1000) r;
        v_replace[i] := extract(epoch FROM clock_timestamp() - v_started) * 1000000;
        v_wal[2] := v_wal[2] + (pg_current_wal_insert_lsn() - v_lsn);
        ASSERT v_outcome = 0;
        COMMIT;
    END LOOP;
    RAISE NOTICE '% live sessions, %: reserve % µs (p10, p50, p90), % B of WAL; replace % µs, % B of WAL',
        (SELECT sum(live) FROM qod.client_holds), v_device,
        (SELECT percentile_cont(ARRAY[0.1, 0.5, 0.9]) WITHIN GROUP (ORDER BY t)::integer[] FROM unnest(v_reserve) t),
        round(v_wal[1] / v_calls),
        (SELECT percentile_cont(ARRAY[0.1, 0.5, 0.9]) WITHIN GROUP (ORDER BY t)::integer[] FROM unnest(v_replace) t),
        round(v_wal[2] / v_calls);
END
$$;
