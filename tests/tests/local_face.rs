//! E2: the local API is for those who know the token, by a local name, and for nobody else.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use waxwire_tests::{
    Agent, Answer, Ask, Http, Proxy, eventually,
    program::{Address, run},
    scenario, text_to, unique,
};

/// Every method and path of the local API, a path that does not exist, and one that no SDK has.
const ROUTES: [(&str, &str); 24] = [
    ("POST", "/v1/messages"),
    ("GET", "/v1/messages/conv_00000000000000000000000000000000"),
    ("DELETE", "/v1/messages/msg_00000000000000000000000000000000"),
    ("POST", "/v1/messages/msg_00000000000000000000000000000000/read"),
    ("GET", "/v1/messages/sync"),
    ("POST", "/v1/messages/sync/ack"),
    ("GET", "/v1/conversations"),
    (
        "DELETE",
        "/v1/conversations/conv_00000000000000000000000000000000",
    ),
    (
        "GET",
        "/v1/conversations/conv_00000000000000000000000000000000/participants",
    ),
    (
        "GET",
        "/v1/conversations/conv_00000000000000000000000000000000/context",
    ),
    ("GET", "/v1/agents/me"),
    ("GET", "/v1/agents/bob"),
    ("GET", "/v1/agents/bob/identity"),
    ("PUT", "/v1/agents/bob/trust"),
    ("GET", "/v1/requests"),
    ("POST", "/v1/requests/bob/accept"),
    ("DELETE", "/v1/requests/bob"),
    ("GET", "/v1/inbox"),
    ("GET", "/v1/inbox/unread-count"),
    ("GET", "/v1/alerts"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/v1/no-such-route"),
    ("TRACE", "/"),
];

fn port(proxy: &Proxy) -> anyhow::Result<u16> {
    match proxy.address()? {
        Address::Tcp(address) => Ok(address.port()),
        Address::Unix(path) => anyhow::bail!("not a port: {}", path.display()),
    }
}

async fn ask_as(agent: &Agent, ask: Ask) -> anyhow::Result<Answer> {
    agent.ask(ask.bearer(agent.token())).await
}

#[test]
fn every_route_needs_the_exact_token() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let alice = pair.alice.agent()?;
        let token = alice.token();
        ensure!(token.len() == 46 && token.starts_with("wx_"), "the token's form");
        let wrong = [
            None,
            Some(String::new()),
            Some("Bearer".to_owned()),
            Some("Bearer ".to_owned()),
            Some(format!("Bearer {}", &token[..45])),
            Some(format!("Bearer {token}x")),
            Some(format!("Bearer {}", token.to_uppercase())),
            Some(format!("Bearer {}", pair.bob.token()?)),
            Some(format!("Basic {token}")),
            Some(token.to_owned()),
        ];
        for (method, path) in ROUTES {
            for authorization in &wrong {
                let mut ask = Ask::new(method, path);
                if let Some(value) = authorization {
                    ask = ask.header("authorization", value.as_str());
                }
                let answer = alice.http().ask(ask).await?;
                answer
                    .refused(401, "UNAUTHORIZED")
                    .with_context(|| format!("{method} {path}"))?;
                ensure!(answer.header("www-authenticate").is_some(), "no challenge");
            }
            // Not in the URL, not in a cookie, not twice.
            for ask in [
                Ask::new(method, format!("{path}?token={token}")),
                Ask::new(method, format!("{path}?access_token={token}")),
                Ask::new(method, path).header("cookie", format!("token={token}")),
                Ask::new(method, path).bearer(token).bearer("another"),
            ] {
                alice.http().ask(ask).await?.refused(401, "UNAUTHORIZED")?;
            }
            let answer = ask_as(&alice, Ask::new(method, path)).await?;
            ensure!(
                answer.status != 401 && answer.status != 403,
                "{method} {path}: {}",
                answer.status
            );
        }
        Ok(())
    });
}

/// A token that was seen or lost is replaced by taking its file away.
#[test]
fn token_whose_file_is_gone_is_replaced_at_the_next_start() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let old = pair.alice.token()?;
        ensure!(pair.alice.terminate().await?.success());
        fs::remove_file(pair.alice.token_file())?;
        pair.alice.start().await?;
        let alice = pair.alice.agent()?;
        ensure!(alice.token() != old, "the old token was made again");
        let mode = fs::metadata(pair.alice.token_file())?.permissions().mode();
        ensure!(mode & 0o777 == 0o600, "mode {mode:o}");
        alice.get("/v1/agents/me").await?.expect(200)?;
        let seen = Ask::new("GET", "/v1/agents/me").bearer(&old);
        alice
            .http()
            .ask(seen)
            .await?
            .refused(401, "UNAUTHORIZED")
            .map(drop)
    });
}

#[test]
fn attack_88_foreign_hosts_and_origins_are_forbidden_on_every_route() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let alice = pair.alice.agent()?;
        let port = port(&pair.alice)?;
        let (near, other) = (format!("127.0.0.1:{port}"), port ^ 1);
        let foreign_hosts = [
            "example.com".to_owned(),
            format!("example.com:{port}"),
            format!("127.0.0.1.example.com:{port}"),
            format!("localhost.:{port}"),
            format!("127.0.0.1:{other}"),
            "127.0.0.1".to_owned(),
            "localhost".to_owned(),
            format!("127.1:{port}"),
            format!("0.0.0.0:{port}"),
            format!("[::]:{port}"),
            format!("[::ffff:127.0.0.1]:{port}"),
            format!("user@127.0.0.1:{port}"),
            format!("127.0.0.1:{port}:{port}"),
        ];
        let foreign_origins = [
            "null".to_owned(),
            "https://example.com".to_owned(),
            format!("https://127.0.0.1:{port}"),
            format!("http://127.0.0.1:{other}"),
            format!("http://localhost.:{port}"),
            format!("http://{near}/"),
            format!("http://{near}.example.com"),
            "file://".to_owned(),
            String::new(),
        ];
        let health = [("GET", "/healthz"), ("GET", "/readyz")];
        for (method, path) in ROUTES.into_iter().chain(health) {
            for host in &foreign_hosts {
                let answer = ask_as(&alice, Ask::new(method, path).header("host", host.as_str())).await?;
                answer
                    .refused(403, "FORBIDDEN")
                    .with_context(|| format!("{method} {path} at {host}"))?;
            }
            for origin in &foreign_origins {
                let answer = ask_as(&alice, Ask::new(method, path).header("origin", origin.as_str())).await?;
                answer
                    .refused(403, "FORBIDDEN")
                    .with_context(|| format!("{method} {path} from {origin}"))?;
                ensure!(
                    answer.header("access-control-allow-origin").is_none(),
                    "an origin was allowed"
                );
            }
        }
        for host in [near.clone(), format!("localhost:{port}"), format!("[::1]:{port}")] {
            let ask = Ask::new("GET", "/v1/agents/me").header("host", host.as_str());
            ask_as(&alice, ask.header("origin", format!("http://{host}")))
                .await?
                .expect(200)?;
        }
        Ok(())
    });
}

/// Requests that no HTTP library would make.
#[test]
fn ambiguous_hosts_are_refused() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let alice = pair.alice.agent()?;
        let port = port(&pair.alice)?;
        let authorization = format!("authorization: Bearer {}\r\nconnection: close\r\n", alice.token());
        let near = format!("host: 127.0.0.1:{port}\r\n");
        let status = async |target: &str, head: &str| {
            let request = format!("GET {target} HTTP/1.1\r\n{head}{authorization}\r\n");
            let answer = alice.http().raw(request.as_bytes()).await?;
            let text = String::from_utf8_lossy(&answer).into_owned();
            let status = text.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok());
            status.with_context(|| format!("{target}: no answer but {text:?}"))
        };
        assert_eq!(status("/v1/agents/me", &near).await?, 200);
        for (target, head) in [
            ("/v1/agents/me", String::new()),
            ("/v1/agents/me", format!("{near}host: example.com\r\n")),
            ("/v1/agents/me", format!("{near}{near}")),
            ("http://example.com/v1/agents/me", near.clone()),
            (
                "/v1/agents/me",
                format!("{near}origin: http://127.0.0.1:{port}\r\norigin: null\r\n"),
            ),
        ] {
            let status = status(target, &head).await?;
            ensure!(matches!(status, 400 | 403), "{target} {head:?}: {status}");
        }
        Ok(())
    });
}

/// What a page in a browser can send without a preflight changes nothing.
#[test]
fn attack_89_browsers_cannot_forge_requests() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let body = text_to("bob", &unique("forged")?, "sent by a page").to_string();
        for media_type in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "",
        ] {
            let ask = Ask::new("POST", "/v1/messages").header("content-type", media_type);
            let answer = ask_as(&alice, ask.body(body.clone())).await?;
            answer
                .refused(400, "VALIDATION_ERROR")
                .with_context(|| media_type.to_owned())?;
        }
        ask_as(&alice, Ask::new("POST", "/v1/messages").body(body.clone()))
            .await?
            .refused(400, "VALIDATION_ERROR")?;
        let preflight = Ask::new("OPTIONS", "/v1/messages")
            .header("origin", "https://example.com")
            .header("access-control-request-method", "POST");
        let answer = alice.http().ask(preflight).await?;
        answer.refused(403, "FORBIDDEN")?;
        assert!(bob.sync_after(None, 1).await?.is_empty());
        for path in ["/v1/agents/me", "/healthz"] {
            let answer = alice.get(path).await?;
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
            assert!(answer.header("set-cookie").is_none());
        }
        Ok(())
    });
}

#[test]
fn attack_91_other_machines_cannot_be_served() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let mut alice = world.proxy(&relay, "alice").await?;
        alice.terminate().await?;
        for listen in [
            "0.0.0.0:0",
            "[::]:0",
            "192.0.2.1:0",
            "[::ffff:127.0.0.1]:0",
            "example.com:80",
            "unix:",
        ] {
            let refused = run(alice.run_command(listen)?, Duration::from_secs(20)).await?;
            refused.refusal().with_context(|| listen.to_owned())?;
        }
        let command = alice.run_command("localhost:0")?;
        alice.start_by(command).await?;
        alice.agent()?.until_ready().await?;
        Ok(())
    });
}

fn mode(path: &Path) -> anyhow::Result<u32> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o777)
}

#[test]
fn files_are_for_their_owner_only() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        alice
            .send_text("bob", "traffic", "so that every file is there")
            .await?;
        bob.receive().await?;
        for proxy in [&pair.alice, &pair.bob] {
            assert_eq!(mode(&proxy.state())?, 0o700);
            assert_eq!(mode(&proxy.token_file())?, 0o600);
            for file in waxwire_tests::canary::files(&proxy.state())? {
                assert_eq!(mode(&file)?, 0o600, "{}", file.display());
            }
        }
        if let Some(file) = pair.relay.store().file() {
            assert_eq!(mode(file)?, 0o600);
        }
        Ok(())
    });
}

#[test]
fn unix_socket_is_for_its_owner_and_goes_away() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let mut alice = world.proxy(&relay, "alice").await?;
        alice.terminate().await?;
        let path = world.folder().join("alice.sock");
        let listen = format!("unix:{}", path.display());
        let command = alice.run_command(&listen)?;
        alice.start_by(command).await?;
        assert_eq!(mode(&path)?, 0o600);
        let agent = alice.agent()?;
        agent.until_ready().await?;
        agent.get("/v1/agents/me").await?.expect(200)?;
        agent
            .http()
            .ask(Ask::new("GET", "/v1/agents/me"))
            .await?
            .refused(401, "UNAUTHORIZED")?;
        ask_as(
            &agent,
            Ask::new("GET", "/v1/agents/me").header("host", "example.com"),
        )
        .await?
        .refused(403, "FORBIDDEN")?;

        // A socket that was left behind is replaced; a file that is none is not.
        alice.kill()?;
        ensure!(path.exists(), "kill -9 leaves the socket");
        let command = alice.run_command(&listen)?;
        alice.start_by(command).await?;
        alice.terminate().await?;
        ensure!(!path.exists(), "the socket outlived its program");
        fs::write(&path, "somebody's file")?;
        run(alice.run_command(&listen)?, Duration::from_secs(20))
            .await?
            .refusal()?;
        assert_eq!(fs::read_to_string(&path)?, "somebody's file");
        Ok(())
    });
}

/// The token of one proxy opens no other, and the relay is not reachable by it.
#[test]
fn token_is_good_for_one_proxy() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let alice = pair.alice.agent()?;
        let bob = Http::new(Some(pair.bob.address()?));
        bob.ask(Ask::new("GET", "/v1/agents/me").bearer(alice.token()))
            .await?
            .refused(401, "UNAUTHORIZED")?;
        let relay = pair.relay.http();
        let answer = relay
            .ask(Ask::new("GET", "/v1/agents/me").bearer(alice.token()))
            .await?;
        answer.problem(waxwire_shared::api::problem::ProblemType::Unauthorized)?;
        Ok(())
    });
}

/// Metrics tell what happened on link and engine, and not between whom.
#[test]
fn metrics_count_sends_receives_and_the_link() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        alice.send_text("bob", "counted", "to be counted").await?;
        bob.receive().await?;
        let has = async |agent: &Agent, line: &str| {
            eventually(line, Duration::from_secs(20), async || {
                let text = agent.get("/metrics").await?.text();
                Ok(text.lines().any(|found| found == line).then_some(text))
            })
            .await
        };
        for line in [
            "waxwire_proxy_sends_total{outcome=\"stored\"} 1",
            // Bob's receipt.
            "waxwire_proxy_receives_total{outcome=\"control\"} 1",
            "waxwire_proxy_link_up 1",
            "waxwire_proxy_link_connections_total 1",
            "waxwire_proxy_link_malformed_total 0",
            "waxwire_proxy_outbox_depth 0",
        ] {
            has(&alice, line).await?;
        }
        let text = has(&bob, "waxwire_proxy_receives_total{outcome=\"accepted\"} 1").await?;
        for name in ["alice", "bob", "conv_", "msg_"] {
            assert!(!text.contains(name), "{name}\n{text}");
        }
        Ok(())
    });
}
