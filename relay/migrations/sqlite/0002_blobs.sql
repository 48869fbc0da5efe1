-- Attachments as the relay knows them: an opaque file of a length, and who uploaded it. The bytes are in a folder.
-- How much of an unfinished one has arrived is the length of its file.
CREATE TABLE blob (
    blob_no      INTEGER PRIMARY KEY,
    blob_id      BLOB    NOT NULL UNIQUE CHECK (length(blob_id) = 16),
    owner_no     INTEGER NOT NULL REFERENCES agent (agent_no),
    length       INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    completed_at INTEGER
) STRICT;
CREATE INDEX blob_by_owner ON blob (owner_no, length, completed_at);
CREATE INDEX blob_by_age ON blob (created_at);
CREATE INDEX blob_unfinished ON blob (created_at) WHERE completed_at IS NULL;
