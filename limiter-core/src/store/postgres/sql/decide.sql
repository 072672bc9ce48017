-- Decides over all keys together, and takes their units if every one admits. `keys` are in order, so that two calls
-- never wait for each other in a circle.
--
-- `verdict`: 0 denied, 1 admitted, 2 not decidable here: a quota has changed, a state lies too far ahead, totals have
-- grown large; 3 a state that cannot be read. `seen`, of each key before the take: whether it was there, the end of its
-- block, then its cells, of a log the first six numbers of its view a rate.
CREATE OR REPLACE PROCEDURE {decide}(
    keys bytea[], quotas text[], asks bigint[], injected bigint, takes boolean, patience text,
    INOUT moment bigint, INOUT verdict integer, INOUT seen bigint[])
LANGUAGE plpgsql AS {body}
#variable_conflict use_variable
DECLARE
    locks boolean := false;
    is_ahead boolean;
    is_there boolean;
    p integer; c integer; places integer[] := '{}'; offsets integer[];
    ids bigint[]; ends bigint[]; expiries bigint[]; held bigint[]; cells bigint[]; v bigint[];
    kept record;
    cost bigint; q bigint; counted bigint; previous bigint; win bigint; id bigint; idle_at bigint; expires bigint;
BEGIN
    p := 1;
    FOR i IN 1..cardinality(keys) LOOP
        places[i] := p;
        p := p + 4 + 7 * asks[p + 2];
    END LOOP;
    <<attempt>>
    LOOP
        -- A lock must be followed by a look at what its holder before wrote.
        IF current_setting('transaction_isolation') <> 'read committed' THEN
            ROLLBACK;
            SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
        END IF;
        -- A plan made while the tables are small serves when they are large too.
        PERFORM set_config('enable_seqscan', 'off', true), set_config('lock_timeout', patience, true);
        ids := '{}'; ends := '{}'; expiries := '{}'; held := '{}'; offsets := '{}'; seen := '{}';
        FOR i IN 1..cardinality(keys) LOOP
            p := places[i];
            IF locks AND asks[p + 1] > 0 THEN
                SELECT s.id, s.quota, s.cells, s.blocked_until, s.expires INTO kept FROM {states} s WHERE s.key = keys[i] FOR UPDATE;
            ELSE
                SELECT s.id, s.quota, s.cells, s.blocked_until, s.expires INTO kept FROM {states} s WHERE s.key = keys[i];
            END IF;
            is_there := FOUND;
            offsets[i] := cardinality(held);
            IF NOT is_there THEN
                ids[i] := NULL; ends[i] := 0; expiries[i] := 0;
                held := held || array_fill(0::bigint, ARRAY[(asks[p + 2] * asks[p + 3])::integer]);
            ELSIF kept.quota <> quotas[i] THEN
                verdict := 2;
                moment := coalesce(injected, {clock}());
                RETURN;
            ELSIF cardinality(kept.cells) IS DISTINCT FROM (asks[p + 2] * asks[p + 3])::integer THEN
                verdict := 3;
                moment := coalesce(injected, {clock}());
                RETURN;
            ELSE
                ids[i] := kept.id; ends[i] := kept.blocked_until; expiries[i] := kept.expires;
                held := held || kept.cells;
            END IF;
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
                    previous := CASE WHEN held[c] >= win THEN held[c + 2] WHEN held[c] + 1 = win THEN held[c + 1] ELSE 0 END;
                    IF cost > 0 THEN
                        is_ahead := is_ahead OR held[c] > win;
                        IF previous * least((win + 1) * asks[p + 4] - moment, asks[p + 4]) / asks[p + 4] + counted + cost > asks[p + 5] THEN
                            verdict := 0;
                        END IF;
                    END IF;
                ELSE
                    v := {log_view}(ids[i], nth, held[c], held[c + 1], held[c + 2], asks[p + 4], asks[p + 5], asks[p + 6], cost, moment);
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
        IF NOT takes THEN
            RETURN;
        ELSIF is_ahead THEN
            verdict := 2;
            RETURN;
        ELSIF verdict = 0 THEN
            RETURN;
        ELSIF NOT locks THEN
            locks := true;
            CONTINUE attempt;
        END IF;
        FOR i IN 1..cardinality(keys) LOOP
            p := places[i];
            CONTINUE WHEN asks[p + 1] = 0;
            id := ids[i];
            is_there := id IS NOT NULL;
            cells := held[offsets[i] + 1 : offsets[i] + (asks[p + 2] * asks[p + 3])::integer];
            IF NOT is_there AND asks[p] = 4 THEN
                -- The log's runs need its number.
                INSERT INTO {states} AS s (key, quota, cells, blocked_until, idle_at, expires)
                    VALUES (keys[i], quotas[i], cells, 0, 0, 0) ON CONFLICT DO NOTHING RETURNING s.id INTO id;
                IF NOT FOUND THEN
                    ROLLBACK;
                    CONTINUE attempt;
                END IF;
                is_there := true;
            END IF;
            cells := {charge}(id, cells, asks, p, moment);
            idle_at := {idle}(cells, asks, p, ends[i]);
            expires := {lasts}(expiries[i], idle_at - moment, injected, moment);
            IF is_there THEN
                UPDATE {states} s SET cells = cells, idle_at = idle_at, expires = expires WHERE s.key = keys[i];
            ELSE
                INSERT INTO {states} (key, quota, cells, blocked_until, idle_at, expires)
                    VALUES (keys[i], quotas[i], cells, 0, idle_at, expires) ON CONFLICT DO NOTHING;
                IF NOT FOUND THEN
                    ROLLBACK;
                    CONTINUE attempt;
                END IF;
            END IF;
        END LOOP;
        -- Twice as many as this writes, on average.
        IF random() < 0.03 THEN
            PERFORM {reclaim}();
        END IF;
        RETURN;
    END LOOP;
END
{body};
