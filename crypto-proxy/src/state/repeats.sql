-- How often the content of an inbound message had come before within an hour (engine/duplicates.rs).
ALTER TABLE message ADD COLUMN repeats INTEGER NOT NULL DEFAULT 0;
