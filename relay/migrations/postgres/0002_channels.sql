-- Named channels: the slug that the policy of a group claims, unique among groups that have not ended, and whether
-- everybody may join.
ALTER TABLE grp ADD COLUMN slug TEXT COLLATE "C";
ALTER TABLE grp ADD COLUMN is_open BOOLEAN NOT NULL DEFAULT FALSE;
CREATE UNIQUE INDEX grp_by_slug ON grp (slug) WHERE slug IS NOT NULL;
