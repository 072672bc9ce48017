-- The first unit, counted by running totals from `low` on, that is stamped `since` or later; `high` where none is.
-- Found in steps that double, then halve.
CREATE OR REPLACE FUNCTION {log_first}(log_id bigint, nth integer, low bigint, high bigint, since bigint)
RETURNS bigint LANGUAGE plpgsql STABLE AS {body}
#variable_conflict use_variable
DECLARE
    step bigint := 1;
    probe bigint;
    is_doubling boolean := true;
    run_before bigint; run_stamp bigint;
BEGIN
    WHILE low < high LOOP
        IF is_doubling AND low + step - 1 < high THEN
            probe := low + step - 1;
            step := 2 * step;
        ELSE
            is_doubling := false;
            probe := low + (high - low) / 2;
        END IF;
        SELECT r.before, r.stamp INTO run_before, run_stamp FROM {runs} r
            WHERE r.log = log_id AND r.rate = nth AND r.before <= probe ORDER BY r.before DESC LIMIT 1;
        IF run_stamp >= since THEN
            high := run_before;
            is_doubling := false;
        ELSE
            low := probe + 1;
        END IF;
    END LOOP;
    RETURN high;
END
{body};

-- A rate's window over its log: [stamp of a take now, units inside, newest stamp, stamp of the oldest unit inside, stamp
-- of the unit that must leave before `cost` fits, and before one fits, whether stamps lie too far ahead, the running
-- total before the window]. A stamp that is not needed is 0.
CREATE OR REPLACE FUNCTION {log_view}(
    log_id bigint, nth integer, newest bigint, total bigint, base bigint,
    period bigint, most bigint, cell bigint, cost bigint, moment bigint)
RETURNS bigint[] LANGUAGE plpgsql STABLE AS {body}
#variable_conflict use_variable
DECLARE
    own bigint := (moment + cell - 1) / cell * cell;
    top bigint := CASE WHEN total > base THEN newest ELSE 0 END;
    take bigint := greatest(own, least(top, own + period));
    first bigint := total;
    inside bigint := 0; oldest bigint := 0; for_cost bigint := 0; for_one bigint := 0;
BEGIN
    IF total > base AND newest >= moment - period THEN
        first := {log_first}(log_id, nth, base, total, moment - period);
        inside := total - first;
        SELECT r.stamp INTO oldest FROM {runs} r
            WHERE r.log = log_id AND r.rate = nth AND r.before = first;
        IF cost > 0 AND inside + cost > most THEN
            SELECT r.stamp INTO for_cost FROM {runs} r
                WHERE r.log = log_id AND r.rate = nth AND r.before < first + inside + cost - most
                ORDER BY r.before DESC LIMIT 1;
        END IF;
        IF inside >= most THEN
            SELECT r.stamp INTO for_one FROM {runs} r
                WHERE r.log = log_id AND r.rate = nth AND r.before <= first + inside - most
                ORDER BY r.before DESC LIMIT 1;
        END IF;
    END IF;
    RETURN ARRAY[take, inside, top, oldest, for_cost, for_one, (top > take)::integer, first];
END
{body};

-- The three cells of a rate's log after units stamped as a take at `taken` were given back.
CREATE OR REPLACE FUNCTION {log_refund}(
    log_id bigint, nth integer, cells bigint[], period bigint, most bigint, cell bigint,
    cost bigint, taken bigint, moment bigint)
RETURNS bigint[] LANGUAGE plpgsql VOLATILE AS {body}
#variable_conflict use_variable
DECLARE
    newest bigint := cells[1];
    total bigint := cells[2];
    base bigint;
    own bigint := (taken + cell - 1) / cell * cell;
    unit bigint; next bigint; stamped bigint; gone bigint;
BEGIN
    base := ({log_view}(log_id, nth, newest, total, cells[3], period, most, cell, 0, moment))[8];
    IF base < total AND newest >= own THEN
        unit := {log_first}(log_id, nth, base, total, own);
        SELECT r.stamp INTO stamped FROM {runs} r WHERE r.log = log_id AND r.rate = nth AND r.before = unit;
        IF stamped = own THEN
            SELECT r.before INTO next FROM {runs} r
                WHERE r.log = log_id AND r.rate = nth AND r.before > unit ORDER BY r.before LIMIT 1;
            next := coalesce(next, total);
            gone := least(cost, next - unit);
            IF gone > 0 AND gone = next - unit THEN
                DELETE FROM {runs} r WHERE r.log = log_id AND r.rate = nth AND r.before = unit;
                IF next = total AND unit > base THEN
                    SELECT r.stamp INTO newest FROM {runs} r
                        WHERE r.log = log_id AND r.rate = nth AND r.before < unit ORDER BY r.before DESC LIMIT 1;
                END IF;
            END IF;
            IF gone > 0 THEN
                UPDATE {runs} r SET before = r.before - gone WHERE r.log = log_id AND r.rate = nth AND r.before > unit;
                total := total - gone;
            END IF;
        END IF;
    END IF;
    RETURN ARRAY[newest, total, base];
END
{body};
