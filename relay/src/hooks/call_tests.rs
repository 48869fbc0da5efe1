use std::sync::Mutex;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use waxwire_shared::{
    api::frames::{Cursor, Queue},
    ids::AgentId,
};

use super::*;
use crate::store::test_agent;

/// Resolves each time to the next of these.
struct Names(Mutex<Vec<Vec<&'static str>>>);

impl Names {
    fn of(answers: &[&[&'static str]]) -> Self {
        Self(Mutex::new(answers.iter().rev().map(|all| all.to_vec()).collect()))
    }
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, _: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let answer = self.0.lock().unwrap().pop().unwrap_or_default();
        let addresses = answer
            .into_iter()
            .map(|text| SocketAddr::new(text.parse().unwrap(), port));
        let addresses = addresses.collect();
        Box::pin(async { Ok(addresses) })
    }
}

fn caller(allowed: &[&str], names: Names) -> Caller {
    let allowed = allowed.iter().map(|text| text.parse().unwrap()).collect();
    Caller::new(Arc::new(HookRules::new(allowed)), names)
}

fn wakeup(url: &str) -> Wakeup {
    Wakeup {
        agent: test_agent(1),
        id: AgentId::from_bytes([1; 16]),
        url: url.to_owned(),
        secret: "a secret of a hook".to_owned().into(),
        cursor: Cursor {
            queue: Queue::Mail,
            position: 7,
        },
        serial: 1,
        attempts: 0,
    }
}

/// Answers every connection so; gives its port, and what the requests were.
async fn receiver(answer: &'static str) -> (u16, tokio::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, requests) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4_096];
            let mut length = 0;
            while !request[..length].ends_with(b"}") {
                match stream.read(&mut request[length..]).await {
                    Ok(0) | Err(_) => break,
                    Ok(read) => length += read,
                }
            }
            let text = String::from_utf8_lossy(&request[..length]).into_owned();
            seen.send(text).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (port, requests)
}

const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

#[tokio::test]
async fn call_is_signed_and_says_which_queue_has_grown() {
    let (port, mut requests) = receiver(NO_CONTENT).await;
    let caller = caller(&["127.0.0.1"], Names::of(&[]));
    let wakeup = wakeup(&format!("http://127.0.0.1:{port}/hook"));
    assert_eq!(caller.call(&wakeup, 1_700_000_000).await, Ok(()));
    let request = requests.recv().await.unwrap();
    assert!(request.starts_with("POST /hook HTTP/1.1\r\n"), "{request}");
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert_eq!(
        body,
        format!(r#"{{"agent":"{}","queue":"mail","head":7}}"#, "01".repeat(16))
    );
    let name = "x-waxwire-signature: ";
    let signature = head.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    hook::verify(b"a secret of a hook", signature, body.as_bytes(), 1_700_000_000).unwrap();
}

#[tokio::test]
async fn anything_but_success_is_a_fault_and_redirects_are_not_followed() {
    for (answer, fault) in [
        (
            "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n",
            CallFault::Status(500),
        ),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n",
            CallFault::Redirect,
        ),
        ("no http at all\r\n\r\n", CallFault::Broken),
    ] {
        let (port, mut requests) = receiver(answer).await;
        let caller = caller(&["127.0.0.0/8"], Names::of(&[]));
        let called = caller
            .call(&wakeup(&format!("http://127.0.0.1:{port}/")), 1)
            .await;
        assert_eq!(called, Err(fault));
        assert!(requests.recv().await.is_some());
        assert!(requests.try_recv().is_err(), "a second request");
    }
}

/// What a name resolves to is judged at every call, all of it, and nothing is connected to before.
#[tokio::test]
async fn names_that_resolve_elsewhere_are_not_called() {
    let (port, mut requests) = receiver(NO_CONTENT).await;
    let refused: [&[&'static str]; 9] = [
        &["169.254.169.254"],
        &["10.0.0.1"],
        &["127.0.0.1", "192.168.0.1"],
        &["::1"],
        &["fe80::1"],
        &["fd00::1"],
        &["::ffff:127.0.0.1"],
        &["64:ff9b::7f00:1"],
        &["0.0.0.0"],
    ];
    let mut answers = vec![&["127.0.0.1"][..]];
    answers.extend(refused);
    answers.push(&[]);
    let caller = caller(&["127.0.0.0/8"], Names::of(&answers));
    let wakeup = wakeup(&format!("http://rebound.example:{port}/"));
    assert_eq!(caller.call(&wakeup, 1).await, Ok(()));
    assert!(requests.recv().await.is_some());
    for _ in refused {
        assert_eq!(caller.call(&wakeup, 1).await, Err(CallFault::NotAllowed));
    }
    assert_eq!(caller.call(&wakeup, 1).await, Err(CallFault::Unresolved));
    assert!(requests.try_recv().is_err());
}

/// Without the operator's word, a local receiver is reached by no spelling and no name.
#[tokio::test]
async fn nothing_local_is_called_without_the_operators_word() {
    let (port, mut requests) = receiver(NO_CONTENT).await;
    let strict = caller(&[], Names::of(&[&["127.0.0.1"], &["127.0.0.1"], &["8.8.8.8"]]));
    for (url, fault) in [
        (format!("http://127.0.0.1:{port}/"), CallFault::NotAllowed),
        (format!("https://127.0.0.1:{port}/"), CallFault::NotAllowed),
        (format!("https://2130706433:{port}/"), CallFault::NotAllowed),
        (
            format!("https://[::ffff:127.0.0.1]:{port}/"),
            CallFault::NotAllowed,
        ),
        (format!("https://hooks.example:{port}/"), CallFault::NotAllowed),
        (format!("http://hooks.example:{port}/"), CallFault::NotAllowed),
        // Public, and without TLS.
        (format!("http://hooks.example:{port}/"), CallFault::NotAllowed),
    ] {
        assert_eq!(strict.call(&wakeup(&url), 1).await, Err(fault), "{url}");
    }
    assert!(requests.try_recv().is_err());
}
