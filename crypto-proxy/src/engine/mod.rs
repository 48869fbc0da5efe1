//! The one place where a message is decided upon: `handle(event, now) -> effects`.

mod event;

pub use event::{
    Command, Effect, Event, LinkEvent, LookupError, Notice, Now, Reply, RequestId, SendOutcome, SendToken,
};
