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

/// Local hosts, and one more by name; at these addresses only.
struct Local(&'static [&'static str]);

impl Rules for Local {
    fn permits(&self, target: &Target) -> bool {
        matches!(target.host().unbracketed().as_str(), "localhost" | "127.0.0.1")
    }

    fn permits_at(&self, target: &Target, address: IpAddr) -> bool {
        self.permits(target) && self.0.contains(&address.to_string().as_str())
    }
}

impl<T: Resolve> Resolve for Arc<T> {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        T::resolve(self, host, port)
    }
}

fn caller(names: Names) -> Caller {
    Caller::new("program/1", Arc::new(Local(&["127.0.0.1"])), names)
}

fn post() -> Post {
    Post {
        headers: vec![(HeaderName::from_static("x-signature"), "t=1,v1=00".to_owned())],
        body: "{}".into(),
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
    let caller = caller(Names::of(&[]));
    let url = format!("http://127.0.0.1:{port}/hook?a=b");
    assert_eq!(caller.call(&url, post()).await, Ok(()));
    let request = requests.recv().await.unwrap();
    assert!(request.starts_with("POST /hook?a=b HTTP/1.1\r\n"), "{request}");
    for header in [
        format!("host: 127.0.0.1:{port}"),
        "content-type: application/json".to_owned(),
        "user-agent: program/1".to_owned(),
        "x-signature: t=1,v1=00".to_owned(),
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
        let caller = caller(Names::of(&[]));
        let url = format!("http://127.0.0.1:{port}/");
        assert_eq!(caller.call(&url, post()).await, Err(fault));
        assert!(requests.recv().await.is_some());
        assert!(requests.try_recv().is_err(), "a second request");
    }
}

/// The whole of what a name resolves to has to be allowed, at every call.
#[tokio::test]
async fn attack_86_names_that_resolve_elsewhere_are_not_called() {
    let (port, mut requests) = receiver(status("200 OK")).await;
    let names = Names::of(&[
        &["127.0.0.1"],
        &["169.254.169.254"],
        &["127.0.0.1", "10.0.0.1"],
        &["::ffff:127.0.0.1"],
        &["0.0.0.0"],
        &[],
    ]);
    let caller = caller(names);
    let url = format!("http://localhost:{port}/");
    assert_eq!(caller.call(&url, post()).await, Ok(()));
    assert!(requests.recv().await.is_some());
    for _ in 0..4 {
        assert_eq!(caller.call(&url, post()).await, Err(CallFault::NotAllowed));
    }
    assert_eq!(caller.call(&url, post()).await, Err(CallFault::Unresolved));
    assert!(requests.try_recv().is_err());
}

/// Not even its name is asked for.
#[tokio::test]
async fn host_that_is_not_permitted_is_not_resolved() {
    let (port, mut requests) = receiver(status("200 OK")).await;
    let names = Arc::new(Names::of(&[&["127.0.0.1"]]));
    let caller = Caller::new("program/1", Arc::new(Local(&["127.0.0.1"])), Arc::clone(&names));
    let url = format!("http://agent.internal:{port}/");
    assert_eq!(caller.call(&url, post()).await, Err(CallFault::NotAllowed));
    assert_eq!(names.0.lock().unwrap().len(), 1);
    assert!(requests.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn receiver_that_does_not_answer_is_left_after_ten_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let caller = caller(Names::of(&[]));
    assert_eq!(caller.call(&url, post()).await, Err(CallFault::Timeout));
    drop(listener);
    assert_eq!(caller.call(&url, post()).await, Err(CallFault::Unreachable));
}
