-- The states of these keys, with up to so many runs of each log. The time is read after them.
SELECT k.place, s.xmin::text::bigint, s.quota, s.cells, s.blocked_until, s.rest, l.rates, l.befores, l.stamps, {clock}()
FROM unnest($1::bytea[]) WITH ORDINALITY AS k (key, place)
LEFT JOIN {states} s ON s.key = k.key
LEFT JOIN LATERAL (
    SELECT array_agg(r.rate ORDER BY r.rate, r.before) AS rates, array_agg(r.before ORDER BY r.rate, r.before) AS befores,
        array_agg(r.stamp ORDER BY r.rate, r.before) AS stamps
    FROM (SELECT * FROM {runs} r WHERE r.log = s.id AND s.quota LIKE 'sliding_log %' LIMIT $2) r
) l ON true
ORDER BY k.place
