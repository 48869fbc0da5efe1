use crate::{
    api::testing::{Api, conversation, conversation_id, message},
    model::MessageId,
    state::HistoryRange,
};

fn with_messages() -> Api {
    let api = Api::new();
    api.backend.messages.lock().unwrap().extend((1..=9).map(message));
    api.backend.conversations.lock().unwrap().push(conversation(1));
    api
}

#[tokio::test]
async fn history_is_a_bare_list() {
    let api = with_messages();
    let answer = api
        .get(&format!("/v1/messages/{}?limit=3", conversation_id(1)))
        .await;
    assert_eq!(answer.status, 200);
    let rows = answer.json();
    assert_eq!(rows.as_array().unwrap().len(), 3);
    assert_eq!(rows[0]["id"], MessageId([1; 16]).to_string());
    assert!(rows[0].get("delivery_id").is_none());
}

#[tokio::test]
async fn history_passes_the_range_on() {
    let target = MessageId([5; 16]);
    for (query, range, limit) in [
        (String::new(), HistoryRange::Latest, 50),
        ("limit=1".to_owned(), HistoryRange::Latest, 1),
        ("limit=200".to_owned(), HistoryRange::Latest, 200),
        ("limit=100000".to_owned(), HistoryRange::Latest, 200),
        ("limit=18446744073709551615".to_owned(), HistoryRange::Latest, 200),
        ("before_seq=7".to_owned(), HistoryRange::Before(7), 50),
        ("after_seq=0&limit=200".to_owned(), HistoryRange::After(0), 200),
        (
            "after_seq=2&before_seq=7".to_owned(),
            HistoryRange::Between { after: 2, before: 7 },
            50,
        ),
        (
            format!("around_message_id={target}"),
            HistoryRange::Around(target),
            50,
        ),
        ("unknown=1".to_owned(), HistoryRange::Latest, 50),
    ] {
        let api = with_messages();
        let answer = api
            .get(&format!("/v1/messages/{}?{query}", conversation_id(1)))
            .await;
        assert_eq!(answer.status, 200, "{query}");
        assert_eq!(*api.backend.ranges.lock().unwrap(), [(range, limit)], "{query}");
    }
}

#[tokio::test]
async fn history_refuses_wrong_queries() {
    let api = with_messages();
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=1.5", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("limit=18446744073709551616", "limit"),
        ("before_seq=-1", "before_seq"),
        ("after_seq=NaN", "after_seq"),
        (
            "around_message_id=msg_05050505050505050505050505050505&after_seq=1",
            "around_message_id",
        ),
    ] {
        let answer = api
            .get(&format!("/v1/messages/{}?{query}", conversation_id(1)))
            .await;
        assert_eq!(answer.status, 400, "{query}");
        let details = &answer.json()["details"]["issues"][0];
        assert_eq!(details["path"][0], "query", "{query}");
        assert!(answer.text.contains(field), "{query}: {answer:?}");
    }
    assert!(api.backend.ranges.lock().unwrap().is_empty());
}

#[tokio::test]
async fn history_of_nothing_is_404() {
    let api = with_messages();
    for id in [
        conversation_id(2).to_string(),
        "conv_1".to_owned(),
        "x".to_owned(),
        "%40bob".to_owned(),
    ] {
        let answer = api.get(&format!("/v1/messages/{id}")).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (404, "CONVERSATION_NOT_FOUND"),
            "{id}"
        );
    }
    for around in ["msg_77777777777777777777777777777777", "x"] {
        let answer = api
            .get(&format!(
                "/v1/messages/{}?around_message_id={around}",
                conversation_id(1)
            ))
            .await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (404, "MESSAGE_NOT_FOUND"),
            "{around}"
        );
    }
    let target = MessageId([5; 16]);
    let answer = api
        .get(&format!(
            "/v1/messages/{}?around_message_id={target}",
            conversation_id(2)
        ))
        .await;
    assert_eq!(answer.code(), "CONVERSATION_NOT_FOUND");
}

#[tokio::test]
async fn history_of_a_broken_store_is_503() {
    let api = with_messages();
    api.backend.breaks();
    let answer = api.get(&format!("/v1/messages/{}", conversation_id(1))).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "STORAGE_UNAVAILABLE")
    );
    assert_eq!(answer.header("retry-after"), "5");
}
