//! Targets of different types behind one, so that a run can hold them in a list and take turns.

use futures_util::{FutureExt as _, future::LocalBoxFuture};

use super::{closed, open};
use crate::{
    process::Server,
    stats::Latencies,
    target::{Target, Transport},
};

/// A target whose type is forgotten.
pub(crate) trait Driver {
    /// See [`Target::server`].
    fn server(&self) -> &Server;

    /// See [`closed::Session::open`].
    fn closed(
        &self,
        senders: usize,
        recipients: usize,
        transport: Transport,
    ) -> LocalBoxFuture<'_, anyhow::Result<Box<dyn Session + '_>>>;

    /// See [`open::run`].
    fn open(&self, plan: open::Plan) -> LocalBoxFuture<'_, anyhow::Result<Latencies>>;
}

/// A closed loop whose target's type is forgotten.
pub(crate) trait Session {
    /// See [`closed::Session::slice`].
    fn slice(&mut self, slice: closed::Slice) -> LocalBoxFuture<'_, anyhow::Result<()>>;

    /// See [`closed::Session::close`].
    fn close<'a>(self: Box<Self>) -> LocalBoxFuture<'a, anyhow::Result<closed::Outcome>>
    where
        Self: 'a;
}

impl<T: Target> Driver for T {
    fn server(&self) -> &Server {
        Target::server(self)
    }

    fn closed(
        &self,
        senders: usize,
        recipients: usize,
        transport: Transport,
    ) -> LocalBoxFuture<'_, anyhow::Result<Box<dyn Session + '_>>> {
        async move {
            let session = closed::Session::open(self, senders, recipients, transport).await?;
            Ok(Box::new(session) as Box<dyn Session + '_>)
        }
        .boxed_local()
    }

    fn open(&self, plan: open::Plan) -> LocalBoxFuture<'_, anyhow::Result<Latencies>> {
        open::run(self, plan).boxed_local()
    }
}

impl<T: Target> Session for closed::Session<'_, T> {
    fn slice(&mut self, slice: closed::Slice) -> LocalBoxFuture<'_, anyhow::Result<()>> {
        closed::Session::slice(self, slice).boxed_local()
    }

    fn close<'a>(self: Box<Self>) -> LocalBoxFuture<'a, anyhow::Result<closed::Outcome>>
    where
        Self: 'a,
    {
        closed::Session::close(*self).boxed_local()
    }
}
