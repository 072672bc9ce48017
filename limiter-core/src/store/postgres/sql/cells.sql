-- The server's time in microseconds, at most the latest instant that is counted. An interval since the epoch: it does
-- not depend on the session's time zone.
CREATE OR REPLACE FUNCTION {clock}() RETURNS bigint LANGUAGE sql VOLATILE AS {body}
    SELECT least(extract(epoch FROM clock_timestamp()) * 1000000, 3377699720527871)::bigint
{body};

-- The cells after what is asked was taken without asking, into at most one full quota of debt.
--
-- An ask, from its place on: algorithm, cost, rates, cells a rate; then seven numbers a rate. Of a bucket: ticks a
-- microsecond, then as pairs of microseconds and ticks the cost, the room it needs and two full buckets. Of the others:
-- period, limit and, of a log, the microseconds a stamp is rounded up to.
CREATE OR REPLACE FUNCTION {charge}(log_id bigint, cells bigint[], asks bigint[], place integer, moment bigint)
RETURNS bigint[] LANGUAGE plpgsql VOLATILE AS {body}
#variable_conflict use_variable
DECLARE
    cost bigint := asks[place + 1];
    c integer := 1;
    p integer := place + 4;
    q bigint; t bigint; counted bigint; previous bigint; used bigint; units bigint; win bigint;
    v bigint[];
BEGIN
    FOR nth IN 1..asks[place + 2] LOOP
        CASE asks[place]
        WHEN 1 THEN
            q := cells[c]; t := cells[c + 1];
            IF q < moment THEN
                q := moment; t := 0;
            ELSIF q - moment > asks[p + 5] OR (q - moment = asks[p + 5] AND t > asks[p + 6]) THEN
                q := moment + asks[p + 5]; t := asks[p + 6];
            END IF;
            q := q + asks[p + 1]; t := t + asks[p + 2];
            IF t >= asks[p] THEN
                q := q + 1; t := t - asks[p];
            END IF;
            IF q - moment > asks[p + 5] OR (q - moment = asks[p + 5] AND t > asks[p + 6]) THEN
                q := moment + asks[p + 5]; t := asks[p + 6];
            END IF;
            cells[c] := q; cells[c + 1] := t;
        WHEN 2 THEN
            win := greatest(moment / asks[p], least(cells[c], moment / asks[p] + 1));
            counted := CASE WHEN cells[c] >= win THEN cells[c + 1] ELSE 0 END;
            cells[c] := win; cells[c + 1] := least(counted + cost, 2 * asks[p + 1]);
        WHEN 3 THEN
            win := greatest(moment / asks[p], least(cells[c], moment / asks[p] + 1));
            counted := CASE WHEN cells[c] >= win THEN cells[c + 1] ELSE 0 END;
            previous := CASE
                WHEN cells[c] >= win THEN cells[c + 2]
                WHEN cells[c] + 1 = win THEN cells[c + 1]
                ELSE 0
            END;
            used := previous * least((win + 1) * asks[p] - moment, asks[p]) / asks[p];
            cells[c] := win; cells[c + 2] := previous;
            cells[c + 1] := greatest(counted, least(counted + cost, 2 * asks[p + 1] - used));
        ELSE
            v := {log_view}(
                log_id, nth, cells[c], cells[c + 1], cells[c + 2], asks[p], asks[p + 1], asks[p + 2], 0, moment);
            units := least(cost, 2 * asks[p + 1] - v[2]);
            cells[c + 2] := v[8];
            IF units > 0 THEN
                IF v[2] = 0 OR cells[c] <> v[1] THEN
                    INSERT INTO {runs} (log, rate, before, stamp) VALUES (log_id, nth, cells[c + 1], v[1]);
                    cells[c] := v[1];
                END IF;
                IF (cells[c + 1] + units) / 16 <> cells[c + 1] / 16 THEN
                    DELETE FROM {runs} WHERE ctid = ANY (ARRAY(
                        SELECT r.ctid FROM {runs} r
                        WHERE r.log = log_id AND r.rate = nth AND r.before < v[8] ORDER BY r.before LIMIT 64));
                END IF;
                cells[c + 1] := cells[c + 1] + units;
            END IF;
        END CASE;
        c := c + asks[place + 3]; p := p + 7;
    END LOOP;
    RETURN cells;
END
{body};

-- The cells after what a take of the ask's cost at `taken` still holds was given back.
CREATE OR REPLACE FUNCTION {refund}(log_id bigint, cells bigint[], asks bigint[], place integer, taken bigint, moment bigint)
RETURNS bigint[] LANGUAGE plpgsql VOLATILE AS {body}
#variable_conflict use_variable
DECLARE
    cost bigint := asks[place + 1];
    c integer := 1;
    p integer := place + 4;
    q bigint; t bigint; held_q bigint; held_t bigint; counted bigint; previous bigint; win bigint; ago bigint;
BEGIN
    FOR nth IN 1..asks[place + 2] LOOP
        CASE asks[place]
        WHEN 1 THEN
            q := cells[c] - moment; t := cells[c + 1];
            IF q < 0 THEN
                q := 0; t := 0;
            ELSIF q > asks[p + 5] OR (q = asks[p + 5] AND t > asks[p + 6]) THEN
                q := asks[p + 5]; t := asks[p + 6];
            END IF;
            held_q := asks[p + 1] - greatest(moment - taken, 0); held_t := asks[p + 2];
            IF held_q >= 0 THEN
                q := q - held_q; t := t - held_t;
                IF t < 0 THEN
                    q := q - 1; t := t + asks[p];
                END IF;
                IF q < 0 THEN
                    q := 0; t := 0;
                END IF;
            END IF;
            cells[c] := moment + q; cells[c + 1] := t;
        WHEN 2 THEN
            win := greatest(moment / asks[p], least(cells[c], moment / asks[p] + 1));
            counted := CASE WHEN cells[c] >= win THEN cells[c + 1] ELSE 0 END;
            IF taken / asks[p] = win THEN
                counted := greatest(counted - cost, 0);
            END IF;
            cells[c] := win; cells[c + 1] := counted;
        WHEN 3 THEN
            win := greatest(moment / asks[p], least(cells[c], moment / asks[p] + 1));
            counted := CASE WHEN cells[c] >= win THEN cells[c + 1] ELSE 0 END;
            previous := CASE
                WHEN cells[c] >= win THEN cells[c + 2]
                WHEN cells[c] + 1 = win THEN cells[c + 1]
                ELSE 0
            END;
            ago := win - taken / asks[p];
            cells[c] := win;
            cells[c + 1] := CASE WHEN ago = 0 THEN greatest(counted - cost, 0) ELSE counted END;
            cells[c + 2] := CASE WHEN ago = 1 THEN greatest(previous - cost, 0) ELSE previous END;
        ELSE
            cells[c:c + 2] := {log_refund}(
                log_id, nth, cells[c:c + 2], asks[p], asks[p + 1], asks[p + 2], cost, taken, moment);
        END CASE;
        c := c + asks[place + 3]; p := p + 7;
    END LOOP;
    RETURN cells;
END
{body};

-- The instant from which every unit of these cells is back.
CREATE OR REPLACE FUNCTION {idle}(cells bigint[], asks bigint[], place integer, blocked_until bigint)
RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS {body}
#variable_conflict use_variable
DECLARE
    latest bigint := blocked_until;
    c integer := 1;
    p integer := place + 4;
BEGIN
    FOR nth IN 1..asks[place + 2] LOOP
        latest := greatest(latest, CASE asks[place]
            WHEN 1 THEN cells[c] + (cells[c + 1] > 0)::integer
            WHEN 2 THEN CASE WHEN cells[c + 1] > 0 THEN (cells[c] + 1) * asks[p] ELSE 0 END
            WHEN 3 THEN CASE
                WHEN cells[c + 1] > 0 THEN (cells[c] + 2) * asks[p]
                WHEN cells[c + 2] > 0 THEN (cells[c] + 1) * asks[p]
                ELSE 0
            END
            ELSE CASE WHEN cells[c + 1] > cells[c + 2] THEN cells[c] + asks[p] + 1 ELSE 0 END
        END);
        c := c + asks[place + 3]; p := p + 7;
    END LOOP;
    RETURN latest;
END
{body};

-- When the server may forget a state that is idle after `life` microseconds: some minutes later, under an injected
-- clock an hour. What `expires` now stays while it is not far off: an index entry less.
CREATE OR REPLACE FUNCTION {lasts}(expires bigint, life bigint, injected bigint, moment bigint)
RETURNS bigint LANGUAGE plpgsql VOLATILE AS {body}
#variable_conflict use_variable
DECLARE
    soonest bigint := CASE WHEN injected IS NULL THEN moment ELSE {clock}() + 3720000000 END + greatest(life, 0);
BEGIN
    RETURN CASE WHEN expires BETWEEN soonest AND soonest + 120000000 THEN expires ELSE soonest + 120000000 END;
END
{body};
