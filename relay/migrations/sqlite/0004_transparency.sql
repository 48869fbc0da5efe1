-- The transparency log: which bundle each handle had, for everybody to check. There is no row in transparency_log until
-- a relay has it switched on for the first time.
CREATE TABLE transparency_log (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    log_id BLOB    NOT NULL CHECK (length(log_id) = 32),
    size   INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Bundles that were published and are not in the log yet. They are kept as long.
CREATE TABLE transparency_due (
    due_no       INTEGER PRIMARY KEY AUTOINCREMENT,
    agent_no     INTEGER NOT NULL,
    number       INTEGER NOT NULL,
    handle       TEXT    NOT NULL,
    published_at INTEGER NOT NULL,
    UNIQUE (agent_no, number),
    FOREIGN KEY (agent_no, number) REFERENCES bundle (agent_no, number)
) STRICT;

-- Tags are dear to compute.
CREATE TABLE transparency_tag (
    handle TEXT PRIMARY KEY,
    tag    BLOB NOT NULL CHECK (length(tag) = 32)
) STRICT, WITHOUT ROWID;

CREATE TABLE transparency_leaf (
    leaf_index INTEGER PRIMARY KEY,
    tag        BLOB    NOT NULL CHECK (length(tag) = 32),
    number     INTEGER NOT NULL,
    bundle     BLOB    NOT NULL CHECK (length(bundle) = 32)
) STRICT;
CREATE INDEX transparency_leaf_by_bundle ON transparency_leaf (bundle);

-- Roots of full subtrees, which never change; numbered in order, leaf i is 2 * i.
CREATE TABLE transparency_node (
    node_no INTEGER PRIMARY KEY,
    hash    BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE TABLE transparency_head (
    size  INTEGER PRIMARY KEY,
    bytes BLOB    NOT NULL
) STRICT;
