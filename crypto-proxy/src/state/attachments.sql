-- Own attachments, from the request to upload on. `sealed` is what a message will cite.
CREATE TABLE upload(
  upload_row    INTEGER PRIMARY KEY,
  attachment_id BLOB    NOT NULL UNIQUE, -- 16 bytes
  ticket        BLOB    UNIQUE,          -- SHA-256 of the ticket, until the relay has all of it
  stage         INTEGER NOT NULL,        -- 1 open, 2 sealed, 3 stored at the relay
  created_at    INTEGER NOT NULL,
  sealed        BLOB    NOT NULL
);
