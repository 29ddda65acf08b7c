-- Waits until no other process migrates this schema. The end of the transaction releases the lock.
SELECT pg_advisory_xact_lock(hashtext('qod-gateway migration'), hashtext($1))
