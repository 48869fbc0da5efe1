use std::sync::Mutex;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

/// Resolves each time to the next of these, however a name is spelled.
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

fn caller(hosts: &[&str], names: Names) -> Caller {
    let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
    Caller::new(Arc::new(Allowed::new(hosts)), names)
}

fn post() -> Post {
    Post {
        event: "message.new",
        delivery: "whd_1".to_owned(),
        signature: "t=1,v1=00".to_owned(),
        body: "{}".to_owned(),
    }
}

/// Answers every connection so; gives its port, and what the first request was.
async fn receiver(answer: String) -> (u16, tokio::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, requests) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4_096];
            let mut length = 0;
            while !request[..length].ends_with(b"{}") {
                match stream.read(&mut request[length..]).await {
                    Ok(0) | Err(_) => break,
                    Ok(read) => length += read,
                }
            }
            seen.send(String::from_utf8_lossy(&request[..length]).into_owned())
                .await
                .unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (port, requests)
}

fn status(line: &str) -> String {
    format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n")
}

#[tokio::test]
async fn call_carries_its_headers_and_succeeds() {
    let (port, mut requests) = receiver(status("204 No Content")).await;
    let caller = caller(&[], Names::of(&[]));
    let url = format!("http://127.0.0.1:{port}/hook?a=b");
    assert_eq!(caller.call(&url, post()).await, Ok(()));
    let request = requests.recv().await.unwrap();
    assert!(request.starts_with("POST /hook?a=b HTTP/1.1\r\n"), "{request}");
    for header in [
        format!("host: 127.0.0.1:{port}"),
        "content-type: application/json".to_owned(),
        "x-agentchat-signature: t=1,v1=00".to_owned(),
        "x-agentchat-event: message.new".to_owned(),
        "x-agentchat-delivery: whd_1".to_owned(),
    ] {
        assert!(request.lines().any(|line| line == header), "{header}\n{request}");
    }
}

#[tokio::test]
async fn anything_but_success_is_a_fault() {
    let redirect =
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n";
    for (answer, fault) in [
        (status("500 Oh"), CallFault::Status(500)),
        (status("404 No"), CallFault::Status(404)),
        (redirect.to_owned(), CallFault::Redirect),
        ("no http at all\r\n\r\n".to_owned(), CallFault::Broken),
        (String::new(), CallFault::Broken),
    ] {
        let (port, mut requests) = receiver(answer).await;
        let caller = caller(&[], Names::of(&[]));
        let url = format!("http://127.0.0.1:{port}/");
        assert_eq!(caller.call(&url, post()).await, Err(fault));
        assert!(requests.recv().await.is_some());
        assert!(requests.try_recv().is_err(), "a second request");
    }
}

/// The whole of what a name resolves to has to be allowed, at every call.
#[tokio::test]
async fn names_that_resolve_elsewhere_are_not_called() {
    let (port, mut requests) = receiver(status("200 OK")).await;
    let names = Names::of(&[
        &["127.0.0.1"],
        &["169.254.169.254"],
        &["127.0.0.1", "10.0.0.1"],
        &["::ffff:127.0.0.1"],
        &["0.0.0.0"],
        &[],
    ]);
    let caller = caller(&[], names);
    let url = format!("http://localhost:{port}/");
    assert_eq!(caller.call(&url, post()).await, Ok(()));
    assert!(requests.recv().await.is_some());
    for _ in 0..4 {
        assert_eq!(caller.call(&url, post()).await, Err(CallFault::NotAllowed));
    }
    assert_eq!(caller.call(&url, post()).await, Err(CallFault::Unresolved));
    assert!(requests.try_recv().is_err());
}

/// A webhook that was registered while its host was allowed.
#[tokio::test]
async fn host_that_is_not_allowed_any_more_is_not_called() {
    let (port, mut requests) = receiver(status("200 OK")).await;
    let url = format!("http://agent.internal:{port}/");
    let named = caller(
        &["agent.internal"],
        Names::of(&[&["127.0.0.1"], &["169.254.169.254"]]),
    );
    assert_eq!(named.call(&url, post()).await, Ok(()));
    assert!(requests.recv().await.is_some());
    assert_eq!(named.call(&url, post()).await, Err(CallFault::NotAllowed));
    let unnamed = caller(&[], Names::of(&[&["127.0.0.1"]]));
    assert_eq!(unnamed.call(&url, post()).await, Err(CallFault::NotAllowed));
    assert!(requests.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn receiver_that_does_not_answer_is_left_after_ten_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let caller = caller(&[], Names::of(&[]));
    assert_eq!(caller.call(&url, post()).await, Err(CallFault::Timeout));
    drop(listener);
    assert_eq!(caller.call(&url, post()).await, Err(CallFault::Unreachable));
}
