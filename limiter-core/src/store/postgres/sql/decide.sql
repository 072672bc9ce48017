-- What a decision over all keys finds, in one look: no state in it is of another time than the others.
--
-- `verdict`: 0 denied, 1 admitted, 2 a quota has changed, 3 a state that cannot be read. `seen`, of each key: whether it
-- was there, the end of its block, then its cells, of a log the first six numbers of its view a rate. The rest is for who
-- writes: whether a state lies too far ahead or has counted very far; of each key where its ask begins, its log's number,
-- the end of its block, when it expires, and where its cells are in `held`.
CREATE OR REPLACE FUNCTION {look}(
    keys bytea[], quotas text[], asks bigint[], injected bigint,
    OUT moment bigint, OUT verdict integer, OUT seen bigint[], OUT is_ahead boolean,
    OUT places integer[], OUT ids bigint[], OUT ends bigint[], OUT expiries bigint[],
    OUT offsets integer[], OUT held bigint[])
LANGUAGE plpgsql STABLE AS {body}
#variable_conflict use_variable
DECLARE
    kept record;
    p integer := 1; c integer; numbers integer;
    cost bigint; q bigint; counted bigint; previous bigint; win bigint;
    v bigint[];
BEGIN
    moment := 0;
    FOR i IN 1..cardinality(keys) LOOP
        places[i] := p;
        numbers := asks[p + 2] * asks[p + 3];
        SELECT s.id, s.quota, s.cells, s.blocked_until, s.expires INTO kept
            FROM {states} s WHERE s.key = keys[i];
        offsets[i] := coalesce(cardinality(held), 0);
        IF NOT FOUND THEN
            ids[i] := NULL; ends[i] := 0; expiries[i] := 0;
            held := held || array_fill(0::bigint, ARRAY[numbers]);
        ELSIF kept.quota <> quotas[i] THEN
            verdict := 2;
            RETURN;
        ELSIF cardinality(kept.cells) IS DISTINCT FROM numbers THEN
            verdict := 3;
            RETURN;
        ELSE
            ids[i] := kept.id; ends[i] := kept.blocked_until; expiries[i] := kept.expires;
            held := held || kept.cells;
        END IF;
        p := p + 4 + 7 * asks[p + 2];
    END LOOP;
    moment := coalesce(injected, {clock}());
    verdict := 1;
    is_ahead := false;
    FOR i IN 1..cardinality(keys) LOOP
        p := places[i]; c := offsets[i] + 1;
        cost := asks[p + 1];
        IF cost > 0 AND ends[i] > moment THEN
            verdict := 0;
        END IF;
        seen := seen || ARRAY[(ids[i] IS NOT NULL)::integer::bigint, ends[i]];
        IF asks[p] < 4 THEN
            seen := seen || held[c : c - 1 + (asks[p + 2] * asks[p + 3])::integer];
        END IF;
        FOR nth IN 1..asks[p + 2] LOOP
            CASE asks[places[i]]
            WHEN 1 THEN
                q := held[c] - moment;
                IF cost > 0 AND (q > asks[p + 7] OR (q = asks[p + 7] AND held[c + 1] > asks[p + 8])) THEN
                    IF q > asks[p + 9] OR (q = asks[p + 9] AND held[c + 1] > asks[p + 10]) THEN
                        is_ahead := true;
                    END IF;
                    verdict := 0;
                END IF;
            WHEN 2 THEN
                win := greatest(moment / asks[p + 4], least(held[c], moment / asks[p + 4] + 1));
                counted := CASE WHEN held[c] >= win THEN held[c + 1] ELSE 0 END;
                IF cost > 0 THEN
                    is_ahead := is_ahead OR held[c] > win;
                    IF counted + cost > asks[p + 5] THEN
                        verdict := 0;
                    END IF;
                END IF;
            WHEN 3 THEN
                win := greatest(moment / asks[p + 4], least(held[c], moment / asks[p + 4] + 1));
                counted := CASE WHEN held[c] >= win THEN held[c + 1] ELSE 0 END;
                previous := CASE
                    WHEN held[c] >= win THEN held[c + 2]
                    WHEN held[c] + 1 = win THEN held[c + 1]
                    ELSE 0
                END;
                IF cost > 0 THEN
                    is_ahead := is_ahead OR held[c] > win;
                    previous := previous * least((win + 1) * asks[p + 4] - moment, asks[p + 4]) / asks[p + 4];
                    IF previous + counted + cost > asks[p + 5] THEN
                        verdict := 0;
                    END IF;
                END IF;
            ELSE
                v := {log_view}(
                    ids[i], nth, held[c], held[c + 1], held[c + 2],
                    asks[p + 4], asks[p + 5], asks[p + 6], cost, moment);
                seen := seen || v[1:6];
                IF cost > 0 THEN
                    is_ahead := is_ahead OR v[7] > 0 OR held[c + 1] > 4611686018427387904;
                    IF v[2] + cost > asks[p + 5] THEN
                        verdict := 0;
                    END IF;
                    held[c + 2] := v[8];
                END IF;
            END CASE;
            c := c + asks[places[i] + 3]; p := p + 7;
        END LOOP;
    END LOOP;
END
{body};

-- Decides over all keys together, and takes their units if every one admits. `keys` are in order, so that two calls
-- never wait for each other in a circle.
--
-- A denial is answered from a look; only who is admitted there locks, and looks again. `verdict` and `seen` are those of
-- the look; 2 also where a state lies too far ahead: what is rare is not decided here.
CREATE OR REPLACE PROCEDURE {decide}(
    keys bytea[], quotas text[], asks bigint[], injected bigint, takes boolean, patience text,
    INOUT moment bigint, INOUT verdict integer, INOUT seen bigint[])
LANGUAGE plpgsql AS {body}
#variable_conflict use_variable
DECLARE
    begins boolean := true;
    locks boolean := false;
    locked boolean[];
    look record;
    setting text;
    p integer;
    cells bigint[]; log_id bigint; idle_at bigint; expires bigint;
BEGIN
    <<attempt>>
    LOOP
        IF begins THEN
            -- A lock must be followed by a look at what its holder before wrote.
            IF current_setting('transaction_isolation') <> 'read committed' THEN
                ROLLBACK;
                SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
            END IF;
            -- A plan made while the tables are small serves when they are large too.
            setting := set_config('enable_seqscan', 'off', true);
            setting := set_config('lock_timeout', patience, true);
            begins := false;
        END IF;
        IF locks THEN
            p := 1;
            FOR i IN 1..cardinality(keys) LOOP
                IF asks[p + 1] > 0 THEN
                    PERFORM FROM {states} s WHERE s.key = keys[i] FOR UPDATE;
                    locked[i] := FOUND;
                END IF;
                p := p + 4 + 7 * asks[p + 2];
            END LOOP;
        END IF;
        look := {look}(keys, quotas, asks, injected);
        moment := look.moment; verdict := look.verdict; seen := look.seen;
        IF takes AND look.is_ahead THEN
            verdict := 2;
        END IF;
        IF NOT takes OR verdict <> 1 THEN
            RETURN;
        ELSIF NOT locks THEN
            locks := true;
            CONTINUE attempt;
        END IF;
        FOR i IN 1..cardinality(keys) LOOP
            p := look.places[i];
            CONTINUE WHEN asks[p + 1] = 0;
            log_id := look.ids[i];
            IF log_id IS NOT NULL AND NOT locked[i] THEN
                -- It came between the locks and the look. Locks are taken in order: begin anew.
                ROLLBACK;
                begins := true;
                CONTINUE attempt;
            END IF;
            cells := look.held[look.offsets[i] + 1 : look.offsets[i] + (asks[p + 2] * asks[p + 3])::integer];
            IF log_id IS NULL THEN
                -- The runs of a log need its number first.
                INSERT INTO {states} AS s (key, quota, cells, blocked_until, idle_at, expires)
                    VALUES (keys[i], quotas[i], cells, 0, 0, 0) ON CONFLICT DO NOTHING RETURNING s.id INTO log_id;
                IF NOT FOUND THEN
                    ROLLBACK;
                    begins := true;
                    CONTINUE attempt;
                END IF;
            END IF;
            cells := {charge}(log_id, cells, asks, p, moment);
            idle_at := {idle}(cells, asks, p, look.ends[i]);
            expires := {lasts}(look.expiries[i], idle_at - moment, injected, moment);
            UPDATE {states} s SET cells = cells, idle_at = idle_at, expires = expires WHERE s.key = keys[i];
        END LOOP;
        -- Twice as many as this writes, on average.
        IF random() < 0.03 THEN
            PERFORM {reclaim}(CASE WHEN injected IS NULL THEN moment ELSE {clock}() END);
        END IF;
        RETURN;
    END LOOP;
END
{body};
