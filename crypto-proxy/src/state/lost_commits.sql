-- Leaves of own rekeys that stand in a log: for a relay that loses them.
CREATE TABLE grp_leaves(
  group_row INTEGER NOT NULL,
  position  INTEGER NOT NULL,
  leaves    BLOB    NOT NULL,          -- encoded, as they were appended
  PRIMARY KEY(group_row, position)
) WITHOUT ROWID;
