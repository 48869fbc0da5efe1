-- Own commits that the relay said to refuse, the last ones: one that it shows in a log all the same is no proof that this
-- state is an old copy, also after a restart.
CREATE TABLE grp_refused(
  place INTEGER PRIMARY KEY,       -- the order in which they were refused
  hash  BLOB NOT NULL UNIQUE
);
