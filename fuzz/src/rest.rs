//! Bodies of the relay's interface, both ways: what is read is written to the same JSON.

use serde::{Serialize, de::DeserializeOwned};
use waxwire_shared::api::{
    blobs::{BlobAnswer, BlobRequest},
    frames::Seen,
    hooks::{HookRequest, WakeupBody},
    problem::Problem,
    profile::{DirectoryAnswer, ProfileAnswer, ProfileRequest},
    rest::*,
};

table! {
    "bodies_of_requests" => requests,
    "bodies_of_answers" => answers,
    "problem" => problem,
}

fn body<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<T>(bytes) else {
        return false;
    };
    let text = serde_json::to_string(&value).unwrap();
    let again: T = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), text);
    true
}

macro_rules! any_of {
    ($bytes:expr, $($body:ty),* $(,)?) => {
        [$(body::<$body>($bytes)),*].contains(&true)
    };
}

fn requests(bytes: &[u8]) -> bool {
    any_of!(
        bytes,
        ChallengeRequest,
        RegisterRequest,
        SuccessionRequest,
        ApiKeyRequest,
        BlockRequest,
        AckRequest,
        PresenceRequest,
        ProfileRequest,
        BlobRequest,
        HookRequest,
        WakeupBody,
    )
}

fn answers(bytes: &[u8]) -> bool {
    any_of!(
        bytes,
        RelayInfo,
        ChallengeAnswer,
        Registered,
        BundleAnswer,
        LogHeadAnswer,
        LogConsistencyAnswer,
        LogLeavesAnswer,
        LeaseAnswer,
        StoredAnswer,
        AppendAnswer,
        ChannelAnswer,
        ChannelsAnswer,
        QueuesAnswer,
        AgentAnswer,
        PresenceAnswer,
        ProfileAnswer,
        DirectoryAnswer,
        BlobAnswer,
        Seen,
    )
}

fn problem(bytes: &[u8]) -> bool {
    if let Ok(problem) = serde_json::from_slice::<Problem>(bytes)
        && let Some(kind) = problem.problem_type()
    {
        assert_eq!(kind.uri(), problem.kind);
    }
    body::<Problem>(bytes)
}
