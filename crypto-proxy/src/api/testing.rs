//! Request tests: the whole router in front of an engine and a state that do as they are told.
//! Every answer that a test gets is compared with `openapi.json`.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{Router, body::Body, response::Response};
use futures_util::future::BoxFuture;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use hyper_util::service::TowerToHyperService;
use tempfile::TempDir;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use waxwire_shared::{fingerprint::Fingerprint, identity::IdentityKey, ids::Handle, wire::AttachmentRef};

use super::answer::assert_documented;
use super::{
    ApiConfig, ApiState, ApiToken, Checks, Hosts,
    backend::{Backend, Unreadable},
    obliging::obliging,
    router,
};
pub(super) use super::{answer::Answer, samples::*};
use crate::{
    engine::{Command, ContactCommand, GroupCommand, InboxMode, Notice, Reply},
    model::{
        Alert, AttachmentId, Channel, Contact, ContactPage, ContactRequest, Conversation, DeadLetter,
        DeadLetterPage, DeliveryId, GroupLookup, GroupSecurity, HookCall, Invitation, LocalConversation, Me,
        Message, MessageId, Mute, MuteTarget, OwnProfile, PinEntry, Refusal, SendRequest, UnixMs, Upload,
        Webhook, WebhookId,
    },
    state::{Beginning, HistoryRange, InboxFilter, InboxPage, Since, Stretch, Stuck, VisibleRow},
    webhooks::Allowed,
};

pub(super) const TOKEN: &str = "wx_0123456789abcdefghijABCDEFGHIJ-_0123456789a";
pub(super) const HOST: &str = "127.0.0.1:7700";

type Answerer = Box<dyn Fn(&Command) -> Result<Reply, Refusal> + Send + Sync>;

/// An engine and a state.
pub(super) struct Fake {
    pub(super) commands: Mutex<Vec<Command>>,
    pub(super) messages: Mutex<Vec<Message>>,
    pub(super) conversations: Mutex<Vec<Conversation>>,
    pub(super) groups: Mutex<Vec<GroupLookup>>,
    pub(super) securities: Mutex<Vec<(LocalConversation, GroupSecurity)>>,
    pub(super) channels: Mutex<Vec<Channel>>,
    pub(super) invitations: Mutex<Vec<Invitation>>,
    pub(super) requests: Mutex<Vec<ContactRequest>>,
    pub(super) contacts: Mutex<Vec<Contact>>,
    pub(super) mutes: Mutex<Vec<Mute>>,
    pub(super) own: Mutex<OwnProfile>,
    pub(super) pins: Mutex<Vec<PinEntry>>,
    pub(super) alerts: Mutex<Vec<Alert>>,
    /// Uploads by the hashes of their tickets.
    pub(super) uploads: Mutex<Vec<([u8; 32], Upload)>>,
    pub(super) stuck: Mutex<Stuck>,
    pub(super) webhooks: Mutex<Vec<Webhook>>,
    pub(super) dead: Mutex<Vec<DeadLetter>>,
    pub(super) filters: Mutex<Vec<InboxFilter>>,
    pub(super) ranges: Mutex<Vec<(HistoryRange, usize)>>,
    pub(super) notices: broadcast::Sender<Notice>,
    answer: Mutex<Answerer>,
    broken: AtomicBool,
    panics: AtomicBool,
    hangs: AtomicBool,
}

impl Fake {
    fn new() -> Self {
        Self {
            commands: Mutex::default(),
            messages: Mutex::default(),
            conversations: Mutex::default(),
            groups: Mutex::default(),
            securities: Mutex::default(),
            channels: Mutex::default(),
            invitations: Mutex::default(),
            requests: Mutex::default(),
            contacts: Mutex::default(),
            mutes: Mutex::default(),
            own: Mutex::default(),
            pins: Mutex::default(),
            alerts: Mutex::default(),
            uploads: Mutex::default(),
            stuck: Mutex::default(),
            webhooks: Mutex::default(),
            dead: Mutex::default(),
            filters: Mutex::default(),
            ranges: Mutex::default(),
            notices: broadcast::channel(4).0,
            answer: Mutex::new(Box::new(obliging)),
            broken: AtomicBool::new(false),
            panics: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
        }
    }

    /// What the engine answers from now on.
    pub(super) fn answers(
        &self,
        answer: impl Fn(&Command) -> Result<Reply, Refusal> + Send + Sync + 'static,
    ) {
        *self.answer.lock().unwrap() = Box::new(answer);
    }

    pub(super) fn refuses(&self, refusal: Refusal) {
        self.answers(move |_| Err(refusal.clone()));
    }

    /// Reads fail from now on.
    pub(super) fn breaks(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// Commands panic from now on.
    pub(super) fn panics(&self) {
        self.panics.store(true, Ordering::Relaxed);
    }

    /// Commands are never answered from now on.
    pub(super) fn hangs(&self) {
        self.hangs.store(true, Ordering::Relaxed);
    }

    /// Makes a message visible and says so.
    pub(super) fn arrives(&self, message: Message) {
        self.messages.lock().unwrap().push(message.clone());
        // A test may have nobody waiting.
        let _nobody = self.notices.send(Notice::Message(Box::new(message)));
    }

    /// The one command that was given.
    pub(super) fn command(&self) -> Command {
        let commands = self.commands.lock().unwrap();
        assert_eq!(commands.len(), 1, "{commands:?}");
        commands[0].clone()
    }

    pub(super) fn sent(&self) -> SendRequest {
        match self.command() {
            Command::Send(request) => *request,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn group_command(&self) -> GroupCommand {
        match self.command() {
            Command::Group(command) => command,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn contact_command(&self) -> ContactCommand {
        match self.command() {
            Command::Contact(command) => command,
            other => panic!("{other:?}"),
        }
    }

    fn read<'a, T>(&self, of: &'a Mutex<T>) -> Result<MutexGuard<'a, T>, Unreadable> {
        if self.broken.load(Ordering::Relaxed) {
            Err(Unreadable)
        } else {
            Ok(of.lock().unwrap())
        }
    }

    fn inbound(&self) -> Result<Vec<Message>, Unreadable> {
        Ok(self
            .read(&self.messages)?
            .iter()
            .filter(|message| !message.own)
            .cloned()
            .collect())
    }
}

impl Backend for Fake {
    fn command(&self, command: Command) -> BoxFuture<'_, Result<Reply, Refusal>> {
        assert!(!self.panics.load(Ordering::Relaxed), "told to: canary-of-a-panic");
        let answer = (self.answer.lock().unwrap())(&command);
        self.commands.lock().unwrap().push(command);
        if self.hangs.load(Ordering::Relaxed) {
            return Box::pin(std::future::pending());
        }
        Box::pin(async { answer })
    }

    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    fn history(
        &self,
        conversation: &LocalConversation,
        range: HistoryRange,
        limit: usize,
    ) -> Result<Option<Vec<Message>>, Unreadable> {
        self.ranges.lock().unwrap().push((range, limit));
        let messages = self.read(&self.messages)?;
        let of_it = |message: &&Message| message.conversation == *conversation;
        let rows: Vec<Message> = messages.iter().filter(of_it).take(limit).cloned().collect();
        Ok(if rows.is_empty() { None } else { Some(rows) })
    }

    fn sync(
        &self,
        after: Option<DeliveryId>,
        places: &[RangeInclusive<u64>],
        limit: usize,
        now: UnixMs,
    ) -> Result<Vec<Message>, Unreadable> {
        let after = after.map_or(0, |after| after.position);
        let due = |message: &Message| {
            let place = message.place;
            let among = places.iter().any(|places| places.contains(&place)) || message.is_muted(now);
            message.delivered_at.is_none() && place > after && among
        };
        Ok(self.inbound()?.into_iter().filter(due).take(limit).collect())
    }

    fn beginning(&self) -> Result<Beginning, Unreadable> {
        let last = self
            .read(&self.messages)?
            .iter()
            .map(|message| message.place)
            .max();
        let mut unsettled = self.inbound()?;
        unsettled.retain(|message| message.delivered_at.is_none());
        Ok(Beginning {
            store: [9; 8],
            unsettled: unsettled.iter().map(|message| message.place).min(),
            last: last.unwrap_or_default(),
        })
    }

    fn stretch(
        &self,
        after: u64,
        rows: usize,
        _: usize,
        wanted: &mut dyn FnMut(&VisibleRow) -> bool,
    ) -> Result<Stretch, Unreadable> {
        let messages = self.read(&self.messages)?;
        let page: Vec<&Message> = messages
            .iter()
            .filter(|message| message.place > after)
            .take(rows)
            .collect();
        let up_to = page.last().map_or(after, |message| message.place);
        let more = page.len() == rows;
        let mut wanted = |message: &&Message| {
            wanted(&VisibleRow {
                place: message.place,
                own: message.own,
                settled: message.delivered_at.is_some(),
                conversation: message.conversation,
            })
        };
        let messages = page
            .into_iter()
            .filter(|message| wanted(message))
            .cloned()
            .collect();
        Ok(Stretch {
            messages,
            up_to,
            more,
        })
    }

    fn message(&self, id: &MessageId) -> Result<Option<Message>, Unreadable> {
        Ok(self
            .read(&self.messages)?
            .iter()
            .find(|message| message.id == *id)
            .cloned())
    }

    fn conversations(&self, limit: usize, offset: usize) -> Result<Vec<Conversation>, Unreadable> {
        Ok(self
            .read(&self.conversations)?
            .iter()
            .skip(offset)
            .take(limit)
            .cloned()
            .collect())
    }

    fn conversation(&self, id: &LocalConversation) -> Result<Option<Conversation>, Unreadable> {
        Ok(self
            .read(&self.conversations)?
            .iter()
            .find(|conversation| conversation.id == *id)
            .cloned())
    }

    fn group(&self, id: &LocalConversation) -> Result<GroupLookup, Unreadable> {
        let is_it = |group: &&GroupLookup| match group {
            GroupLookup::Member(group) => group.id == *id,
            GroupLookup::Ended(end) => end.id == *id,
            GroupLookup::Unknown => false,
        };
        let groups = self.read(&self.groups)?;
        Ok(groups.iter().find(is_it).cloned().unwrap_or(GroupLookup::Unknown))
    }

    fn member_groups(&self) -> Result<Vec<LocalConversation>, Unreadable> {
        let groups = self.read(&self.groups)?;
        let member = |group: &GroupLookup| match group {
            GroupLookup::Member(group) => Some(group.id),
            GroupLookup::Ended(_) | GroupLookup::Unknown => None,
        };
        Ok(groups.iter().filter_map(member).collect())
    }

    fn group_security(&self, id: &LocalConversation) -> Result<Option<GroupSecurity>, Unreadable> {
        let securities = self.read(&self.securities)?;
        let found = securities.iter().find(|(group, _)| group == id);
        Ok(found.map(|(_, security)| security.clone()))
    }

    fn channel(&self, slug: &Handle) -> Result<Option<Channel>, Unreadable> {
        let channels = self.read(&self.channels)?;
        Ok(channels.iter().find(|channel| channel.slug == *slug).cloned())
    }

    fn channels(&self, after: &str, limit: usize) -> Result<Vec<Channel>, Unreadable> {
        let channels = self.read(&self.channels)?;
        let after = channels
            .iter()
            .filter(|channel| channel.joined && channel.slug.as_str() > after);
        Ok(after.take(limit).cloned().collect())
    }

    fn invitations(&self) -> Result<Vec<Invitation>, Unreadable> {
        Ok(self.read(&self.invitations)?.clone())
    }

    fn inbox(&self, filter: &InboxFilter) -> Result<InboxPage, Unreadable> {
        self.filters.lock().unwrap().push(filter.clone());
        let since = |message: &Message| match filter.since {
            None => true,
            Some(Since::Time(at)) => message.created_at > at,
            Some(Since::Delivery(after)) => message.delivery.is_some_and(|d| d.position > after.position),
        };
        let of_type = |message: &Message| {
            filter
                .message_type
                .as_ref()
                .is_none_or(|wanted| *wanted == message.message_type)
        };
        let mut rows = self.inbound()?;
        rows.retain(|message| {
            filter.from.as_ref().is_none_or(|from| *from == message.sender)
                && of_type(message)
                && (!filter.unread || message.read_at.is_none())
                && since(message)
        });
        rows.reverse();
        let total = rows.len() as u64;
        let messages = rows.into_iter().skip(filter.offset).take(filter.limit).collect();
        Ok(InboxPage { messages, total })
    }

    fn unread_count(&self) -> Result<u64, Unreadable> {
        Ok(self
            .inbound()?
            .iter()
            .filter(|message| message.read_at.is_none())
            .count() as u64)
    }

    fn requests(&self) -> Result<Vec<ContactRequest>, Unreadable> {
        Ok(self.read(&self.requests)?.clone())
    }

    fn contacts(&self, limit: usize, offset: usize) -> Result<ContactPage, Unreadable> {
        let contacts = self.read(&self.contacts)?;
        Ok(ContactPage {
            contacts: contacts.iter().skip(offset).take(limit).cloned().collect(),
            total: contacts.len() as u64,
        })
    }

    fn contact(&self, handle: &Handle) -> Result<Option<Contact>, Unreadable> {
        let contacts = self.read(&self.contacts)?;
        Ok(contacts.iter().find(|contact| contact.handle == *handle).cloned())
    }

    fn mutes(&self, _now: UnixMs) -> Result<Vec<Mute>, Unreadable> {
        self.read(&self.mutes).map(|mutes| mutes.clone())
    }

    fn mute(&self, target: &MuteTarget, _now: UnixMs) -> Result<Option<Mute>, Unreadable> {
        let mutes = self.read(&self.mutes)?;
        Ok(mutes.iter().find(|mute| mute.target == *target).cloned())
    }

    fn own_profile(&self) -> Result<OwnProfile, Unreadable> {
        self.read(&self.own).map(|own| own.clone())
    }

    fn pins(&self, verified_only: bool) -> Result<Vec<PinEntry>, Unreadable> {
        let pins = self.read(&self.pins)?;
        let wanted = pins.iter().filter(|pin| pin.verified || !verified_only);
        Ok(wanted.cloned().collect())
    }

    fn alerts(&self, after: u64, limit: usize) -> Result<Vec<Alert>, Unreadable> {
        let alerts = self.read(&self.alerts)?;
        Ok(alerts
            .iter()
            .filter(|alert| alert.id > after)
            .take(limit)
            .cloned()
            .collect())
    }

    fn upload_by_ticket(&self, ticket: &[u8; 32], _since: UnixMs) -> Result<Option<Upload>, Unreadable> {
        let uploads = self.read(&self.uploads)?;
        let found = uploads.iter().find(|(known, _)| known == ticket);
        Ok(found.map(|(_, upload)| upload.clone()))
    }

    fn open_uploads(&self, _since: UnixMs) -> Result<Vec<AttachmentId>, Unreadable> {
        let uploads = self.read(&self.uploads)?;
        Ok(uploads.iter().map(|(_, upload)| upload.id).collect())
    }

    fn attachment(&self, id: &AttachmentId) -> Result<Option<AttachmentRef>, Unreadable> {
        let uploads = self.read(&self.uploads)?;
        let found = uploads.iter().find(|(_, upload)| upload.id == *id);
        Ok(found.map(|(_, upload)| upload.reference.clone()))
    }

    fn stuck_since(&self, _since: UnixMs) -> Result<Stuck, Unreadable> {
        self.read(&self.stuck).map(|stuck| *stuck)
    }

    fn webhooks(&self) -> Result<Vec<Webhook>, Unreadable> {
        Ok(self.read(&self.webhooks)?.clone())
    }

    fn next_hook_call(&self, _: &WebhookId) -> Result<Option<HookCall>, Unreadable> {
        Ok(None)
    }

    fn dead_letters(
        &self,
        id: &WebhookId,
        limit: usize,
        offset: usize,
    ) -> Result<Option<DeadLetterPage>, Unreadable> {
        let known = self.read(&self.webhooks)?.iter().any(|webhook| webhook.id == *id);
        let dead = self.read(&self.dead)?;
        Ok(known.then(|| DeadLetterPage {
            letters: dead.iter().skip(offset).take(limit).cloned().collect(),
            total: dead.len() as u64,
        }))
    }
}

/// The API in front of a [`Fake`].
pub(super) struct Api {
    pub(super) backend: Arc<Fake>,
    pub(super) state: ApiState,
    pub(super) stopping: CancellationToken,
    pub(super) ready: Arc<Mutex<Checks>>,
    router: Router,
    _folder: TempDir,
}

impl Api {
    pub(super) fn new() -> Self {
        Self::with_hosts(Hosts::tcp(HOST.parse().unwrap()))
    }

    pub(super) fn with_hosts(hosts: Hosts) -> Self {
        let backend = Arc::new(Fake::new());
        let folder = TempDir::new().unwrap();
        let stopping = CancellationToken::new();
        let ready = Arc::new(Mutex::new(Checks::new(true, true, true)));
        let checks = Arc::clone(&ready);
        let config = ApiConfig {
            me: Me {
                handle: "alice".parse().unwrap(),
                agent_id: "ab".repeat(16),
                fingerprint: fingerprint(1),
                relay: Fingerprint::of(&IdentityKey::ed25519([8; 32])),
                created_at: NOW,
            },
            place: "http://127.0.0.1:7700".to_owned(),
            inbox_mode: InboxMode::ContactsOnly,
            hosts,
            token: ApiToken::parse(TOKEN).unwrap(),
            readiness: Arc::new(move || *checks.lock().unwrap()),
            metrics: Some(Arc::new(|| "waxwire_proxy_extra 1\n".to_owned())),
            attachments: Arc::new(attachments(folder.path())),
            max_sockets: 2,
            webhook_hosts: Arc::new(Allowed::new(vec!["hooks.example:8443".parse().unwrap()])),
            stopping: stopping.clone(),
        };
        let state = ApiState::with_backend(Arc::<Fake>::clone(&backend), config);
        Self {
            backend,
            stopping,
            ready,
            router: router(state.clone()),
            state,
            _folder: folder,
        }
    }

    pub(super) fn router(&self) -> Router {
        self.router.clone()
    }

    /// A request as the SDKs send it.
    pub(super) fn request(method: &str, path: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", HOST)
            .header("authorization", format!("Bearer {TOKEN}"))
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(Self::request("GET", path).body(Body::empty()).unwrap())
            .await
    }

    pub(super) async fn bare(&self, method: &str, path: &str) -> Answer {
        self.send(Self::request(method, path).body(Body::empty()).unwrap())
            .await
    }

    pub(super) async fn json(&self, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        let request = Self::request(method, path)
            .header("content-type", "application/json")
            // What a connection would tell of a body that is there.
            .header("transfer-encoding", "chunked");
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(super) async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.json("POST", path, body).await
    }

    /// The answer before its body is read.
    pub(super) async fn raw(&self, request: Request<Body>) -> Response {
        let service = TowerToHyperService::new(self.router.clone());
        hyper::service::Service::call(&service, request).await.unwrap()
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = self.raw(request).await;
        let (parts, body) = response.into_parts();
        // A stream of events has no end.
        let endless = parts
            .headers
            .get("content-type")
            .is_some_and(|kind| kind == "text/event-stream");
        let body = if endless { Body::empty() } else { body };
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let answer = Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text,
        };
        assert!(answer.header("x-request-id").starts_with("req_"));
        assert!(
            !answer
                .headers
                .keys()
                .any(|name| name.as_str().starts_with("access-control"))
        );
        if answer.status >= 400 && path != "/readyz" && method != Method::HEAD {
            let body = answer.json();
            assert!(body["code"].is_string() && body["message"].is_string(), "{body}");
        }
        assert_documented(self.state.openapi(), &method, &path, answer.status);
        answer
    }
}
