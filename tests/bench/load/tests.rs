//! The load generator against a target in memory, whose faults are known.

use std::{
    cell::{Cell, RefCell},
    path::Path,
    process::Command,
    rc::Rc,
    time::Duration,
};

use tokio::{runtime, sync::mpsc, task::LocalSet};

use super::{
    closed::{Session, Slice},
    drain, open,
};
use crate::{
    process::Server,
    target::{Receiver, Sender, Target, Transport},
};

/// What is wrong with the target.
#[derive(Clone, Copy)]
enum Fault {
    None,
    /// The first message takes this long; the others wait for it.
    Stalls(Duration),
}

struct Memory {
    server: Server,
    fault: Fault,
    inboxes: Rc<RefCell<Vec<mpsc::UnboundedSender<u64>>>>,
}

struct MemorySender {
    fault: Fault,
    sent: u64,
    inboxes: Rc<RefCell<Vec<mpsc::UnboundedSender<u64>>>>,
}

struct MemoryReceiver(mpsc::UnboundedReceiver<u64>);

impl Memory {
    fn new(fault: Fault) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "echo listening on http://127.0.0.1:1; exec sleep 60"]);
        Self {
            server: Server::start(&mut command).unwrap(),
            fault,
            inboxes: Rc::default(),
        }
    }
}

impl Target for Memory {
    const NAME: &'static str = "memory";
    type Sender = MemorySender;
    type Receiver = MemoryReceiver;

    async fn start(_folder: &Path, _agents: usize) -> anyhow::Result<Self> {
        Ok(Self::new(Fault::None))
    }

    fn server(&self) -> &Server {
        &self.server
    }

    async fn sender(&self, _agent: usize, _transport: Transport) -> anyhow::Result<MemorySender> {
        Ok(MemorySender {
            fault: self.fault,
            sent: 0,
            inboxes: Rc::clone(&self.inboxes),
        })
    }

    async fn receiver(&self, _agent: usize) -> anyhow::Result<MemoryReceiver> {
        let (inbox, messages) = mpsc::unbounded_channel();
        self.inboxes.borrow_mut().push(inbox);
        Ok(MemoryReceiver(messages))
    }
}

impl Sender for MemorySender {
    async fn send(&mut self, to: usize, tag: u64) -> anyhow::Result<()> {
        self.sent += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
        if let (Fault::Stalls(time), 1) = (self.fault, self.sent) {
            tokio::time::sleep(time).await;
        }
        Ok(self.inboxes.borrow()[to].send(tag)?)
    }
}

impl Receiver for MemoryReceiver {
    async fn next(&mut self) -> anyhow::Result<u64> {
        self.0
            .recv()
            .await
            .ok_or_else(|| anyhow::anyhow!("no sender is left"))
    }

    async fn ack(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(LocalSet::new().run_until(test))
}

const SLICE: Slice = Slice {
    warm_up: Duration::from_millis(20),
    measure: Duration::from_millis(100),
};

#[test]
fn closed_loop_counts_measured_sends_of_all_slices() {
    run(async {
        let target = Memory::new(Fault::None);
        let mut session = Session::open(&target, 4, 4, Transport::Http).await.unwrap();
        session.slice(SLICE).await.unwrap();
        session.slice(SLICE).await.unwrap();
        let outcome = session.close().await.unwrap();
        assert_eq!(outcome.slices.len(), 2);
        assert!(outcome.rate > 0.0 && outcome.rate <= 4000.0, "{outcome:?}");
        assert!(outcome.ack.p50 >= 1000.0, "{outcome:?}");
        assert_eq!(outcome.ack.count as f64, (outcome.rate * 0.2).round());
    });
}

#[test]
fn a_lost_message_makes_the_run_an_error() {
    run(async {
        let patience = Duration::from_millis(50);
        let received = Rc::new(Cell::new(2));
        assert!(drain(Vec::new(), 2, &received, patience).await.is_ok());
        assert!(drain(Vec::new(), 3, &received, patience).await.is_err());
    });
}

#[test]
fn open_loop_charges_a_stall_to_all_that_were_due() {
    run(async {
        let stall = Duration::from_millis(400);
        let target = Memory::new(Fault::Stalls(stall));
        let plan = open::Plan {
            rate: 100,
            senders: 1,
            transport: Transport::Http,
            warm_up: Duration::ZERO,
            measure: Duration::from_millis(600),
        };
        let latency = open::run(&target, plan).await.unwrap().percentiles();
        assert_eq!(latency.count, 60);
        assert!(latency.max >= 400_000.0, "{latency:?}");
        // Two of three were due during the stall; a closed loop would have recorded one.
        assert!(latency.p50 > 50_000.0, "{latency:?}");
    });
}
