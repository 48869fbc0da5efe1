-- What is unread is counted by the index alone, without a look at each message.
DROP INDEX message_unread;
CREATE INDEX message_unread ON message(conversation_id, deleted, delivery, read_at)
  WHERE read_at IS NULL AND delivery IS NOT NULL;
