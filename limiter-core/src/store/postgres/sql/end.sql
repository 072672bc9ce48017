-- Which formats and routines are here, and since when.
CREATE TABLE IF NOT EXISTS {history} (
    format integer NOT NULL,
    routines text NOT NULL,
    created timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (format, routines)
);

INSERT INTO {history} (format, routines) VALUES ({format}, {revision}) ON CONFLICT DO NOTHING;
