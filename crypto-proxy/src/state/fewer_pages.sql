-- A send changes fewer pages: the outbox gives out its numbers and knows its deadlines in memory (state/deadlines.rs),
-- and a used id is found by the message that it is made of.
DROP INDEX sent_id_by_message;

CREATE TABLE outbox_anew(
  token           INTEGER PRIMARY KEY,   -- the order of sending; given out once while the proxy runs
  message_row     INTEGER,               -- NULL for control messages
  envelope        BLOB    NOT NULL,
  hash            BLOB    NOT NULL,
  deadline        INTEGER NOT NULL,
  group_row       INTEGER,               -- of a message to a group
  parked          INTEGER NOT NULL DEFAULT 0, -- it is sealed again before it goes out: its epoch is closed,
                                         -- or its recipient could not be looked up
  receipt_of      INTEGER                -- session whose receipt it is: owed again if it is not sent
);
INSERT INTO outbox_anew(token, message_row, envelope, hash, deadline, group_row, parked, receipt_of)
  SELECT token, message_row, envelope, hash, deadline, group_row, parked, receipt_of FROM outbox;
DROP TABLE outbox;
ALTER TABLE outbox_anew RENAME TO outbox;
CREATE INDEX outbox_parked ON outbox(token) WHERE parked = 1;
CREATE INDEX outbox_by_group ON outbox(group_row) WHERE group_row IS NOT NULL;
CREATE INDEX outbox_by_message ON outbox(message_row) WHERE message_row IS NOT NULL;
