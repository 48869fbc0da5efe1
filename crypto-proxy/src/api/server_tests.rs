use std::{os::unix::fs::PermissionsExt as _, path::Path};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    task::JoinHandle,
};

use super::*;
use crate::{
    api::{
        BindError, ListenAddr, ListenAddrError,
        testing::{Api, TOKEN, message},
    },
    engine::Command,
};

struct Served {
    api: Arc<Api>,
    address: String,
    cancel: CancellationToken,
    server: JoinHandle<()>,
}

async fn serving() -> Served {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.to_string().strip_prefix("http://").unwrap().to_owned();
    let api = Arc::new(Api::with_hosts(listener.hosts()));
    let cancel = CancellationToken::new();
    let server = tokio::spawn(serve(listener, api.router(), cancel.clone()));
    Served {
        api,
        address,
        cancel,
        server,
    }
}

impl Served {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.unwrap()
    }

    fn head(&self, line: &str) -> String {
        format!(
            "{line} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {TOKEN}\r\n",
            self.address
        )
    }

    /// Sends a request on a connection of its own and reads to its end.
    async fn exchange(&self, head: &str, body: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream
            .write_all(format!("{head}connection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        // The server may answer and hang up before it has read everything.
        let _cut = stream.write_all(body).await;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }
}

#[tokio::test]
async fn serves_over_tcp_until_cancelled() {
    let served = serving().await;
    let answer = served.exchange(&served.head("GET /v1/agents/me"), b"").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\"handle\":\"alice\""));
    let foreign = "GET /v1/agents/me HTTP/1.1\r\nhost: evil.example\r\n";
    assert!(served.exchange(foreign, b"").await.starts_with("HTTP/1.1 403"));
    let nameless = format!("GET /v1/agents/me HTTP/1.0\r\nauthorization: Bearer {TOKEN}\r\n");
    assert!(served.exchange(&nameless, b"").await.starts_with("HTTP/1.0 403"));
    served.cancel.cancel();
    served.server.await.unwrap();
    assert!(TcpStream::connect(&served.address).await.is_err());
}

#[tokio::test]
async fn the_sender_of_a_large_body_gets_to_read_the_refusal() {
    let served = serving().await;
    for length in [512 * 1024 + 1, 4 * 1024 * 1024] {
        let head = served.head("POST /v1/messages") + "content-type: application/json\r\n";
        let known = format!("{head}content-length: {length}\r\n");
        let answer = served.exchange(&known, &vec![b' '; length]).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.contains(&format!("\"actual\":{length}")), "{answer}");
    }
    let expecting = served.head("POST /v1/messages")
        + "content-type: application/json\r\nexpect: 100-continue\r\ncontent-length: 600000\r\n";
    let answer = served.exchange(&expecting, b"").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn requests_under_way_finish_after_the_stop() {
    let served = serving().await;
    let mut stream = served.connect().await;
    let body = r#"{"to":"bob","client_msg_id":"c","content":"a"}"#;
    let head = format!(
        "{}content-type: application/json\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        served.head("POST /v1/messages"),
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut begun = [0; 25];
    stream.read_exact(&mut begun).await.unwrap();
    assert!(
        begun.starts_with(b"HTTP/1.1 100 Continue"),
        "the handler reads the body"
    );
    served.cancel.cancel();
    tokio::task::yield_now().await;
    assert!(!served.server.is_finished());
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    served.server.await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_stop() {
    let served = serving().await;
    let mut stream = served.connect().await;
    let request = served.head("GET /healthz") + "\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut begun = [0; 16];
    stream.read_exact(&mut begun).await.unwrap();
    served.cancel.cancel();
    tokio::time::timeout(Duration::from_secs(5), served.server)
        .await
        .unwrap()
        .unwrap();
}

/// As much as one page holds, more than the sockets buffer.
fn large_inbox(api: &Api) {
    let text = "x".repeat(48_000);
    let large = (1..=100).map(|number| crate::model::Message {
        content: format!(r#"{{"text":"{text}"}}"#),
        ..message(number)
    });
    api.backend.messages.lock().unwrap().extend(large);
}

#[tokio::test]
async fn clear_settles_after_the_answer_has_left() {
    let served = serving().await;
    large_inbox(&served.api);
    let answer = served
        .exchange(&served.head("GET /v1/inbox?clear=true&limit=100"), b"")
        .await;
    assert!(answer.len() > 4_800_000);
    while served.api.backend.commands.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(served.api.backend.command(), Command::Settle(all) if all.len() == 100));
}

#[tokio::test]
async fn clear_settles_nothing_when_the_reader_hangs_up() {
    let served = serving().await;
    large_inbox(&served.api);
    let mut stream = served.connect().await;
    let request = served.head("GET /v1/inbox?clear=true&limit=100") + "\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut begun = [0; 1_000];
    stream.read_exact(&mut begun).await.unwrap();
    assert!(begun.starts_with(b"HTTP/1.1 200"));
    drop(stream);
    served.cancel.cancel();
    served.server.await.unwrap();
    assert!(served.api.backend.commands.lock().unwrap().is_empty());
}

/// A caller that hangs up in a long poll leaves nothing behind.
#[tokio::test]
async fn a_long_poll_ends_with_its_connection() {
    let served = serving().await;
    let mut stream = served.connect().await;
    let request = served.head("GET /v1/messages/sync?wait=60") + "\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    while served.api.backend.notices.receiver_count() == 0 {
        tokio::task::yield_now().await;
    }
    drop(stream);
    while served.api.backend.notices.receiver_count() != 0 {
        tokio::task::yield_now().await;
    }
}

/// One connection in memory, so that time can be paused.
fn in_memory(api: &Api) -> (tokio::io::DuplexStream, JoinHandle<()>, CancellationToken) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let cancel = CancellationToken::new();
    let task = tokio::spawn(connection_task(far, api.router(), cancel.clone()));
    (near, task, cancel)
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_ends_the_connection() {
    for begun in ["", "GET /healthz HTTP/1.1\r\nhost: "] {
        let api = Api::new();
        let (mut stream, task, _cancel) = in_memory(&api);
        stream.write_all(begun.as_bytes()).await.unwrap();
        let begin = tokio::time::Instant::now();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(begin.elapsed().as_secs(), 30);
        task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_done_ten_seconds_after_the_stop_is_dropped() {
    let api = Api::new();
    api.backend.hangs();
    let (mut stream, task, cancel) = in_memory(&api);
    let request = format!(
        "POST /v1/requests/eve/accept HTTP/1.1\r\nhost: 127.0.0.1:7700\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    while api.backend.commands.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let begin = tokio::time::Instant::now();
    cancel.cancel();
    task.await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn what_is_no_http_gets_no_further() {
    let api = Api::new();
    let large = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(100_000));
    for (request, status) in [
        ("\x16\x03\x01\x02\x00", "400"),
        ("GET /v1/inbox\r\n\r\n", "400"),
        ("GET /v1/inbox HTTP/1.1\r\nhost : 127.0.0.1:7700\r\n\r\n", "400"),
        (
            "POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1:7700\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
            "400",
        ),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""),
        (large.as_str(), "431"),
    ] {
        let (stream, task, _cancel) = in_memory(&api);
        let (mut reader, mut writer) = tokio::io::split(stream);
        let writing = async {
            // The server may hang up before everything is written.
            let _cut = writer.write_all(request.as_bytes()).await;
            let _cut = writer.shutdown().await;
        };
        let mut answer = Vec::new();
        let (_, read) = tokio::join!(writing, reader.read_to_end(&mut answer));
        read.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")) || (status.is_empty() && answer.is_empty()),
            "{request:.40}: {answer}"
        );
        task.await.unwrap();
    }
    assert!(api.backend.commands.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_unix_socket_is_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    let address: ListenAddr = format!("unix:{}", path.display()).parse().unwrap();
    let listener = Listener::bind(&address).await.unwrap();
    assert_eq!(listener.to_string(), format!("unix:{}", path.display()));
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(matches!(
        Listener::bind(&address).await,
        Err(BindError::InUse { .. })
    ));

    let api = Api::with_hosts(listener.hosts());
    let cancel = CancellationToken::new();
    let server = tokio::spawn(serve(listener, api.router(), cancel.clone()));
    for host in ["host: localhost\r\n", ""] {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let request = format!(
            "GET /v1/agents/me HTTP/1.1\r\n{host}authorization: Bearer {TOKEN}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    cancel.cancel();
    server.await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn a_socket_left_behind_is_replaced_and_a_file_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(Path::exists(&path));
    let address = ListenAddr::Unix(path.clone());
    drop(Listener::bind(&address).await.unwrap());
    assert!(!path.exists());
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(
        Listener::bind(&address).await,
        Err(BindError::Occupied(_))
    ));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn nothing_listens_where_others_could_reach_it() {
    for bad in [
        "0.0.0.0:7700",
        "[::]:7700",
        "192.0.2.1:7700",
        "[2001:db8::1]:7700",
        "[::ffff:127.0.0.1]:0",
    ] {
        let refused = bad.parse::<ListenAddr>();
        assert!(matches!(refused, Err(ListenAddrError::NotLoopback(_))), "{bad}");
        let forced = ListenAddr::Tcp(bad.parse().unwrap());
        assert!(
            matches!(Listener::bind(&forced).await, Err(BindError::Address(_))),
            "{bad}"
        );
    }
    for bad in [
        "",
        "7700",
        ":7700",
        "127.0.0.1",
        "example.com:7700",
        "localhost",
        "localhost:x",
        "unix:",
    ] {
        assert_eq!(
            bad.parse::<ListenAddr>(),
            Err(ListenAddrError::Malformed),
            "{bad}"
        );
    }
    assert_eq!("localhost:7700".parse::<ListenAddr>(), "127.0.0.1:7700".parse());
}
