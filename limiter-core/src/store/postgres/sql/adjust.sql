-- Changes a key without asking. `kind`: 1 charge, 2 refund, 3 refund then charge, 4 block, 5 block at least; `instant`
-- is that of the take, or the end of the block. `verdict` and `seen` are those of a decision, a log's view that after
-- the change.
CREATE OR REPLACE PROCEDURE {adjust}(
    key bytea, quota text, asks bigint[], injected bigint, kind integer, instant bigint, patience text,
    INOUT moment bigint, INOUT verdict integer, INOUT seen bigint[])
LANGUAGE plpgsql AS {body}
#variable_conflict use_variable
DECLARE
    kept record;
    cells bigint[];
    v bigint[];
    width integer := asks[3] * asks[4];
    blocked bigint; idle_at bigint; expires bigint;
    c integer; p integer;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        ROLLBACK;
        SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
    END IF;
    PERFORM set_config('enable_seqscan', 'off', true), set_config('lock_timeout', patience, true);
    LOOP
        SELECT s.id, s.quota, s.cells, s.blocked_until, s.rest, s.expires INTO kept
            FROM {states} s WHERE s.key = key FOR UPDATE;
        EXIT WHEN FOUND;
        INSERT INTO {states} (key, quota, cells, blocked_until, idle_at, expires)
            VALUES (key, quota, array_fill(0::bigint, ARRAY[width]), 0, 0, 0) ON CONFLICT DO NOTHING;
    END LOOP;
    moment := coalesce(injected, {clock}());
    cells := kept.cells;
    -- Rare: units reserved ahead, or a take from before a change of the quota.
    IF kept.quota <> quota OR (kind IN (2, 3) AND (kept.rest[1] > 0 OR instant < kept.rest[2])) THEN
        verdict := 2;
        RETURN;
    ELSIF cardinality(cells) IS DISTINCT FROM width THEN
        verdict := 3;
        RETURN;
    END IF;
    seen := ARRAY[1, kept.blocked_until];
    IF asks[1] < 4 THEN
        seen := seen || cells;
    ELSE
        c := 1; p := 5;
        FOR nth IN 1..asks[3] LOOP
            v := {log_view}(
                kept.id, nth, cells[c], cells[c + 1], cells[c + 2], asks[p], asks[p + 1], asks[p + 2], 0, moment);
            IF v[7] > 0 OR cells[c + 1] > 4611686018427387904 THEN
                verdict := 2;
                RETURN;
            END IF;
            c := c + 3; p := p + 7;
        END LOOP;
    END IF;
    IF kind IN (2, 3) THEN
        cells := {refund}(kept.id, cells, asks, 1, instant, moment);
    END IF;
    IF kind IN (1, 3) THEN
        cells := {charge}(kept.id, cells, asks, 1, moment);
    END IF;
    blocked := CASE kind
        WHEN 4 THEN instant
        WHEN 5 THEN greatest(kept.blocked_until, instant)
        ELSE kept.blocked_until
    END;
    idle_at := {idle}(cells, asks, 1, blocked);
    expires := {lasts}(kept.expires, idle_at - moment, injected, moment);
    UPDATE {states} s SET cells = cells, blocked_until = blocked, idle_at = idle_at, expires = expires WHERE s.key = key;
    IF asks[1] = 4 THEN
        seen := ARRAY[1, blocked];
        c := 1; p := 5;
        FOR nth IN 1..asks[3] LOOP
            v := {log_view}(
                kept.id, nth, cells[c], cells[c + 1], cells[c + 2], asks[p], asks[p + 1], asks[p + 2], 0, moment);
            seen := seen || v[1:6];
            c := c + 3; p := p + 7;
        END LOOP;
    END IF;
    verdict := 1;
END
{body};
