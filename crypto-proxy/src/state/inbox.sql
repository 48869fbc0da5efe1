-- The inbox is counted and paged by the index alone; only what is shown is read.
CREATE INDEX message_inbox ON message(delivery, visible_at, peer_id, type_tag)
  WHERE delivery IS NOT NULL AND deleted = 0;
