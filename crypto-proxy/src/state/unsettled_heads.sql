-- Heads of the relay's log that wait for a proof are not lost with the process: a relay that does not answer would only
-- have to wait for that.
CREATE TABLE log_unsettled(
  place  INTEGER PRIMARY KEY,      -- the order in which they came
  signed BLOB    NOT NULL UNIQUE
);
