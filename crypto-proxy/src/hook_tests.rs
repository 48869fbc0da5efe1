use http_body_util::Full;

use super::*;

const SECRET: &str = "a secret of a hook";

fn door() -> (Door, mpsc::UnboundedReceiver<LinkCommand>) {
    let (link, commands) = mpsc::unbounded_channel();
    let door = Door {
        secret: Arc::new(HookSecret::parse(SECRET).unwrap()),
        seen: Mutex::default(),
        link,
    };
    (door, commands)
}

fn sign(seconds: u64, body: &[u8]) -> String {
    hook::sign(SECRET.as_bytes(), seconds, body)
}

#[test]
fn a_signed_call_wakes_the_link_once() {
    let (door, mut commands) = door();
    let now = 1_700_000_000;
    let signature = sign(now, b"{}");
    assert_eq!(door.knock(&signature, b"{}", now), StatusCode::NO_CONTENT);
    assert!(matches!(commands.try_recv(), Ok(LinkCommand::Wake)));
    // Recorded and repeated, as long as its time would do.
    for later in [0, 1, TOLERANCE] {
        assert_eq!(door.knock(&signature, b"{}", now + later), StatusCode::CONFLICT);
    }
    let late = now + TOLERANCE + 1;
    assert_eq!(door.knock(&signature, b"{}", late), StatusCode::UNAUTHORIZED);
    assert_eq!(door.knock(&signature, b"[]", now), StatusCode::UNAUTHORIZED);
    let other = hook::sign(b"another secret 1234", now, b"{}");
    assert_eq!(door.knock(&other, b"{}", now), StatusCode::UNAUTHORIZED);
    assert!(commands.try_recv().is_err());
}

#[test]
fn signature_of_the_future_is_remembered_for_as_long_as_it_is_good() {
    let (door, _commands) = door();
    let now = 1_700_000_000;
    let early = sign(now + TOLERANCE, b"{}");
    assert_eq!(door.knock(&early, b"{}", now), StatusCode::NO_CONTENT);
    for later in [1, TOLERANCE, 2 * TOLERANCE] {
        assert_eq!(door.knock(&early, b"{}", now + later), StatusCode::CONFLICT);
    }
    assert_eq!(
        door.knock(&early, b"{}", now + 2 * TOLERANCE + 1),
        StatusCode::UNAUTHORIZED
    );
}

#[test]
fn memory_of_calls_is_bounded() {
    let (door, _commands) = door();
    let now = 1_700_000_000;
    for number in 0..REMEMBERED {
        let body = number.to_string();
        let signature = sign(now, body.as_bytes());
        assert_eq!(
            door.knock(&signature, body.as_bytes(), now),
            StatusCode::NO_CONTENT
        );
    }
    assert_eq!(
        door.knock(&sign(now, b"{}"), b"{}", now),
        StatusCode::TOO_MANY_REQUESTS
    );
    let later = now + 2 * TOLERANCE + 1;
    assert_eq!(
        door.knock(&sign(later, b"{}"), b"{}", later),
        StatusCode::NO_CONTENT
    );
}

#[tokio::test]
async fn only_post_of_a_small_body_to_the_hook_is_heard() {
    let (door, mut commands) = door();
    let now = clock::unix() / 1_000;
    let request = |method: &str, path: &str, body: Vec<u8>| {
        let signature = sign(now, &body);
        Request::builder()
            .method(method)
            .uri(path)
            .header(hook::HEADER, signature)
            .body(Full::<Bytes>::from(body))
            .unwrap()
    };
    for (request, status) in [
        (request("POST", "/", b"{}".to_vec()), 404),
        (request("POST", "/hook/", b"{}".to_vec()), 404),
        (request("POST", "/v1/messages", b"{}".to_vec()), 404),
        (request("GET", "/hook", b"{}".to_vec()), 405),
        (request("POST", "/hook", vec![b'x'; BODY + 1]), 413),
        (Request::post("/hook").body(Full::default()).unwrap(), 401),
    ] {
        assert_eq!(door.answer(request).await.status(), status);
    }
    let mut twice = request("POST", "/hook", b"{}".to_vec());
    let signature = twice.headers()[hook::HEADER].clone();
    twice.headers_mut().append(hook::HEADER, signature);
    assert_eq!(door.answer(twice).await.status(), 401);
    assert!(commands.try_recv().is_err());
    let good = request("POST", "/hook", vec![b'x'; BODY]);
    assert_eq!(door.answer(good).await.status(), 204);
    assert!(matches!(commands.try_recv(), Ok(LinkCommand::Wake)));
}

#[test]
fn secret_is_one_line_of_some_length() {
    for text in ["", "short", "0123456789abcde\n", "0123456789abcdef\nmore"] {
        assert_eq!(HookSecret::parse(text).unwrap_err(), HookSecretError, "{text}");
    }
    assert!(HookSecret::parse("0123456789abcdef\r\n").is_ok());
    assert!(HookSecret::parse(&"x".repeat(257)).is_err());
}
