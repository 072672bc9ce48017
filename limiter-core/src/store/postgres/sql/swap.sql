-- Replaces the states of all keys if none has changed since it was loaded: `versions` are their rows' transactions then,
-- 0 where there was no row. `cells` and `rests` are arrays as text. `lives` are the microseconds until each is idle.
-- `runs_of`, `runs_rate`, `runs_before` and `runs_stamp` are the runs of the logs among them.
CREATE OR REPLACE PROCEDURE {swap}(
    keys bytea[], versions bigint[], quotas text[], cells text[], blocks bigint[], rests text[], idles bigint[],
    lives bigint[], injected bigint, runs_of integer[], runs_rate integer[], runs_before bigint[], runs_stamp bigint[],
    patience text, INOUT is_done boolean)
LANGUAGE plpgsql AS {body}
#variable_conflict use_variable
DECLARE
    kept record;
    log_id bigint;
    expires bigint;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        ROLLBACK;
        SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
    END IF;
    PERFORM set_config('enable_seqscan', 'off', true), set_config('lock_timeout', patience, true);
    is_done := false;
    FOR i IN 1..cardinality(keys) LOOP
        SELECT s.xmin::text::bigint AS version INTO kept FROM {states} s WHERE s.key = keys[i] FOR UPDATE;
        IF coalesce(kept.version, 0) <> versions[i] THEN
            RETURN;
        END IF;
    END LOOP;
    FOR i IN 1..cardinality(keys) LOOP
        expires := {lasts}(0, lives[i], injected, {clock}());
        IF versions[i] = 0 THEN
            INSERT INTO {states} AS s (key, quota, cells, blocked_until, rest, idle_at, expires)
                VALUES (keys[i], quotas[i], cells[i]::bigint[], blocks[i], rests[i]::bigint[], idles[i], expires)
                ON CONFLICT DO NOTHING RETURNING s.id INTO log_id;
            IF NOT FOUND THEN
                ROLLBACK;
                RETURN;
            END IF;
        ELSE
            INSERT INTO {dropped} (log) SELECT s.id FROM {states} s WHERE s.key = keys[i] AND s.quota LIKE 'sliding_log %';
            UPDATE {states} AS s SET id = DEFAULT, quota = quotas[i], cells = cells[i]::bigint[],
                blocked_until = blocks[i], rest = rests[i]::bigint[], idle_at = idles[i], expires = expires
                WHERE s.key = keys[i] RETURNING s.id INTO log_id;
        END IF;
        INSERT INTO {runs} (log, rate, before, stamp)
            SELECT log_id, r.rate, r.before, r.stamp
            FROM unnest(runs_of, runs_rate, runs_before, runs_stamp) AS r (place, rate, before, stamp) WHERE r.place = i;
    END LOOP;
    is_done := true;
END
{body};
