-- Named channels: the slug that the policy of a group claims, unique among groups that have not ended, and whether
-- everybody may join. Groups of an earlier version have neither until a commit changes their policy: no crypto proxy
-- could make one that has.
ALTER TABLE grp ADD COLUMN slug TEXT;
ALTER TABLE grp ADD COLUMN is_open INTEGER NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX grp_by_slug ON grp (slug) WHERE slug IS NOT NULL;
