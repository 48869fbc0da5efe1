//! `waxwire-proxy take-over`: the operator has decided that this state folder is the live one.

use clap::Args;
use waxwire_shared::{fingerprint::Fingerprint, ids::RelayId};

use super::{StateArgs, init::meet, live, with_keys};
use crate::{
    keystore::{KeyStore, Status},
    link::{Client, RelayUrl},
    rng::OsRng,
};

#[derive(Debug, Args)]
pub(super) struct TakeOverArgs {
    #[command(flatten)]
    state: StateArgs,
}

pub(super) fn run(args: &TakeOverArgs) -> anyhow::Result<()> {
    with_keys(take_over(args))
}

#[expect(clippy::print_stdout, reason = "the command's result")]
async fn take_over(args: &TakeOverArgs) -> anyhow::Result<()> {
    let folder = &args.state.state;
    let (unlock, _) = args.state.unlock_sources().find(folder)?;
    let mut store = KeyStore::open(folder, &unlock)?;
    anyhow::ensure!(store.keys().status == Status::Active, "the agent is not set up");
    let url = RelayUrl::parse(&store.keys().relay.url, true)?;
    let client = Client::new(url.clone())?;
    let relay = meet(&client, &url).await?;
    let key = live::become_live(&client, &relay, &mut store).await?;
    let client = Client::new(url)?.authorized(&key, RelayId::of(&relay.identity), OsRng);
    live::publish(&client, folder, &mut store).await?;
    println!("handle       {}", store.keys().handle);
    println!("fingerprint  {}", Fingerprint::of(store.keys().identity.public()));
    println!("This is the live instance now; whichever was it before has been told to stop.");
    Ok(())
}
