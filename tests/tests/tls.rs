//! A relay that serves TLS with a certificate that the machine trusts, or does not.

use std::time::Duration;

use anyhow::Context as _;
use waxwire_tests::{
    Proxy,
    certificate::{file, trusting},
    eventually,
    program::run,
    proxy::Straight,
    scenario,
};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn attack_80_certificate_that_is_not_trusted_is_named_and_gets_nothing() {
    scenario(async |world| {
        let mut relay = world.new_relay("relay")?;
        relay.arguments([
            "--tls-cert",
            file("cert.pem").to_str().context("a path")?,
            "--tls-key",
            file("key.pem").to_str().context("a path")?,
        ]);
        relay.start().await?;
        let url = format!("https://{}", relay.whereabouts().get().context("no address")?);
        let log = world.folder().join("logs").join("alice.log");
        let route = Straight(url);
        let mut alice = Proxy::new("alice", world.folder(), &log, route, world.canaries().clone());

        let reason = run(alice.init_command(&[])?, SOON).await?.refusal()?;
        assert!(reason.contains("certificate is not trusted"), "{reason}");
        assert!(!alice.state().exists());

        let init = trusting(alice.init_command(&[])?);
        run(init, SOON).await?.success()?;
        let command = trusting(alice.run_command("127.0.0.1:0")?);
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
