-- Whose queue it is that has grown, asked for every wake-up.

CREATE INDEX agent_by_mail_queue ON agent (mail_queue);
CREATE INDEX agent_by_control_queue ON agent (control_queue);
