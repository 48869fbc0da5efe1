//! Harness of the black-box tests: real programs as processes, agents that speak to them, and a tap
//! between proxy and relay through which the tests cut, delay, lose and rewrite.

pub mod agent;
pub mod attachment;
pub mod binaries;
pub mod canary;
pub mod certificate;
pub mod channel;
pub mod circle;
pub mod clock;
pub mod group;
pub mod history;
pub mod http;
pub mod insider;
pub mod lane;
pub mod ledger;
pub mod letter;
pub mod program;
pub mod proxy;
pub mod receiver;
pub mod relay;
pub mod scene;
pub mod script;
pub mod socket;
pub mod stranger;
pub mod tap;
pub mod world;

pub use agent::{Agent, Message, text_to};
pub use canary::unique;
pub use channel::{Channel, ChannelPage};
pub use circle::Circle;
pub use clock::{eventually, patience, within};
pub use group::{Group, GroupSecurity, Invitation, Member, System};
pub use http::{Answer, Ask, Http};
pub use insider::Insider;
pub use proxy::Proxy;
pub use receiver::{Manner, Receiver};
pub use relay::Relay;
pub use scene::Scene;
pub use socket::{Closed, Socket};
pub use stranger::Stranger;
pub use tap::Tap;
pub use world::{Pair, World, scenario, scenario_within};
