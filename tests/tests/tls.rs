//! A relay that serves TLS with a certificate that the machine trusts, or does not.

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use waxwire_tests::{Proxy, eventually, program::run, proxy::Straight, scenario};

const SOON: Duration = Duration::from_secs(20);

fn certificate(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("certificate")
        .join(name);
    path.display().to_string()
}

/// Makes a certificate the only one that a program trusts.
fn trusting(mut command: std::process::Command, name: &str) -> std::process::Command {
    command.env("SSL_CERT_FILE", certificate(name));
    command.env_remove("SSL_CERT_DIR");
    command
}

#[test]
fn certificate_that_is_not_trusted_is_named_and_gets_nothing() {
    scenario(async |world| {
        let mut relay = world.new_relay("relay")?;
        relay.arguments([
            "--tls-cert",
            &certificate("cert.pem"),
            "--tls-key",
            &certificate("key.pem"),
        ]);
        relay.start().await?;
        let url = format!("https://{}", relay.whereabouts().get().context("no address")?);
        let log = world.folder().join("logs").join("alice.log");
        let route = Straight(url);
        let mut alice = Proxy::new("alice", world.folder(), &log, route, world.canaries().clone());

        let reason = run(alice.init_command(&[])?, SOON).await?.refusal()?;
        assert!(reason.contains("certificate is not trusted"), "{reason}");
        assert!(!alice.state().exists());

        let init = trusting(alice.init_command(&[])?, "cert.pem");
        run(init, SOON).await?.success()?;
        let command = trusting(alice.run_command("127.0.0.1:0")?, "cert.pem");
        alice.start_by(command).await?;
        let agent = alice.agent()?;
        agent.until_ready().await?;

        // The machine's trust store has changed.
        alice.kill()?;
        alice.start().await?;
        let body = eventually("the certificate is refused", SOON, async || {
            let answer = agent.get("/readyz").await?;
            let body = answer.expect(503)?;
            Ok((body["link_fault"] == "certificate_untrusted").then_some(body))
        })
        .await?;
        assert_eq!(body["checks"]["relay"], false);
        eventually("the operator is told", SOON, async || {
            let alerts = agent.alerts().await?;
            Ok(alerts
                .iter()
                .any(|alert| alert["type"] == "relay_untrusted")
                .then_some(()))
        })
        .await?;
        let log = std::fs::read_to_string(&log)?;
        assert!(log.contains("no authority that this machine trusts has signed it"));
        Ok(())
    });
}
