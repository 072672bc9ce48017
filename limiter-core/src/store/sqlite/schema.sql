-- One row: the clock that all processes share, and a count of the sweeps that forgot names or quotas.
CREATE TABLE clock (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    boot       BLOB NOT NULL,
    offset_us  INTEGER NOT NULL,
    forgotten  INTEGER NOT NULL
) STRICT;

-- Limiters by name, and how often each was restarted.
CREATE TABLE scopes (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    name   TEXT NOT NULL,
    start  INTEGER NOT NULL,
    UNIQUE (name, start)
) STRICT;

-- Quotas that states were made under, as text.
CREATE TABLE quotas (
    fingerprint  INTEGER PRIMARY KEY,
    text         TEXT NOT NULL
) STRICT;

-- A row a key. Times are microseconds since the Unix epoch by the clock above.
CREATE TABLE states (
    scope    INTEGER NOT NULL,
    key      BLOB NOT NULL,
    id       INTEGER NOT NULL, -- what its blocks are found by; new whenever the state starts anew
    rev      INTEGER NOT NULL, -- writes since then
    quota    INTEGER NOT NULL,
    at       INTEGER NOT NULL, -- the last write; 0 under an injected clock
    expires  INTEGER NOT NULL, -- idle by then
    state    BLOB NOT NULL,
    PRIMARY KEY (scope, key)
) WITHOUT ROWID, STRICT;

CREATE INDEX states_by_expiry ON states (expires);

-- The older runs of long logs, in blocks.
CREATE TABLE blocks (
    id     INTEGER NOT NULL,
    log    INTEGER NOT NULL, -- which rate's, where each has its own
    first  INTEGER NOT NULL, -- the number of its first run
    rev    INTEGER NOT NULL, -- the key's when it was written
    runs   BLOB NOT NULL,
    PRIMARY KEY (id, log, first)
) WITHOUT ROWID, STRICT;
