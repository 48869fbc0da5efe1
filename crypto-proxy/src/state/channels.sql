-- Which group a slug names for this agent: the first one that it was in whose verified log claims the slug. Stays when
-- the agent leaves: another group under the slug is told, not taken.
CREATE TABLE channel(
  slug      TEXT    PRIMARY KEY,
  group_row INTEGER NOT NULL UNIQUE REFERENCES grp
) WITHOUT ROWID;
