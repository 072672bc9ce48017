-- Forgets a key.
CREATE OR REPLACE PROCEDURE {reset}(key bytea, patience text)
LANGUAGE plpgsql AS {body}
#variable_conflict use_variable
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        ROLLBACK;
        SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
    END IF;
    PERFORM set_config('enable_seqscan', 'off', true), set_config('lock_timeout', patience, true);
    WITH gone AS (DELETE FROM {states} s WHERE s.key = key RETURNING s.id, s.quota)
    INSERT INTO {dropped} (log) SELECT gone.id FROM gone WHERE gone.quota LIKE 'sliding_log %';
END
{body};

-- Deletes up to `most` runs of up to a hundred logs that no key has any more; how many, the logs counted too.
CREATE OR REPLACE FUNCTION {reclaim_runs}(most integer) RETURNS integer LANGUAGE plpgsql VOLATILE AS {body}
#variable_conflict use_variable
DECLARE
    log_id bigint;
    deleted integer;
    done integer := 0;
BEGIN
    FOR log_id IN SELECT d.log FROM {dropped} d ORDER BY d.log LIMIT 100 FOR UPDATE SKIP LOCKED LOOP
        DELETE FROM {runs} WHERE ctid = ANY (ARRAY(SELECT r.ctid FROM {runs} r WHERE r.log = log_id LIMIT most));
        GET DIAGNOSTICS deleted = ROW_COUNT;
        done := done + deleted;
        most := most - deleted;
        EXIT WHEN most <= 0;
        DELETE FROM {dropped} d WHERE d.log = log_id;
        done := done + 1;
    END LOOP;
    RETURN done;
END
{body};

-- Deletes a few states whose time is over by the server's clock, and runs of dropped logs. Waits for nobody.
CREATE OR REPLACE FUNCTION {reclaim}(moment bigint) RETURNS void LANGUAGE plpgsql VOLATILE AS {body}
BEGIN
    WITH gone AS (
        DELETE FROM {states} s WHERE s.key = ANY (ARRAY(
            SELECT t.key FROM {states} t WHERE t.expires < moment ORDER BY t.expires LIMIT 64 FOR UPDATE SKIP LOCKED))
        RETURNING s.id, s.quota)
    INSERT INTO {dropped} (log) SELECT gone.id FROM gone WHERE gone.quota LIKE 'sliding_log %';
    PERFORM {reclaim_runs}(500);
END
{body};

-- Deletes up to `most` states that are idle at the injected instant, else now; those of an injected clock are then kept
-- for another hour. Also runs of dropped logs; `is_over` where nothing was left to do.
CREATE OR REPLACE PROCEDURE {sweep}(injected bigint, most integer, INOUT swept bigint, INOUT is_over boolean)
LANGUAGE plpgsql AS {body}
#variable_conflict use_variable
DECLARE
    moment bigint := coalesce(injected, {clock}());
    idle bytea[];
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        ROLLBACK;
        SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
    END IF;
    IF injected IS NULL THEN
        idle := ARRAY(SELECT s.key FROM {states} s
            WHERE s.expires <= moment + 120000000 AND (s.idle_at <= moment OR s.expires <= moment)
            LIMIT most FOR UPDATE SKIP LOCKED);
    ELSE
        idle := ARRAY(SELECT s.key FROM {states} s WHERE s.idle_at <= moment LIMIT most FOR UPDATE SKIP LOCKED);
    END IF;
    WITH gone AS (DELETE FROM {states} s WHERE s.key = ANY (idle) RETURNING s.id, s.quota)
    INSERT INTO {dropped} (log) SELECT gone.id FROM gone WHERE gone.quota LIKE 'sliding_log %';
    swept := cardinality(idle);
    is_over := swept = 0 AND {reclaim_runs}(10 * most) = 0;
END
{body};
