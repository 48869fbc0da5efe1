-- What the agent requires of the members of a group before it sends there. A group without a row requires nothing.
CREATE TABLE confirmation(
  group_row INTEGER PRIMARY KEY REFERENCES grp,
  required  INTEGER NOT NULL,          -- 0 nobody, 1 everybody, 2 those in confirmation_of
  confirms  INTEGER NOT NULL           -- whether this agent confirms each epoch by itself
);

CREATE TABLE confirmation_of(
  group_row INTEGER NOT NULL REFERENCES confirmation,
  handle    TEXT    NOT NULL,
  PRIMARY KEY(group_row, handle)
) WITHOUT ROWID;

-- Fingerprints that were given for agents whose key nobody here has relied on yet: the first bundle has to be of
-- that identity.
CREATE TABLE expected(
  handle      TEXT PRIMARY KEY,
  fingerprint BLOB    NOT NULL,        -- 32 bytes
  verified    INTEGER NOT NULL         -- 1: the operator has compared it
) WITHOUT ROWID;
