//! `waxwire-proxy run`: the engine, the link to the relay and the local API, until a signal.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use tokio::{
    runtime::Handle,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;
use waxwire_outbound::{
    hook::{Caller, SystemResolver},
    traces::{Collector, Traces},
};
use waxwire_shared::{
    fingerprint::Fingerprint,
    hash::sha256,
    ids::{Hash, RelayId},
    limits,
    sign::SignedBytes,
    wire::{Bundle, Document as _},
};

use super::{
    StateArgs,
    address::AddressFile,
    hook::{HookArgs, Surroundings},
    init::{TOKEN_FILE, column_keys, make_token},
    one_thread, trust,
};
use crate::{
    api::{self, ApiConfig, ApiState, ApiToken, Checks, ListenAddr, Listener},
    attachments::{Attachments, Bounds},
    clock::{self, Clock},
    crypto::{
        sealed_box,
        secret::{IdentitySecret, SendIdKey},
    },
    engine::{
        Account, Command, Counters, EncryptionKey, Engine, HookForm, InboxMode, Settings, ShowPresence,
        TrustPolicy, UPLOAD_MS,
    },
    harden,
    keeper::Keeper,
    keystore::{KeyStore, Keys, Status},
    link::{self, Client, LinkConfig, LinkFault, LinkStatus, RelayUrl},
    metrics::Observed,
    model::Me,
    pins::PinFile,
    rng::OsRng,
    shell::{self, EngineHandle},
    state::{Reader, Store},
    webhooks::{self, Allowed, AllowedHost},
};

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    state: StateArgs,
    /// Where the local API listens: a loopback address with a port (0 takes a free one) or unix:PATH.
    #[arg(
        long,
        env = "WAXWIRE_PROXY_LISTEN",
        default_value = "127.0.0.1:7700",
        value_name = "ADDRESS"
    )]
    listen: ListenAddr,
    /// Who may write to the agent without being let in.
    #[arg(long, env = "WAXWIRE_PROXY_INBOX_MODE", default_value = "open", value_enum)]
    inbox_mode: InboxModeArg,
    /// What a first contact needs: nothing (tofu), handle#fingerprint (pinned), or that the operator has
    /// verified the peer (verified).
    #[arg(long, env = "WAXWIRE_PROXY_TRUST_POLICY", default_value = "tofu", value_enum)]
    trust_policy: TrustPolicyArg,
    /// A file of pins that hold before anybody is met, as `trust import` takes them.
    #[arg(long, env = "WAXWIRE_PROXY_PINS", value_name = "FILE")]
    pins: Option<PathBuf>,
    /// The same, of agents that somebody has compared: they are held as verified.
    #[arg(long, env = "WAXWIRE_PROXY_VERIFIED_PINS", value_name = "FILE")]
    verified_pins: Option<PathBuf>,
    /// Who may see whether the agent is online.
    #[arg(long, env = "WAXWIRE_PROXY_PRESENCE", value_enum, default_value = "everyone")]
    presence: PresenceArg,
    /// Most WebSockets of agents at one time, and most streams of events; 0 is no limit.
    #[arg(
        long,
        env = "WAXWIRE_PROXY_MAX_SOCKETS",
        default_value_t = 8,
        value_name = "COUNT"
    )]
    max_sockets: usize,
    /// A host besides this one that webhooks may call, or one port of it; may be given more than once.
    #[arg(
        long,
        env = "WAXWIRE_PROXY_WEBHOOK_ALLOW",
        value_name = "HOST[:PORT]",
        value_delimiter = ','
    )]
    webhook_allow: Vec<AllowedHost>,
    #[command(flatten)]
    hook: HookArgs,
    /// Seconds of running time until the encryption key is replaced.
    #[arg(long, env = "WAXWIRE_PROXY_KEY_ROTATION", default_value_t = 7 * 24 * 3_600, value_name = "SECONDS",
          value_parser = clap::value_parser!(u32).range(1..))]
    key_rotation: u32,
    /// Seconds of running time that a replaced key is kept once the queues were emptied. Peers may
    /// seal to it for a day after the replacement: with less than that, messages are lost.
    #[arg(long, env = "WAXWIRE_PROXY_KEY_RETENTION", default_value_t = 48 * 3_600, value_name = "SECONDS",
          value_parser = clap::value_parser!(u32).range(1..))]
    key_retention: u32,
    /// Seconds after which the relay is asked for a peer's key anew before anything is sealed to it.
    #[arg(long, env = "WAXWIRE_PROXY_BUNDLE_AGE", default_value_t = 24 * 3_600, value_name = "SECONDS",
          value_parser = clap::value_parser!(u32).range(..=24 * 3_600))]
    bundle_age: u32,
    /// Seconds that the relay may take until a bundle that it shows is proved to be in its transparency log.
    #[arg(long, env = "WAXWIRE_PROXY_LOG_WITHIN", default_value_t = 2 * 3_600, value_name = "SECONDS",
          value_parser = clap::value_parser!(u32).range(..=7 * 24 * 3_600))]
    log_within: u32,
    /// How often in a minute the agent may send the same content of 64 bytes or more; 0 is as often as it
    /// likes.
    #[arg(
        long,
        env = "WAXWIRE_PROXY_DUPLICATES",
        default_value_t = 60,
        value_name = "COUNT"
    )]
    duplicates: u32,
    /// Largest attachment, in bytes.
    #[arg(long, env = "WAXWIRE_PROXY_ATTACHMENT_MAX", default_value_t = limits::ATTACHMENT, value_name = "BYTES")]
    attachment_max: u64,
    /// Bytes that attachments under way may take in the state folder, sealed.
    #[arg(
        long,
        env = "WAXWIRE_PROXY_ATTACHMENT_SPACE",
        default_value_t = 1024 * 1024 * 1024,
        value_name = "BYTES"
    )]
    attachment_space: u64,
    /// A collector that is told on what time is spent: OTLP as JSON, as at http://127.0.0.1:4318/v1/traces.
    #[arg(long, env = "WAXWIRE_PROXY_TRACES", value_name = "URL")]
    traces: Option<Collector>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum InboxModeArg {
    /// Anybody.
    Open,
    /// Whom the agent has written to or let in; others wait in the requests.
    #[value(name = "contacts_only")]
    ContactsOnly,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PresenceArg {
    /// Every agent of the relay, until the agent itself says that it is offline.
    Everyone,
    /// Nobody.
    Nobody,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum TrustPolicyArg {
    /// The first identity seen is pinned.
    Tofu,
    /// A first contact needs a fingerprint.
    Pinned,
    /// The operator has to have verified whomever the agent writes to.
    Verified,
}

impl RunArgs {
    /// What tells spans, if there is a collector.
    pub(super) fn traces(&self) -> anyhow::Result<Option<Traces>> {
        let traces = self
            .traces
            .as_ref()
            .map(|collector| Traces::start(collector, env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")));
        Ok(traces.transpose()?)
    }

    fn settings(&self) -> Settings {
        Settings {
            inbox_mode: match self.inbox_mode {
                InboxModeArg::Open => InboxMode::Open,
                InboxModeArg::ContactsOnly => InboxMode::ContactsOnly,
            },
            trust_policy: match self.trust_policy {
                TrustPolicyArg::Tofu => TrustPolicy::Tofu,
                TrustPolicyArg::Pinned => TrustPolicy::Pinned,
                TrustPolicyArg::Verified => TrustPolicy::Verified,
            },
            show_presence: match self.presence {
                PresenceArg::Everyone => ShowPresence::Everyone,
                PresenceArg::Nobody => ShowPresence::Nobody,
            },
            key_rotation: u64::from(self.key_rotation) * 1_000,
            key_retention: u64::from(self.key_retention) * 1_000,
            bundle_age: u64::from(self.bundle_age) * 1_000,
            log_within: u64::from(self.log_within) * 1_000,
            duplicates: u64::from(self.duplicates),
            hook_form: HookForm(api::hook_form),
            ..Settings::default()
        }
    }
}

impl RunArgs {
    /// Before the link is up: nobody is met under another key.
    async fn take_pins(&self, engine: &EngineHandle, relay: &Fingerprint) -> anyhow::Result<()> {
        for (file, verified) in [(&self.pins, false), (&self.verified_pins, true)] {
            let Some(file) = file else { continue };
            let taken = async {
                let pins = PinFile::read(&trust::read(file)?, relay, verified)?;
                Ok::<_, anyhow::Error>(engine.command(Command::ImportPins(pins)).await?)
            };
            taken
                .await
                .with_context(|| format!("the pins in {} are not taken", file.display()))?;
        }
        Ok(())
    }
}

pub(super) fn run(args: &RunArgs, traces: Option<Traces>) -> anyhow::Result<()> {
    let pages = harden::harden()?;
    tracing::info!(pages = pages.name(), "starting");
    OsRng::check()?;
    let folder = &args.state.state;
    let (unlock, _) = args.state.unlock_sources().find(folder)?;
    let store = KeyStore::open(folder, &unlock)?;
    harden::scrub_stack();
    match store.keys().status {
        Status::Active => {}
        Status::New => bail!("the agent is not registered yet: run init again with the same arguments"),
        Status::Restoring => {
            bail!("the agent is not restored yet: run restore again with the same arguments")
        }
    }
    // One thread for the link and the API, so that neither wakes another; the engine and what reads the state have their own.
    let runtime = one_thread()?;
    runtime.block_on(async {
        if let Some(traces) = &traces {
            traces.call_on(Handle::current());
        }
        let served = serve(args, store).await;
        if let Some(traces) = traces {
            traces.end().await;
        }
        served
    })
}

async fn serve(args: &RunArgs, key_store: KeyStore) -> anyhow::Result<()> {
    let keys = key_store.keys();
    let folder = &args.state.state;
    let column_keys = column_keys(keys)?;
    let mut store = Store::open(folder, Arc::clone(&column_keys))?;
    // Also where a crash came between the two files, or this instance took over.
    store.begin()?;
    store.begin_session(&keys.session)?;
    let lease_time = store.next_lease(clock::unix())?;
    store.commit()?;
    let reader = Reader::open(folder, column_keys)?;
    let (lineage, cursors) = (store.lineage()?, store.cursors()?);
    let clock = Clock::resume(store.running_time()?);
    let account = account(keys, store.own_bundle()?.as_deref())?;
    let self_seal = self_seal_opens(&account);
    harden::scrub_stack();
    let (client, me) = (client(keys)?, me(keys, &reader)?);
    let client = Arc::new(client);
    let attachments = attachments(args, &client, &reader)?;
    let mut engine = Engine::new(account, args.settings(), store, Box::new(OsRng));
    let lease = engine.lease(lease_time);
    let counters = engine.counters();
    let keeper = Keeper::new(key_store);
    let (commands, link_commands) = mpsc::unbounded_channel();
    let running = shell::start(engine, clock, commands.clone(), keeper.clone())?;
    args.take_pins(&running.handle, &me.relay).await?;
    let listener = Listener::bind(&args.listen).await?;

    // The API stops first: what it still has to answer needs the link.
    let (api_cancel, link_cancel) = (CancellationToken::new(), CancellationToken::new());
    let (status, link_status) = watch::channel(LinkStatus::default());
    let config = LinkConfig {
        client: Arc::clone(&client),
        lineage,
        cursors,
        lease,
        credentials: Arc::new(keeper),
    };
    let link = tokio::spawn(link::run(
        config,
        link_commands,
        running.handle.clone(),
        OsRng,
        status,
        link_cancel.clone(),
    ));
    let hook = Surroundings {
        folder,
        client,
        link: commands,
        status: link_status.clone(),
        cancel: api_cancel.clone(),
    };
    let hook = args.hook.start(hook).await?;
    let (status, counted) = (link_status.clone(), Arc::clone(&counters));
    let webhook_hosts = Arc::new(Allowed::new(args.webhook_allow.clone()));
    let caller = Caller::new(
        concat!("waxwire-proxy/", env!("CARGO_PKG_VERSION")),
        Arc::clone(&webhook_hosts) as Arc<_>,
        SystemResolver,
    );
    let config = ApiConfig {
        me,
        inbox_mode: args.settings().inbox_mode,
        hosts: listener.hosts(),
        place: listener.to_string(),
        token: token(folder)?,
        readiness: Arc::new(move || checks(&status.borrow(), self_seal, &counted)),
        metrics: Some(own_metrics(link_status, counters, reader.clone())),
        attachments: Arc::new(attachments),
        max_sockets: args.max_sockets,
        webhook_hosts,
        stopping: api_cancel.clone(),
    };
    let state = ApiState::new(running.handle.clone(), reader, config);
    let router = api::router(state.clone());
    let hooks = tokio::spawn(webhooks::run(state.clone(), caller, api_cancel.clone()));
    // Before anybody is told that the proxy is there: whoever stops it at once is heard, too.
    let stopped = stop_signal()?;
    let _address = AddressFile::write(folder, &listener.to_string())?;
    announce(&listener);
    let api = tokio::spawn(api::serve(listener, router, api_cancel.clone()));

    stopped.await;
    tracing::info!("stopping");
    api_cancel.cancel();
    api.await.context("the local API ended abnormally")?;
    state.sockets_closed().await;
    hooks.await.context("the senders of webhooks ended abnormally")?;
    hook.wait().await;
    drop(state);
    link_cancel.cancel();
    link.await.context("the link ended abnormally")?;
    running.stop().await;
    Ok(())
}

/// The bytes of attachments: what was fetched in an earlier run is deleted, what was sealed goes on.
fn attachments(args: &RunArgs, client: &Arc<Client>, reader: &Reader) -> anyhow::Result<Attachments> {
    let since = clock::unix().saturating_sub(UPLOAD_MS);
    let bounds = Bounds {
        attachment: args.attachment_max,
        space: args.attachment_space,
    };
    let uploads = reader.open_uploads(since)?;
    Attachments::open(Arc::clone(client), &args.state.state, bounds, &uploads)
        .context("the folder of attachments cannot be used")
}

fn checks(link: &LinkStatus, self_seal: bool, counters: &Counters) -> Checks {
    let bundle = counters.bundle_expires() > clock::unix();
    Checks::new(link.connected, self_seal, bundle).because(link.last_fault.map(LinkFault::name))
}

/// What link and engine counted, for `GET /metrics`.
fn own_metrics(
    link: watch::Receiver<LinkStatus>,
    counters: Arc<Counters>,
    reader: Reader,
) -> api::OwnMetrics {
    Arc::new(move || {
        let link = link.borrow().clone();
        let observed = Observed {
            link: &link,
            engine: &counters,
            outbox: reader.outbox_depth().ok(),
            hooks: reader.hook_depths().ok(),
        };
        observed.render()
    })
}

/// Copies of the secrets for the engine; the key store keeps its own until the process ends. Which
/// bundle the relay has is known from the state, or else from the key store.
fn account(keys: &Keys, own_bundle: Option<&[u8]>) -> anyhow::Result<Account> {
    let published = own_bundle.and_then(published_key);
    let current = published.map(|(number, _)| number).or_else(|| {
        let current = keys.encryption.iter().filter(|key| key.superseded_ms.is_none());
        current.map(|key| key.number).min()
    });
    let key_number = current.context("the key store holds no encryption key")?;
    let hash = published.map(|(_, hash)| hash).or(keys.bundle);
    let held = keys.encryption.iter().map(|record| EncryptionKey {
        number: record.number,
        suite: record.suite,
        secret: record.secret.duplicate(),
        // Also where a crash came between the two files.
        superseded: record
            .superseded_ms
            .or_else(|| (record.number < key_number).then(clock::unix)),
        emptied: record.drained_running_ms,
    });
    Ok(Account {
        handle: keys.handle.clone(),
        relay: keys.relay_id(),
        relay_identity: keys.relay.identity.clone(),
        agent_id: keys.agent_id(),
        identity: IdentitySecret::from_slice(keys.identity.expose_seed())?,
        send_id_key: SendIdKey::from_slice(keys.send_id.expose_bytes())?,
        encryption_keys: held.collect(),
        key_number,
        bundle_hash: hash.context("the key store holds no published bundle")?,
        bundle_number: keys.bundle_number,
        recovery: keys.recovery,
        session: keys.session,
        incarnation: keys.incarnation,
    })
}

/// Number of the key in an own bundle, and the hash of the bundle.
fn published_key(signed: &[u8]) -> Option<(u64, Hash)> {
    let body = SignedBytes::decode(signed).ok()?.body;
    let number = Bundle::decode(&body).ok()?.best_key()?.number;
    Some((number, sha256(signed)))
}

/// Whether what is sealed to the own newest key opens.
fn self_seal_opens(account: &Account) -> bool {
    let probe = b"waxwire self-seal";
    account.encryption_keys.last().is_some_and(|key| {
        let sealed = sealed_box::seal(&mut OsRng, key.secret.public(), probe);
        sealed_box::open(&key.secret, &sealed).is_ok_and(|opened| opened.as_slice() == probe)
    })
}

fn client(keys: &Keys) -> anyhow::Result<Client> {
    // Whether http:// is allowed was decided at init.
    let url = RelayUrl::parse(&keys.relay.url, true)?;
    let api_key = keys.api_key.as_ref().context("the key store holds no API key")?;
    Ok(Client::new(url)?.authorized(api_key, RelayId::of(&keys.relay.identity), OsRng))
}

/// The token of the local API; another one if its file was taken away, which is how to be rid of one.
fn token(folder: &Path) -> anyhow::Result<ApiToken> {
    let path = folder.join(TOKEN_FILE);
    if !path.exists() {
        make_token(folder)?;
        tracing::info!("the local API has a new token");
    }
    let line = zeroize::Zeroizing::new(
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?,
    );
    ApiToken::parse(&line).with_context(|| format!("{} holds no token", path.display()))
}

fn me(keys: &Keys, reader: &Reader) -> anyhow::Result<Me> {
    Ok(Me {
        handle: keys.handle.clone(),
        agent_id: keys.agent_id().to_string(),
        fingerprint: Fingerprint::of(keys.identity.public()),
        relay: Fingerprint::of(&keys.relay.identity),
        created_at: reader.created_at()?,
    })
}

#[expect(clippy::print_stdout, reason = "scripts wait for this line")]
fn announce(listener: &Listener) {
    println!("listening on {listener}");
    tracing::info!(time = clock::unix(), "ready");
}

/// Ends with the first signal to stop that comes after the call.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
