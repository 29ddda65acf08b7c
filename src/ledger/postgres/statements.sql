-- The statements of the shared ledger. Each is one line or more after `-- name:`.

-- name: find_setting
-- A value that describes the ledger.
SELECT value FROM {schema}.setting WHERE name = $1

-- name: add_setting
-- Adds a value, unless another replica was first.
INSERT INTO {schema}.setting (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING

-- name: set_setting
-- Adds or replaces a value.
INSERT INTO {schema}.setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- name: heartbeat
-- Registers this replica, or extends its lease.
SELECT at, live FROM {schema}.heartbeat($1, $2, $3, $4, $5, $6)

-- name: reserve
-- Reserves a flow; see the function.
SELECT outcome, at, session, moment, body
FROM {schema}.reserve($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28)

-- name: replace
-- Replaces a session by its next generation; see the function.
SELECT outcome, at, notified, early_event
FROM {schema}.replace($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)

-- name: remove
-- Removes a session; see the function.
SELECT outcome, at, notified FROM {schema}.remove($1, $2, $3, $4, $5, $6, $7, $8)

-- name: replace_and_end
-- Replaces a session by the generation that ends it, and adds its usage record; see the function.
SELECT outcome, at, notified, early_event
FROM {schema}.replace_and_end($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)

-- name: remove_and_end
-- Removes a session that ends by it, and adds its usage record; see the function.
SELECT outcome, at, notified FROM {schema}.remove_and_end($1, $2, $3, $4, $5, $6, $7, $8, $9)

-- name: read_usage
-- Usage records of a period, a page at a time; see the function.
SELECT number, session, at, body FROM {schema}.read_usage($1, $2, $3, $4)

-- name: prune_usage
-- Removes old usage records.
SELECT {schema}.prune_usage($1, $2)

-- name: record_early_event
-- Records an event that arrived before the answer to its create.
SELECT {schema}.record_early_event($1, $2, $3)

-- name: find
-- A session.
SELECT record FROM {schema}.session WHERE id = $1

-- name: find_by_operator_session
-- The session with an operator's id.
SELECT id FROM {schema}.session WHERE operator_session = $1

-- name: find_by_device
-- A client's sessions that share a key with a device, newest first, a page at a time. At most 4,096 sessions of
-- one page are examined.
SELECT id, record
FROM {schema}.session
WHERE id IN (SELECT h.session FROM {schema}.hold_key h
WHERE h.key = ANY ($1) AND h.client = $2 AND ($3 IS NULL OR h.session < $3)
ORDER BY h.session DESC LIMIT 4096)
ORDER BY id DESC LIMIT $4

-- name: list
-- All sessions, oldest first, a page at a time.
SELECT id, record
FROM {schema}.session
WHERE id > coalesce($1, '00000000-0000-0000-0000-000000000000'::uuid)
ORDER BY id LIMIT $2

-- name: count
-- The number of sessions of each operator and state.
SELECT operator, name, state, sessions FROM {schema}.count_sessions($1)

-- name: add_operator
-- Names an operator.
INSERT INTO {schema}.operator (operator, name) VALUES ($1, $2)
ON CONFLICT (operator) DO UPDATE SET name = excluded.name

-- name: expire_holds
-- Ends holds that have expired.
SELECT {schema}.expire_holds($1, $2)

-- name: expire_replies
-- Removes idempotency records that have expired.
SELECT {schema}.expire_replies($1, $2)

-- name: lease_due
-- Leases sessions that are due.
SELECT at, id, record, early_event FROM {schema}.lease_due($1, $2)

-- name: postpone
-- Sets when leased sessions are examined next.
SELECT {schema}.postpone($1, $2, $3)

-- name: leave
-- Ends the lease of this replica.
SELECT {schema}.leave($1)

-- name: take_notifications
-- Takes notifications to deliver.
SELECT number, event, body, retry, session FROM {schema}.take_notifications($1, $2)

-- name: list_notifications
-- Queued notifications of a session, of a client, or of all, a page at a time.
SELECT number, event, body FROM {schema}.notification
WHERE number > $1 AND ($2 IS NULL OR session = $2) AND ($3 IS NULL OR client = $3)
ORDER BY number LIMIT $4

-- name: retry_notifications
-- Asks the owners to retry notifications at once.
SELECT {schema}.retry_notifications($1, $2)

-- name: drop_notifications
-- Drops notifications, at most 1,000.
SELECT {schema}.drop_notifications($1, $2)

-- name: replicas
-- The replicas that are known, the latest first.
SELECT id, host, version, policy_version, started_at, seen_at, lease_until > {schema}.ledger_now()
FROM {schema}.replica ORDER BY seen_at DESC, id LIMIT 1000

-- name: import_session
-- Adds a session of another ledger; see the function.
SELECT {schema}.import_session($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)

-- name: import_reply
-- Adds an idempotency record of another ledger.
INSERT INTO {schema}.reply (key, digest, session, expires_at, response) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING

-- name: import_day
-- Adds a daily count of another ledger.
INSERT INTO {schema}.client_day (client, day, creates) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING

-- name: import_notification
-- Adds a notification of another ledger. Any replica takes it.
WITH queued AS (
    INSERT INTO {schema}.notification (number, event, session, client, body) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT DO NOTHING)
INSERT INTO {schema}.notification_queue AS q (session, owner, last, given) VALUES ($3, $6, $1, 0)
ON CONFLICT (session) DO UPDATE SET last = greatest(q.last, $1)

-- name: import_usage
-- Adds a usage record of another ledger.
INSERT INTO {schema}.usage_record (position, session, recorded_at, body) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING

-- name: import_end
-- Numbers notifications after those of the other ledger.
SELECT setval('{schema}.notification_number',
    greatest((SELECT coalesce(max(number), 0) + 1 FROM {schema}.notification), nextval('{schema}.notification_number')))

-- name: time
-- The time of the ledger.
SELECT {schema}.ledger_now()

-- name: is_empty
-- Whether the ledger has no session, notification, idempotency record or usage record; and whether no replica uses it.
SELECT NOT EXISTS (SELECT FROM {schema}.session) AND NOT EXISTS (SELECT FROM {schema}.notification)
        AND NOT EXISTS (SELECT FROM {schema}.reply) AND NOT EXISTS (SELECT FROM {schema}.usage_record),
    NOT EXISTS (SELECT FROM {schema}.replica WHERE lease_until > {schema}.ledger_now())

-- name: find_notification
-- A queued notification.
SELECT event, body FROM {schema}.notification WHERE number = $1

-- name: find_owned_notification
-- A queued notification that this replica delivers, and how long its lease is still valid.
SELECT n.event, n.body, r.lease_until - {schema}.ledger_now()
FROM {schema}.notification n
JOIN {schema}.notification_queue q ON q.session = n.session
JOIN {schema}.replica r ON r.id = q.owner
WHERE n.number = $1 AND q.owner = $2

-- name: acknowledge
-- Removes notifications that were delivered or dropped.
SELECT {schema}.acknowledge($1)
